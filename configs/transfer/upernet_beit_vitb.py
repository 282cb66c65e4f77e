"""UperNet on ADE20K with a ViT-B as BEiT (2106.08254) after self-supervised pre-training: no absolute positions, seven times MAE's rate.

COMMAND   tools/dist_train.sh configs/transfer/upernet_beit_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   unilm beit/semantic_segmentation (configs/beit/upernet/upernet_beit_base_12_512_slide_160k_ade20k_pt.py, backbone/beit.py,
          mmcv_custom): lr 7e-4 for 16 images, weight decay 0.05, layer decay 0.65, drop path 0.1, layer scale from 0.1,
          relative position bias only, taps 3, 5, 7, 11; the rest as MAE's, which follows it
expected  no figure: BEiT's tables are for 640 px or another pre-training (not run here)
"""

_base_ = ["./upernet_vitb.py"]

protocol = dict(name="upernet_beit")
model = dict(
    backbone=dict(
        pos_embed="none",
        pos_trainable=False,
        init_values=0.1,
        k_bias=False,
        table_resample="geometric",
        init_cfg=dict(checkpoint="checkpoints/beit_base_patch16_224_pt22k.pth"),
    )
)
base_lr = 1.12e-2  # 7e-4 for 16 images
