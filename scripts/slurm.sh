#!/usr/bin/env bash
# A job on several nodes of a SLURM cluster, one process for each GPU:
#
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 scripts/slurm.sh --config=configs/dfew.py:1
#
# JAX reads the addresses of the processes from SLURM, and gives each process the GPU of its number
# on the node: with fewer processes than GPUs the others would be idle. The workdir and data_dir must lie on a disk
# that all nodes see. Shortly before the time is up SLURM sends SIGTERM: the run saves, and the same
# command continues it.
#SBATCH --job-name=logo-jax
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
tasks=${SLURM_TASKS_PER_NODE:-1}
tasks=${tasks%%(*} # of 8(x4)
if [[ -n ${SLURM_GPUS_ON_NODE:-} && $SLURM_GPUS_ON_NODE != "$tasks" ]]; then
    echo "A node has $SLURM_GPUS_ON_NODE GPUs and $tasks processes, each of which takes one GPU:" \
        "submit with --ntasks-per-node=$SLURM_GPUS_ON_NODE." >&2
    exit 2
fi
# srun does not take the number of cores from sbatch.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${PYTHON:-.venv/bin/python}" launch.py "$@"
