"""k-NN on the demo set: DINO's vote over the mean of the patch tokens after the final norm.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks knn --data data/demo --out work_dirs/demo
hardware  CPU, 15 s a row on one thread
sources   k 20, T 0.07: DINO (2104.14294); the mean of the patches, because MAE's loss reaches every patch and the class token
          only through attention
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/knn_vitb.py", "../_base_/demo_vit.py"]

protocol = dict(name="knn_dino_demo")
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(_base_.backbone, _delete_=True, out_type="tokens", frozen=True),
    neck=dict(tokens="mean"),
)
pipeline = [dict(type="LoadRGB"), dict(type="PackImages")]
train_dataloader = dict(
    batch_size=250, num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=pipeline))
)
val_dataloader = dict(batch_size=250, num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
