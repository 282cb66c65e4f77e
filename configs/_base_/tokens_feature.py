"""ClusterMIM's feature tokenizer: 1000 centres of the patch tokens of DINO's ViT-S/16, after the final norm."""

tokenizer = dict(
    type="ClusterTokenizer",
    vectors=dict(
        type="BackbonePatches",
        backbone=dict(
            type="VisionTransformer",
            arch="small",
            img_size=224,
            patch_size=16,
            pos_embed="learned",
            out_type="tokens",
            init_cfg=dict(type="Pretrained", checkpoint="checkpoints/dino_deitsmall16_pretrain.pth"),
        ),
    ),
    num_centres=1000,
    distance="euclid",
)
