"""Faults in annotations, classes and samples, said with the name of the file."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import Compose
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mimeval.datasets.layouts import (
    NamedSamples,
    check_class_count,
    check_coco,
    check_same_classes,
    loads_masks,
    name_samples,
)
from mimeval.errors import UserError

ENTRY = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": []}
COCO = {"images": [{"id": 1}], "annotations": [ENTRY], "categories": [{"id": 1}]}


def labelled(labels, input_size=(4, 4), ori_shape=(8, 8)):
    """A pipeline that gives these labels to every sample."""
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.as_tensor(labels)), metainfo=dict(ori_shape=ori_shape))
    return NamedSamples(Compose([lambda info: dict(inputs=torch.zeros(3, *input_size), data_samples=sample)]), 3)


INFO = {"img_path": "a.jpg", "seg_map_path": "a.png"}


@pytest.mark.parametrize("side", [4, 8])  # the input's size in training, the original one in evaluation
def test_labels_of_the_classes_and_ignored_ones_pass(side):
    labels = torch.full((1, side, side), 2)
    labels[0, 0, 0] = 255
    assert labelled(labels)(INFO)["inputs"].shape == (3, 4, 4)


@pytest.mark.parametrize(
    "labels, says",
    [
        (torch.full((1, 4, 4), 3), "label map a.png: expected labels of 3 classes, found class 3"),
        (
            torch.zeros(1, 5, 5),
            r"label map a.png: expected one channel of the image's size \(8, 8\), found \(1, 5, 5\)",
        ),
        (torch.zeros(4, 4, 3), r"found \(4, 4, 3\)"),
    ],
)
def test_label_maps_that_are_none(labels, says):
    with pytest.raises(UserError, match=says):
        labelled(labels)(INFO)


def test_any_fault_of_a_transform_names_the_files_and_a_user_error_stays():
    def failing(error):
        def transform(info):
            raise error

        return NamedSamples(Compose([transform]), 0)

    with pytest.raises(UserError, match="^image a.jpg with label map a.png: .*AssertionError: failed to load; replace"):
        failing(AssertionError("failed\n to load"))(INFO)
    with pytest.raises(UserError, match="^mine$"):
        failing(UserError("mine"))(INFO)


def test_naming_reaches_through_wrappers():
    inner = SimpleNamespace(pipeline=Compose([]), metainfo={"classes": ("a", "b")})
    name_samples(SimpleNamespace(dataset=inner))
    assert isinstance(inner.pipeline, NamedSamples) and inner.pipeline.classes == 2


@pytest.mark.parametrize(
    "content, says",
    [
        ("x", "expected JSON"),
        (json.dumps(COCO)[:40], "cut short"),
        (json.dumps([1]), "found no images and no annotations and no categories"),
        (json.dumps({**COCO, "categories": 3}), "found no categories"),
        (json.dumps({**COCO, "annotations": []}), "expected images with annotations, found none"),
        (json.dumps({**COCO, "annotations": [ENTRY, {"bbox": 1}]}), "found number 1 without image_id"),
    ],
)
def test_files_that_are_not_cocos(content, says, tmp_path):
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(COCO))
    check_coco(file)
    file.write_text(content)
    with pytest.raises(UserError, match=f"instances.json: .*{says}"):
        check_coco(file)


def test_both_splits_have_the_same_classes():
    def split(folder, *classes):
        return SimpleNamespace(folder=folder, metainfo={"classes": classes})

    check_same_classes(split("train", "cat", "dog"), split("val", "cat", "dog"))
    check_same_classes(SimpleNamespace(metainfo={}), split("val", "cat"))
    with pytest.raises(UserError, match="^val: expected the 2 classes of train, found 1 .cat in one only."):
        check_same_classes(split("train", "cat", "dog"), split("val", "dog"))


def test_a_head_has_an_output_for_each_class():
    data = SimpleNamespace(folder="train", metainfo={"classes": ("a", "b", "c")})
    check_class_count(SimpleNamespace(head=SimpleNamespace(num_classes=3)), data, "c.py")
    for model in (
        SimpleNamespace(head=SimpleNamespace(num_classes=2)),
        SimpleNamespace(roi_head=SimpleNamespace(bbox_head=SimpleNamespace(num_classes=2))),
    ):
        with pytest.raises(UserError, match="config c.py: .*head has num_classes=2, but train has 3 classes"):
            check_class_count(model, data, "c.py")


def test_masks_are_asked_for_only_where_they_are_read(tmp_path):
    file = tmp_path / "boxes.json"
    boxes = {key: value for key, value in ENTRY.items() if key != "segmentation"}
    file.write_text(json.dumps({**COCO, "annotations": [boxes]}))
    check_coco(file, masks=False)
    with pytest.raises(UserError, match=r"found number 0 without segmentation; correct it or train on boxes only"):
        check_coco(file)
    with_masks = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
    assert loads_masks(dict(pipeline=[dict(type="Resize"), with_masks]))
    assert loads_masks(dict(pipeline=[dict(type="mimeval.LoadInstances")]))
    assert not loads_masks(dict(pipeline=[dict(type="LoadAnnotations", with_bbox=True)]))
    assert not loads_masks(dict(pipeline=[dict(type="mimeval.LoadInstances", with_mask=False)]))
