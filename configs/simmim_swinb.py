"""SimMIM, Swin-B at 192 pixels, 800 epochs on ImageNet-1K (2111.09886).

COMMAND   tools/dist_train.sh configs/simmim_swinb.py 8 --data DATA
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048 (16 GPUs in the README's example); cost not measured here
sources   official configs/swin_base__800ep/simmim_pretrain__swin_base__img192_window6__800ep.yaml; what it leaves out: config.py,
          models/simmim.py, optimizer.py (relative position tables are decayed, the mask token is not)
expected  fine-tuning 84.0 % top-1 at 224 pixels (published, README.md; not run here)
"""

_base_ = ["./_base_/simmim.py"]

model = dict(
    backbone=dict(type="SwinTransformer", arch="base", img_size=192, window_size=6, out_type="mean"),
    targets=[dict(type="PixelTarget", patch_size=32, norm_pix=False)],
)
optim_wrapper = dict(paramwise_cfg=dict(no_decay_names=["encoding.mask_token"]))
