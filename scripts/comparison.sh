#!/usr/bin/env bash
# LOGO-Former with and without the regularizer, with and without SAM, and against full attention, on
# the hard synthetic faces: five folds and three seeds of each, then one report with all tests of
# significance, runs/comparison/report.html. Hours on 2 cores; started again, it goes on.
#
#   scripts/comparison.sh [--seeds=3] [--config.<field>=<value> ...]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
seeds=3
flags=()
for argument in "$@"; do
    case $argument in
        --seeds=*) seeds=${argument#--seeds=} ;;
        *) flags+=("$argument") ;;
    esac
done
if ! [[ $seeds =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: scripts/comparison.sh [--seeds=<number>] [--config.<field>=<value> ...]" >&2
    exit 2
fi

variants=(logo_former no_regularizer no_sam full)
for ((seed = 0; seed < seeds; seed++)); do
    for variant in "${variants[@]}"; do
        run=runs/comparison/$variant/seed$seed
        "$python" launch.py --config="configs/comparison.py:$variant-start" \
            --config.seed="$seed" "${flags[@]}" --workdir="$run/start"
        "$python" launch.py --mode=cross_validate --config="configs/comparison.py:$variant" \
            --config.seed="$seed" "${flags[@]}" --config.init_from="$run/start" --workdir="$run"
    done
done
runs=("${variants[@]/#/runs/comparison/}")
"$python" launch.py --mode=compare --runs="$(IFS=,; echo "${runs[*]}")" --output=runs/comparison
