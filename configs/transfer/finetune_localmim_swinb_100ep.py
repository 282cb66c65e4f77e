"""LocalMIM's fine-tuning of a Swin-B on ImageNet, from 100 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_swinb_100ep.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images = batch 1024, 100 epochs; cost not measured here
sources   official LocalMIM Swin/README.md: lr 5e-3; the rest as finetune_localmim_swinb.py
expected  no figure in the official README (not run here)
"""

_base_ = ["./finetune_localmim_swinb.py"]

protocol = dict(name="finetune_localmim_100ep")
model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/swin_base_localmim_100ep_pretrain.pth")))
base_lr = 1.25e-3
