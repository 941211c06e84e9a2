#!/usr/bin/env bash
# A job on several nodes of a SLURM cluster, one process a node, all GPUs of the node in it:
#
#   sbatch --nodes=4 --gpus-per-node=8 scripts/slurm.sh --config=configs/dfew.py:1
#
# JAX reads the addresses of the processes from SLURM. The workdir and data_dir must lie on a disk
# that all nodes see. Shortly before the time is up SLURM sends SIGTERM: the run saves, and the same
# command continues it.
#SBATCH --job-name=logo-jax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" launch.py "$@"
