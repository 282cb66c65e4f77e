"""LocalMIM on a small real set: HOG of three scales, each from a block of its own.

COMMAND   mimeval train configs/examples/localmim_sign_digits.py --data DATA
hardware  CPU, one thread; 3 min 24 s of it, measured on an AMD EPYC
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training images; slots: localmim_vitb.py; sizes
          and epochs set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../_base_/sign_digits.py"]

patch_size = 4
scales = [2, 1, 0.5]
model = dict(
    backbone=dict(taps=[1, 2, 3], tap_norm=True),
    masking=dict(type="RandomMasking", ratio=0.75),
    decoders=[dict(type="LocalMIMDecoder", scale=scale, embed_dim=48, depth=1, num_heads=2) for scale in scales],
    targets=[dict(type="HOGTarget", cell=patch_size / scale, nbins=9) for scale in scales],
    loss=dict(type="MaskedMSE"),
)
train_cfg = dict(max_epochs=30)
custom_hooks = []
