"""LocalMIM's fine-tuning of a Swin-B on ImageNet, from 400 epochs on HOG: twice the batch at the same rate.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_swinb_hog.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048, 100 epochs; cost not measured here
sources   official LocalMIM Swin/README.md: accum_iter 2, lr 4e-3; the rest as finetune_localmim_swinb.py
expected  84.1 top-1 for LocalMIM Swin-B HOG 400 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_localmim_swinb.py"]

protocol = dict(name="finetune_localmim_400ep_hog")
model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/swin_base_localmim_hog_400ep_pretrain.pth")))
base_lr = 5e-4
optim_wrapper = dict(accumulative_counts=2)
