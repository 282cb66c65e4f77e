#!/usr/bin/env bash
# Installs mimeval and runs the main job on the demo set: pre-train EMAE, convert, five tasks for three initialisations, report.
# Run again, it reuses what is there and goes on where it stopped.
set -euo pipefail
source "$(dirname "$0")/_venv.sh" requirements.txt
mimeval=.venv/bin/mimeval
out=work_dirs/quickstart
data=data/demo
# The demo's matrices are too small to share among threads; the tasks run two at a time instead.
export OMP_NUM_THREADS=1

"$mimeval" data demo "$data"
"$mimeval" train configs/demo/emae_demo.py --data "$data" --work-dir "$out/pretrain" --resume auto
"$mimeval" convert "$out/pretrain" "$out/emae_live.safetensors" --to mimeval --force
"$mimeval" transfer "$out/emae_live.safetensors" checkpoints/emae_demo.safetensors \
  --init-names emae_live,emae_reference --suite configs/suites/demo.py --data "$data" --out "$out" --resume --jobs 2
"$mimeval" report "$out"

cat <<END

Your own checkpoint, on your own data (imagenet/, coco/ and ade20k/ below DATA):
  $mimeval transfer YOUR_CHECKPOINT.pth --suite configs/suites/standard.py --data DATA --out work_dirs/mine
END
