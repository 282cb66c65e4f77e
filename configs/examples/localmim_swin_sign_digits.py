"""LocalMIM with a small Swin on a small real set: sparse windows, HOG of three scales from its stages.

COMMAND   mimeval train configs/examples/localmim_swin_sign_digits.py --data DATA
hardware  CPU, one thread; 8 min 5 s of it, measured on an AMD EPYC
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training images; slots:
          localmim_swinb.py; sizes and epochs set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../_base_/sign_digits.py", "../_base_/small_swin.py"]

size = 128
strides = [8, 16, 32, 32]
model = dict(
    backbone=dict(_base_.swin, _delete_=True, norm_eps=1e-6, weight_init="xavier"),
    masking=dict(type="RandomMasking", ratio=0.75, unit=32, shared=True),
    encoding=dict(type="SparseWindows"),
    decoders=[dict(type="MAEDecoder", embed_dim=48, depth=1, num_heads=2) for _ in strides],
    targets=[dict(type="HOGTarget", cell=stride, nbins=9) for stride in strides],
    loss=dict(type="MaskedMSE"),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=size, scale=(0.4, 1.0), interpolation="bicubic"),
                dict(type="PackImages"),
            ]
        )
    )
)
optim_wrapper = dict(paramwise_cfg=dict(no_decay_names=["mask_token", "relative_position_bias_table"]))
train_cfg = dict(max_epochs=15)
custom_hooks = []
