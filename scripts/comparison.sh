#!/usr/bin/env bash
# LOGO-Former with and without the regularizer, with and without SAM, and against full attention, on
# the hard synthetic faces: five folds and three seeds of each, then one report with all tests of
# significance, runs/comparison/report.html. Hours on 2 cores; started again, it goes on.
#
#   scripts/comparison.sh [--seeds=3] [--config.<field>=<value> ...]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
seeds=--seeds=3
flags=()
for argument in "$@"; do
    case $argument in
        --seeds=*) seeds=$argument ;;
        *) flags+=("$argument") ;;
    esac
done

runs=()
for variant in logo_former no_regularizer no_sam full; do
    "$python" launch.py --mode=cross_validate --config="configs/comparison.py:$variant" "$seeds" \
        "${flags[@]}"
    runs+=("runs/comparison-$variant-cv-sweep")
done
"$python" launch.py --mode=compare --runs="$(IFS=,; echo "${runs[*]}")" --output=runs/comparison
