"""SimMIM with a Swin on the demo set: pixels behind units of 8 px, from one linear layer on the last stage.

COMMAND   mimeval train configs/demo/simmim_swin_demo.py --data data/demo
hardware  CPU, 5 min 15 s on one thread of a busy machine
sources   slots: simmim_swinb.py; sizes, rate and epochs set by hand, not searched
expected  a checkpoint to try suites/demo_swin.py with, no more: see its configs (reproduced here)
"""

_base_ = ["./emae_demo.py", "../_base_/demo_swin.py"]

model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="mean"),
    masking=dict(_delete_=True, type="RandomMasking", ratio=0.6, unit=8),
    encoding=dict(type="SubstitutedTokens"),
    decoders=[dict(type="LinearDecoder")],
    targets=[dict(type="PixelTarget", patch_size=4, norm_pix=False)],
    loss=dict(type="MaskedL1"),
    regularizers=[],
)
optim_wrapper = dict(paramwise_cfg=dict(no_decay_names=["encoding.mask_token"]))
