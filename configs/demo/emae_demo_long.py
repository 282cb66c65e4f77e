"""EMAE on the demo set for as long as it pays: the reference checkpoint, checkpoints/emae_demo.safetensors.

COMMAND   mimeval data demo data/demo && mimeval train configs/demo/emae_demo_long.py --data data/demo
hardware  1 CPU core, 41 min 32 s measured beside other work (checkpoints/README.md)
sources   those of emae_demo.py; only the number of epochs differs
expected  the row emae_reference of the table in README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["./emae_demo.py"]

epochs = 80
param_scheduler = [dict(type="WarmupCosine", warmup=2, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs)
custom_hooks = [dict(type="ReconstructionHook", interval=10)]
