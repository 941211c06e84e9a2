#!/usr/bin/env bash
# Run one command of launch.py on every host of a Cloud TPU slice, or of several slices:
#
#   TPU=my-slice ZONE=us-central2-b scripts/tpu_slice.sh --config=configs/dfew.py:1 \
#       --workdir=/mnt/shared/runs/dfew-fold1 --config.data.data_dir=/mnt/shared/data
#
# The code must lie in ~/logo-jax on every host, with `pip install .[tpu]` done in ~/logo-jax/.venv.
# JAX finds the other hosts of the slice by itself; for several slices create them as one queued
# resource with --node-count, and name all of them in TPU, separated by spaces. Ctrl-C and SIGTERM
# are handed on to the run on all hosts, which saves.
set -euo pipefail
if [[ -z ${TPU:-} || -z ${ZONE:-} ]] || (($# == 0)); then
    echo "usage: TPU=<name> ZONE=<zone> scripts/tpu_slice.sh <flags of launch.py>" >&2
    exit 2
fi
command="cd ~/logo-jax && LOGO_JAX_STOPPED_STATUS=${LOGO_JAX_STOPPED_STATUS:-0} \
.venv/bin/python launch.py"
for argument in "$@"; do
    command+=" $(printf '%q' "$argument")"
done

on_all() {
    gcloud compute tpus tpu-vm ssh "$1" --zone="$ZONE" --worker=all --command="$2"
}
# shellcheck disable=SC2317 # called by the trap
stop() {
    for name in $TPU; do
        on_all "$name" "pkill -TERM -f '[p]ython launch.py'" &
    done
}

pids=()
for name in $TPU; do
    on_all "$name" "$command" &
    pids+=($!)
done
trap stop INT TERM
status=0
for pid in "${pids[@]}"; do
    while :; do
        code=0
        wait "$pid" || code=$?
        kill -0 "$pid" 2>/dev/null || break # else a signal ended the wait: the run is saving
    done
    ((code == 0)) || status=$code
done
exit "$status"
