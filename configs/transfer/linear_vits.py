"""MAE's linear probe of a ViT-S on ImageNet: 90 epochs, as ViT-B.

COMMAND   tools/dist_train.sh configs/transfer/linear_vits.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 512 images x 4 accumulated = batch 16384, 90 epochs; cost not measured here
sources   no official recipe for ViT-S: ViT-B's (linear_vitb.py); none was searched. ClusterMIM and CrossMAE add ViT-S to MAE's code
          without a command. CAEv2's ViT-S (Atten4Vis/CAE, project/CAEv2/scripts/caev2_small_300e.sh, tools/run_linear.py) has the same
          epochs, base lr, warm-up and weight decay in half the batch
expected  no published figure with these settings is known (not run here); DINO's, iBOT's and MoCo v3's are of probes of their own
"""

_base_ = ["./linear_vitb.py"]

model = dict(
    backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/dino_deitsmall16_pretrain.pth")),
    neck=dict(batch_norm=384),
    head=dict(in_channels=384),
)
