#!/usr/bin/env bash
# Train CONFIG on GPUS processes per machine: tools/dist_train.sh CONFIG GPUS [arguments of mimeval train]
# Several machines: NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 PORT=29500 on the first, NODE_RANK=1 on the second, and so on.
# Without GPUs the processes run on CPU cores, over gloo.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [arguments of mimeval train]" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python)}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"

exec "$python" -m mimeval.engine.torchrun "$gpus" train "$config" "$@"
