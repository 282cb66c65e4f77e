"""Detection for real on the demo set: with masks, and as Faster R-CNN on annotations that have boxes only."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

from mimeval.cli.main import main
from mimeval.datasets.layouts import inner_config, loads_masks
from mimeval.engine.config import load_config
from mimeval.engine.runner import RUN_KEYS
from mimeval.errors import UserError
from mimeval.registry import MODELS
from mimeval.transfer import results
from mimeval.transfer.protocols.detection import check_masks

# What a config for boxes only changes; docs/protocols.md has the same lines.
BOXES_ONLY = """
_base_ = ["{base}"]
protocol = dict(name="boxes_demo")
model = dict(roi_head=dict(mask_head=None, mask_roi_extractor=None))
load = dict(type="LoadAnnotations", with_bbox=True)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=[dict(type="LoadImageFromFile"), load, dict(type="PackDetInputs")])))
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(32, 32), keep_ratio=True),
            load,
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ]
    )
)
val_evaluator = dict(metric=["bbox"])
max_iters = 3
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [dict(type="WarmupCosine", warmup=0, by_epoch=False)]
"""


@pytest.fixture(scope="module")
def boxes(data, tmp_path_factory) -> Path:
    """The demo set without any segmentation in its annotations."""
    root = tmp_path_factory.mktemp("boxes") / "data"
    shutil.copytree(data / "coco", root / "coco")
    for file in (root / "coco" / "annotations").glob("*.json"):
        content = json.loads(file.read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        file.write_text(json.dumps(content))
    return root


def suite_of(folder: Path, task_config: str) -> Path:
    (folder / "boxes.py").write_text(task_config)
    suite = folder / "suite.py"
    suite.write_text('data_root = "data/"\nseeds = [0]\ntasks = dict(detection=dict(config="boxes.py"))\n')
    return suite


def test_annotations_with_boxes_only(boxes, tmp_path, monkeypatch):
    base = Path(__file__).parents[3] / "configs/demo/detection_demo.py"
    suite = suite_of(tmp_path, BOXES_ONLY.format(base=base))
    out = tmp_path / "out"
    assert main(["transfer", "--suite", str(suite), "--data", str(boxes), "--out", str(out)]) == 0
    (record,) = results.read(out)
    assert record.metric == "box AP" and 0 <= record.value <= 100
    assert "bbox_mAP" in record.metrics and not any("segm" in name for name in record.metrics)
    pictures = sorted((out / record.artifacts / "predictions").glob("*.png"))
    assert len(pictures) == 4 and min(Image.open(pictures[0]).size) >= 128
    # Boxes of the truth are drawn over the image.
    drawn = np.asarray(Image.open(pictures[0]).convert("RGB"), int)
    assert (np.ptp(drawn, axis=2) > 60).any()


def test_annotations_without_masks_for_a_config_with_them(boxes, tmp_path, capsys):
    command = ["transfer", "--suite", "configs/suites/demo.py", "--tasks", "detection", "--data", str(boxes)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "found number 0 without segmentation; correct it or train on boxes only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, says",
    [
        (
            {"model.roi_head.mask_head": None},
            r"mask_head is None, but val_evaluator.metric is .*; set it to \['bbox'\]",
        ),
        ({"val_evaluator.metric": ["bbox"]}, r"mask_head is there, but val_evaluator.metric is \['bbox'\]; add 'segm'"),
        ({"val_evaluator.metric": "segm"}, r"val_evaluator.metric is \['segm'\], but box AP is reported"),
    ],
)
def test_head_and_metrics_go_together(change, says):
    cfg = load_config("demo/detection_demo")
    check_masks(cfg)
    cfg.merge_from_dict(change)
    with pytest.raises(UserError, match=says):
        check_masks(cfg)


@pytest.mark.parametrize("polygons", [True, False])
def test_a_batch_that_jitter_left_without_objects(polygons):
    """Every parameter gets a gradient, as distributed training wants it, and all losses are finite."""
    cfg = load_config("demo/detection_demo")
    with DefaultScope.overwrite_default_scope("mimeval"):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    masks = PolygonMasks([], 32, 32) if polygons else BitmapMasks(np.zeros((0, 32, 32), np.uint8), 32, 32)
    none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    sample = DetDataSample(metainfo=dict(img_shape=(32, 32), ori_shape=(32, 32), scale_factor=(1.0, 1.0)))
    sample.gt_instances, sample.ignored_instances = InstanceData(**none, masks=masks), InstanceData(**none)
    data = model.data_preprocessor(
        dict(inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)], data_samples=[sample]), True
    )
    losses = model.loss(data["inputs"], data["data_samples"])
    loss, log = model.parse_losses(losses)
    assert {"loss_rpn_cls", "loss_cls", "loss_mask"} <= set(log) and all(torch.isfinite(v).all() for v in log.values())
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_the_lines_in_the_docs(tmp_path):
    """docs/protocols.md, "Boxes only": read as a config, it reads no masks, predicts none and measures none."""
    root = Path(__file__).parents[3]
    text = re.search(r"### Boxes only.*?```python\n(.*?)```", (root / "docs/protocols.md").read_text(), re.DOTALL)[1]
    base = root / "configs/transfer/maskrcnn_vitdet_vitb.py"
    file = tmp_path / "boxes.py"
    file.write_text(text.replace('"maskrcnn_vitdet_vitb.py"', f'"{base}"'))
    cfg = load_config(file, known_keys=RUN_KEYS | {"protocol"})
    check_masks(cfg)
    assert not any(loads_masks(inner_config(cfg[loader].dataset)) for loader in ("train_dataloader", "val_dataloader"))
    with DefaultScope.overwrite_default_scope("mimeval"), torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert not model.roi_head.with_mask and not any("mask" in name for name, _ in model.named_parameters())
