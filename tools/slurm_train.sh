#!/usr/bin/env bash
# Train CONFIG under slurm: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 SRUN_ARGS=..] tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of mimeval train]
# One task per GPU. SIGNAL_S (120) seconds before the time limit, and when the job is cancelled or preempted, Slurm sends SIGTERM: the
# run finishes its iteration, saves it and exits with 143; the same command with --resume goes on there. As a batch job that queues
# itself again:
#   #SBATCH --requeue --signal=TERM@120
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG --resume; [ $? -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: [GPUS=8 GPUS_PER_NODE=8] tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of mimeval train]" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
shift 3

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python)}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"

# SRUN_ARGS is a list of words on purpose.
# shellcheck disable=SC2086
exec srun --partition "$partition" --job-name "$job" \
    --ntasks "$gpus" --ntasks-per-node "$per_node" --gres "gpu:$per_node" --cpus-per-task "${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 --signal "TERM@${SIGNAL_S:-120}" ${SRUN_ARGS:-} \
    "$python" -m mimeval train "$config" --launcher slurm "$@"
