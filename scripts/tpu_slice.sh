#!/usr/bin/env bash
# Run one command of launch.py on every host of a Cloud TPU slice, or of several slices:
#
#   TPU=my-slice ZONE=us-central2-b scripts/tpu_slice.sh --config=configs/dfew.py:1 \
#       --workdir=/mnt/shared/runs/dfew-fold1 --config.data.data_dir=/mnt/shared/data
#
# The code must lie in ~/logo-jax on every host, with `pip install .[tpu]` done in ~/logo-jax/.venv.
# JAX finds the other hosts of the slice by itself; for several slices create them as one queued
# resource with --node-count, and name all of them in TPU, separated by spaces.
set -euo pipefail
: "${TPU:?name of the TPU VM (several: separated by spaces)}"
: "${ZONE:?zone of the TPU VM}"
command="cd ~/logo-jax && LOGO_JAX_STOPPED_STATUS=${LOGO_JAX_STOPPED_STATUS:-0} \
.venv/bin/python launch.py"
for argument in "$@"; do
    command+=" $(printf '%q' "$argument")"
done

pids=()
for name in $TPU; do
    gcloud compute tpus tpu-vm ssh "$name" --zone="$ZONE" --worker=all --command="$command" &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
done
exit "$status"
