#!/usr/bin/env bash
# Start a command again until it ends well: for slices and nodes that may be taken away.
#
#   scripts/until_done.sh 100 env TPU=my-slice ZONE=us-central2-b scripts/tpu_slice.sh ...
#
# Status 2 is an error that a person must mend (launch.py says which), so it is not tried again.
set -uo pipefail
tries=${1:?"how often at most? scripts/until_done.sh <tries> <command>"}
shift
status=1
for ((try = 1; try <= tries; try++)); do
    status=0
    "$@" || status=$?
    if ((status == 0 || status == 2)); then
        exit "$status"
    fi
    echo "Try $try of $tries ended with status $status; starting again." >&2
    sleep "${PAUSE:-30}"
done
exit "$status"
