"""The Swin-B of ImageNet probes: pooled features, nothing trained."""

frozen_swinb = dict(
    type="mimeval.SwinTransformer",
    arch="base",
    img_size=224,
    window_size=7,
    out_type="mean",
    frozen=True,
    init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/swin_base_localmim_hog_400ep_pretrain.pth"),
)
