"""UperNet on ADE20K with a ViT-B as LocalMIM (2303.05251): the taps that its pre-training supervises, and four times MAE's rate.

COMMAND   tools/dist_train.sh configs/transfer/upernet_localmim_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   LocalMIM semantic_segmentation (configs/upernet_vit_base_12_512_slide_160k_ade20k.py, backbone/vit.py): as MAE's but lr
          4e-4 for 16 images, taps 1, 3, 9, 11, and the coarsest level by mean instead of max pooling
expected  mIoU 49.5 for LocalMIM-HOG ViT-B 1600 ep (published in the paper, quoted from memory, not checked; not run here)
"""

_base_ = ["./upernet_vitb.py"]

protocol = dict(name="upernet_localmim")
model = dict(
    backbone=dict(
        taps=(1, 3, 9, 11), init_cfg=dict(checkpoint="checkpoints/vit_base_localmim_hog_1600ep_pretrain.pth")
    ),
    neck=dict(
        _delete_=True,
        type="mimeval.TapPyramid",
        embed_dim=768,
        scales=(4, 2, 1, 0.5),
        norm_cfg=_base_.norm_cfg,
        pool="mean",
    ),
)
base_lr = 6.4e-3  # 4e-4 for 16 images
