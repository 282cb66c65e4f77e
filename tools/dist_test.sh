#!/usr/bin/env bash
# Evaluate CKPT on GPUS processes per machine: tools/dist_test.sh CONFIG CKPT GPUS [arguments of mimeval test]
# Several machines, and machines without GPUs: as tools/dist_train.sh. The figures are those of one process.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: tools/dist_test.sh CONFIG CKPT GPUS [arguments of mimeval test]" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
shift 3

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python)}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"

exec "$python" -m mimeval.engine.torchrun "$gpus" test "$config" "$checkpoint" "$@"
