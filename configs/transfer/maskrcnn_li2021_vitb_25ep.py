"""Mask R-CNN on COCO with a ViT-B and an FPN over four taps: the older benchmark of Li et al. (2111.11429), 25 epochs.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_li2021_vitb_25ep.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 46,093 iterations; cost not measured here
sources   hustvl/MIMDet configs/benchmarking/benchmarking_mask_rcnn_base_FPN_25ep_LSJ_mae.py: as 100 epochs, the same rate and
          the same 0.25 epochs of warm-up
expected  box AP 48.0, mask AP 43.0 for MAE ViT-B 1600 ep (published, MIMDet; not run here)
"""

_base_ = ["./maskrcnn_li2021_vitb.py"]

protocol = dict(name="maskrcnn_li2021_25ep")
epochs, max_iters = 25, 46093
param_scheduler = [dict(type="WholeCosine", by_epoch=False, warmup=max_iters * 0.25 / epochs, start_ratio=0.001)]
train_cfg = dict(max_iters=max_iters)
