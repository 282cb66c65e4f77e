"""UperNet with an FCN auxiliary head on ADE20K for 160k iterations: what BEiT, MAE, LocalMIM and Swin share (mmseg 0.11)."""

_base_ = ["./ade20k.py"]

norm_cfg = dict(type="SyncBN", requires_grad=True)
max_iters = 160000
loss = dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0)
model = dict(
    _scope_="mmseg",
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    decode_head=dict(
        type="UPerHead",
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=loss,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_index=2,  # stride 16
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss, loss_weight=0.4),
    ),
    train_cfg=dict(),
)
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999)),
    constructor="LayerDecayOptimWrapperConstructor",
)
param_scheduler = [dict(type="WarmupPoly", by_epoch=False, warmup=1500, start_ratio=1e-6, power=1.0)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=16000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
