"""SimMIM on a small real set: pixels behind units of 8 px, from one linear layer.

COMMAND   mimeval train configs/examples/simmim_sign_digits.py --data DATA
hardware  CPU, one thread; 4 min 14 s of it, measured on an AMD EPYC
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training images; slots: simmim_vitb.py; sizes
          and epochs set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../_base_/sign_digits.py", "../_base_/small_simmim.py"]

model = dict(
    backbone=dict(_base_.simmim, rel_pos="shared_bias"),
    masking=dict(type="RandomMasking", ratio=0.6, unit=8),
    encoding=dict(type="SubstitutedTokens"),
    decoders=[dict(type="LinearDecoder")],
    targets=[dict(type="PixelTarget", patch_size=4, norm_pix=False)],
    loss=dict(type="MaskedL1"),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_tokens=False))
train_cfg = dict(max_epochs=40)
custom_hooks = []
