# Everything a newcomer needs. Works from any directory (`make -C path/to/logo-jax quickstart`).
VENV ?= .venv
# The first of these interpreters that runs and is Python 3.11 or 3.12; override: `make PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)
RUN := $(VENV)/bin/python

.PHONY: help venv quickstart test test-all lint lock clean

help:
	@echo "make quickstart  train and judge a small LOGO-Former on synthetic faces (minutes, CPU)"
	@echo "make test        fast tests;  make test-all: slow ones too;  make lint: style and types"
	@echo "make venv        only the virtual environment;  make lock: pin dependencies anew"

venv: $(VENV)/installed

$(VENV)/installed: requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or 3.12 found: install one, or name it: make PYTHON=/path/to/python3.12"; \
		exit 1; fi
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

quickstart: venv
	$(RUN) launch.py --config=configs/quickstart.py

# One OpenMP thread for each of the two processes: more of them wait for each other. The fast tests
# compile without optimization, which takes a third of their time away; test-all compiles as users do.
test: venv
	OMP_NUM_THREADS=1 XLA_FLAGS=--xla_backend_optimization_level=0 $(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

test-all: venv
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# The one command that needs the network besides installing: resolve requirements for both Pythons.
lock: venv
	$(RUN) -m pip install --quiet uv
	$(RUN) -m uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header \
		--upgrade requirements.txt requirements-test.txt -o requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
