"""UperNet on ADE20K with a Swin-B as LocalMIM (2303.05251): in every constant Swin's own recipe.

COMMAND   tools/dist_train.sh configs/transfer/upernet_localmim_swinb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   LocalMIM semantic_segmentation (configs/upernet_swin_base_12_512_slide_160k_ade20k.py, backbone/swin.py: epsilon 1e-5, unlike its
          pre-training; mmcv_custom/checkpoint.py loads patch merging as it is stored, scrambled: --switch merging=as_stored,
          or init_cfg.switches, does so here, too)
expected  no figure in the official README (not run here)
"""

_base_ = ["./upernet_swinb.py"]

protocol = dict(name="upernet_localmim_swin")
