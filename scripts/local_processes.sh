#!/usr/bin/env bash
# Several processes of one job on this machine: a trial of what a job on several hosts does, or one
# process for each part of a machine. When one process ends with an error, the others are ended.
#
#   scripts/local_processes.sh 2 --config=configs/quickstart.py --workdir=runs/two
set -euo pipefail
cd "$(dirname "$0")/.."
usage="scripts/local_processes.sh <number> <flags of launch.py>"
count=${1:-}
if ! [[ $count =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $usage" >&2
    exit 2
fi
shift
python=${PYTHON:-.venv/bin/python}
if ! command -v "$python" >/dev/null; then
    echo "There is no $python: run 'make venv', or name another one by PYTHON=<path>." >&2
    exit 127
fi
port=${PORT:-$((20000 + RANDOM % 20000))}

pids=()
told=no
stop() { kill -TERM "${pids[@]}" 2>/dev/null || true; }
trap 'told=yes; stop' INT TERM
for ((id = 0; id < count; id++)); do
    "$python" launch.py --coordinator="127.0.0.1:$port" --num_processes="$count" \
        --process_id="$id" "$@" &
    pids+=($!)
done

status=0
left=$count
while ((left > 0)); do
    code=0
    # Which one ended is not needed, only how.
    wait -n || code=$?
    if [[ $told = yes ]] && ((code > 128)); then
        told=no # the signal ended the wait, and no process yet: they are saving
        continue
    fi
    ((left -= 1)) || true
    if ((code == ${LOGO_JAX_STOPPED_STATUS:-0} && status == 0)); then
        status=$code # a signal stopped all of them, after they saved
    elif ((code != 0 && status == 0)); then
        status=$code
        echo "A process of the job ended with status $code; the others are ended. Started again," \
            "the run continues from its last checkpoint." >&2
        stop
    fi
done
exit "$status"
