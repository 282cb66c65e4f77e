"""Mask R-CNN on COCO with a ViT-B and an FPN over four taps: the older benchmark of Li et al. (2111.11429), 50 epochs.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_li2021_vitb_50ep.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 92,187 iterations; cost not measured here
sources   hustvl/MIMDet configs/benchmarking/benchmarking_mask_rcnn_base_FPN_50ep_LSJ_mae.py: as 100 epochs, the same rate and
          the same 0.25 epochs of warm-up
expected  box AP 50.2, mask AP 44.9 for MAE ViT-B 1600 ep (published, MIMDet; not run here)
"""

_base_ = ["./maskrcnn_li2021_vitb.py"]

protocol = dict(name="maskrcnn_li2021_50ep")
epochs, max_iters = 50, 92187
param_scheduler = [dict(type="WholeCosine", by_epoch=False, warmup=max_iters * 0.25 / epochs, start_ratio=0.001)]
train_cfg = dict(max_iters=max_iters)
