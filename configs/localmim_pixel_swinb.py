"""LocalMIM, Swin-B, 400 epochs on ImageNet-1K (2303.05251), with normalised pixels for HOG.

COMMAND   tools/dist_train.sh configs/localmim_pixel_swinb.py 8 --data DATA
hardware  8 GPUs x 256 images = batch 2048; published: 1.0 V100 hours an epoch
sources   official Swin/README.md (target Pixel, norm_pix_loss); the rest as localmim_swinb.py
expected  fine-tuning 84.0 % top-1 (published, README.md, with wrong places as encoding.misplaced=True gives them; not run here)
"""

_base_ = ["./localmim_swinb.py"]

model = dict(targets=[dict(type="PixelTarget", patch_size=stride, norm_pix=True) for stride in (8, 16, 32, 32)])
custom_hooks = [dict(type="ReconstructionHook", interval=20)]
