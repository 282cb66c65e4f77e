#!/usr/bin/env bash
# Run a suite on GPUS processes per machine, task by task: tools/dist_transfer.sh GPUS CKPT ... [arguments of mimeval transfer]
# Several machines, and machines without GPUs: as tools/dist_train.sh. --jobs stays 1: every task has all GPUs.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: tools/dist_transfer.sh GPUS CKPT ... --suite SUITE --data ROOT --out DIR [arguments of mimeval transfer]" >&2
    exit 2
fi
gpus=$1
shift 1

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python)}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"

exec "$python" -m mimeval.engine.torchrun "$gpus" transfer "$@"
