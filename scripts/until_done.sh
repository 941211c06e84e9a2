#!/usr/bin/env bash
# Start a command again until it ends well: for slices and nodes that may be taken away.
#
#   scripts/until_done.sh 100 env TPU=my-slice ZONE=us-central2-b scripts/tpu_slice.sh ...
#
# launch.py ends with LOGO_JAX_STOPPED_STATUS where a signal stopped it and it has saved: not 0 here,
# so that a preempted run goes on. Status 2 is an error that a person must mend (launch.py says
# which), so it is not tried again. Ctrl-C and SIGTERM here stop the command and the trying.
set -uo pipefail
usage="scripts/until_done.sh <tries> <command>"
tries=${1:-}
if ! [[ $tries =~ ^[1-9][0-9]*$ ]] || (($# < 2)); then
    echo "usage: $usage" >&2
    exit 2
fi
shift
export LOGO_JAX_STOPPED_STATUS=75

stopped=no
# shellcheck disable=SC2317 # called by the trap
stop() {
    stopped=yes
    kill -TERM "$pid" 2>/dev/null
}
trap stop INT TERM
status=0
for ((try = 1; try <= tries; try++)); do
    if ((try > 1)); then
        echo "Try $((try - 1)) of $tries ended with status $status; starting again." >&2
        sleep "${PAUSE:-30}" &
        pid=$!
        wait "$pid"
        [[ $stopped = no ]] || break
    fi
    "$@" &
    pid=$!
    status=0
    wait "$pid" || status=$?
    while kill -0 "$pid" 2>/dev/null; do # a signal ended the wait, and the command is saving
        status=0
        wait "$pid" || status=$?
    done
    if [[ $stopped = yes ]] || ((status == 0 || status == 2)); then
        break
    fi
    if ((status == 126 || status == 127)); then
        echo "$1 cannot be run (status $status): give a command that can." >&2
        break
    fi
done
exit "$status"
