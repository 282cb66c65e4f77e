"""ClusterMIM with pixel tokens on a small real set.

COMMAND   mimeval train configs/examples/clustermim_sign_digits.py --data DATA (after the command in configs/examples/tokens_sign_digits.py)
hardware  CPU, one thread; 2 min 49 s of it, measured on an AMD EPYC
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training images; slots:
          clustermim_pixel_vitb.py; sizes and epochs set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../_base_/sign_digits.py", "../_base_/demo_tokens.py"]

model = dict(
    masking=dict(type="RandomMasking", ratio=0.75),
    decoders=[dict(type="MAEDecoder", embed_dim=48, depth=1, num_heads=2)],
    targets=[
        dict(type="ClusterTarget", tokenizer=_base_.tokenizer, centres="work_dirs/tokens_sign_digits.safetensors")
    ],
    loss=dict(type="MaskedCrossEntropy"),
)
train_cfg = dict(max_epochs=40)
custom_hooks = []
