"""Images and label maps as OpenMMLab's loaders read them, and what a pipeline makes of those that are damaged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import DefaultScope
from PIL import Image

from mimeval.datasets import SampleKey
from mimeval.datasets.damaged import BLACK, UNLABELLED
from mimeval.datasets.layouts import name_samples
from mimeval.datasets.transforms import read_rgb
from mimeval.engine.environment import setup_environment
from mimeval.errors import DamagedSample, UserError
from mimeval.registry import DATASETS
from tests.datasets import planted
from tests.datasets.planted import cut, labels, save

setup_environment()


def by_cv2(file):
    return LoadImageFromFile()({"img_path": str(file)})["img"][..., ::-1].astype(int)


def by_pillow(file):
    return np.asarray(read_rgb(file)).astype(int)


@pytest.mark.parametrize(
    "name, mode, options",
    [
        ("a.jpg", "RGB", {}),
        ("a.jpg", "L", {}),
        ("a.png", "L", {}),
        ("a.png", "1", {}),
        ("a.png", "LA", {}),
        ("a.png", "RGBA", {}),
        ("a.png", "P", {}),
        ("a.png", "P", dict(transparency=3)),
        ("a.png", "P", dict(transparency=bytes(range(256)))),
        ("a.gif", "P", {}),
        ("a.bmp", "RGB", {}),
        ("a.webp", "RGB", dict(lossless=True)),
    ],
)
def test_detection_and_segmentation_read_the_same_pixels_as_classification(name, mode, options, tmp_path):
    file = save(tmp_path / name, 0, mode, **options)
    assert np.array_equal(by_cv2(file), by_pillow(file))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_both_turn_images_upright(name, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / name, 0, exif=exif)
    assert np.array_equal(by_cv2(file), by_pillow(file))
    turned = {2: np.s_[:, ::-1], 3: np.s_[::-1, ::-1], 4: np.s_[::-1]}
    plain = by_pillow(save(tmp_path / f"plain_{name}", 0))
    if orientation < 5:
        assert np.array_equal(by_pillow(file), plain[turned.get(orientation, np.s_[:])])
    else:
        assert by_pillow(file).shape == (20, 16, 3)


def test_cv2_does_not_turn_webp(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(tmp_path / "a.webp", 0, exif=exif, lossless=True)
    assert by_cv2(file).shape == (16, 20, 3) and by_pillow(file).shape == (20, 16, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_differ_by_a_rounding_at_most(name, tmp_path):
    file = save(tmp_path / name, 0, "CMYK")
    assert np.abs(by_cv2(file) - by_pillow(file)).max() <= 1


@pytest.mark.parametrize("name, channels", [("a.png", 1), ("a.tif", 1), ("a.png", 3), ("a.tif", 3)])
def test_sixteen_bits_differ_by_a_rounding_at_most(name, channels, tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (16, 20, channels), np.uint16).squeeze()
    cv2.imwrite(str(tmp_path / name), values)
    assert np.abs(by_cv2(tmp_path / name) - by_pillow(tmp_path / name)).max() <= 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_neither_reads_32_bits(kind, tmp_path):
    Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "a.tif")
    with pytest.raises(AssertionError, match="failed to load"):
        by_cv2(tmp_path / "a.tif")
    with pytest.raises(DamagedSample, match="32 bits"):
        read_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "name, options",
    [("a.jpg", {}), ("a.jpg", dict(progressive=True)), ("a.png", {}), ("a.bmp", {}), ("a.webp", {}), ("a.tif", {})],
)
def test_neither_reads_what_is_cut_short(name, options, share, tmp_path):
    """A reader that filled in what is missing, and said nothing, would fail here."""
    file = save(tmp_path / name, 0, size=(200, 150), **options)
    cut(file, share)
    with pytest.raises((AssertionError, cv2.error)):
        by_cv2(file)
    with pytest.raises(DamagedSample):
        read_rgb(file)


def coco(root, training, lines=()):
    steps = [
        dict(type="mmdet.LoadImageFromFile"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
        *lines,
        dict(type="mmdet.PackDetInputs"),
    ]
    data = dict(
        type="mmdet.CocoDataset", data_root=str(root), ann_file="annotations/instances_train2017.json", pipeline=steps,
        data_prefix=dict(img="train2017/"), metainfo=dict(classes=("dog", "tree")), test_mode=not training,
    )  # fmt: skip
    return built(dict(type="SeededDataset", dataset=data) if training else data)


def ade20k(root, training, split="training"):
    steps = [dict(type="mmseg.LoadImageFromFile"), dict(type="mmseg.LoadAnnotations", reduce_zero_label=True)]
    data = dict(
        type="mmseg.BaseSegDataset", data_root=str(root), pipeline=[*steps, dict(type="mmseg.PackSegInputs")],
        data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"),
        img_suffix=".jpg", seg_map_suffix=".png", metainfo=dict(classes=("sky", "building", "pole")), reduce_zero_label=True,
    )  # fmt: skip
    return built(dict(type="SeededDataset", dataset=data) if training else data)


def built(cfg):
    with DefaultScope.overwrite_default_scope("mimeval"):
        dataset = DATASETS.build(cfg)
    name_samples(dataset)
    return dataset


def test_coco_image_and_boxes_are_replaced_together(tmp_path):
    root = planted.coco(tmp_path)
    cut(root / "train2017/000000000001.jpg")
    planted.edited(
        root / "annotations/instances_train2017.json",
        lambda c: [a.update(bbox=[a["image_id"] + 1.0, 1.0, 5.0, 5.0]) for a in c["annotations"]],
    )
    dataset = coco(root, True)
    replaced, next_one = (dataset[SampleKey(0, 0, index)] for index in (1, 2))
    assert torch.equal(replaced["inputs"], next_one["inputs"])
    sample = replaced["data_samples"]
    assert sample.img_path.endswith("000000000002.jpg") and sample.img_id == 2
    assert sample.gt_instances.bboxes.tensor[:, 0].tolist() == [3.0, 3.0]
    ((file, done, reason),) = sample.damaged
    assert file == str(root / "train2017/000000000001.jpg")
    assert done == f"replaced by {sample.img_path}" and "failed to load" in reason


def test_coco_evaluation_shows_black_and_keeps_the_truth(tmp_path):
    root = planted.coco(tmp_path)
    (root / "train2017/000000000001.jpg").unlink()
    dataset = coco(root, False)
    assert len(dataset) == 5
    shown = dataset[1]
    assert shown["inputs"].shape == (3, 16, 20) and shown["inputs"].dtype == torch.uint8 and not shown["inputs"].any()
    assert shown["data_samples"].img_id == 1 and len(shown["data_samples"].gt_instances) == 2
    assert shown["data_samples"].damaged == ((str(root / "train2017/000000000001.jpg"), BLACK, "missing"),)
    assert dataset[2]["inputs"].any() and "damaged" not in dataset[2]["data_samples"].metainfo_keys()


@pytest.mark.parametrize("part, suffix", [("images", "jpg"), ("annotations", "png")])
def test_ade20k_image_and_label_map_are_replaced_together(part, suffix, tmp_path):
    root = planted.ade20k(tmp_path)
    labels(root / "annotations/training/ADE_train_00000002.png", [3])
    cut(root / f"{part}/training/ADE_train_00000001.{suffix}")
    dataset = ade20k(root, True)
    replaced, next_one = (dataset[SampleKey(0, 0, index)] for index in (1, 2))
    assert torch.equal(replaced["inputs"], next_one["inputs"])
    assert (replaced["data_samples"].gt_sem_seg.data == 2).all()
    assert replaced["data_samples"].damaged[0][0].endswith(f"ADE_train_00000001.{suffix}")


def test_ade20k_evaluation_keeps_its_size(tmp_path):
    root = planted.ade20k(tmp_path)
    cut(root / "images/training/ADE_train_00000001.jpg", 0.01)  # not even its header can be read
    cut(root / "annotations/training/ADE_train_00000002.png")
    dataset = ade20k(root, False)
    assert len(dataset) == 5
    black, unlabelled = dataset[1], dataset[2]
    assert black["inputs"].shape == (3, 16, 20) and not black["inputs"].any()
    assert black["data_samples"].gt_sem_seg.data.unique().tolist() == [0, 1, 2, 255]
    assert black["data_samples"].damaged[0][1] == BLACK
    assert unlabelled["inputs"].any() and unlabelled["data_samples"].gt_sem_seg.data.unique().tolist() == [255]
    assert unlabelled["data_samples"].damaged[0][1] == UNLABELLED


def test_pixels_of_a_damaged_label_map_do_not_count(tmp_path):
    from mmseg.evaluation import IoUMetric

    root = planted.ade20k(tmp_path)
    cut(root / "annotations/training/ADE_train_00000002.png")
    dataset = ade20k(root, False)
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = dataset.metainfo
    for index in range(5):
        truth = dataset[index]["data_samples"].gt_sem_seg.data
        right = torch.where(truth == 255, 0, truth).clone()
        if index == 2:
            right[:] = 1  # whatever is predicted there
        metric.process({}, [dict(pred_sem_seg=dict(data=right), gt_sem_seg=dict(data=truth))])
    assert metric.evaluate(5)["mIoU"] == 100.0


def test_classification_shows_black(tmp_path):
    root = planted.imagenet(tmp_path)
    file = root / "val/bee/ILSVRC2012_val_00000001.JPEG"
    cut(file, 0.95)
    steps = [dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=8), dict(type="PackImages")]
    dataset = built(dict(type="ImageFolder", data_root=str(root), folder="val", pipeline=steps))
    (place,) = [index for index in range(6) if dataset.get_data_info(index)["img_path"] == str(file)]
    shown = dataset[place]
    assert shown["inputs"].shape == (3, 8, 8) and not shown["inputs"].any()
    assert shown["data_samples"].gt_label.item() == 1 and shown["data_samples"].ori_shape == (16, 20)
    assert shown["data_samples"].damaged[0][:2] == (str(file), BLACK)
    assert shown["data_samples"].img_path == str(file)


def test_a_label_map_of_another_size_is_no_damage_that_may_be_passed_over(tmp_path):
    root = planted.ade20k(tmp_path)
    labels(root / "annotations/training/ADE_train_00000001.png", [1], size=(10, 10))
    for training in (True, False):
        with pytest.raises(UserError, match="ADE_train_00000001.png: expected one channel") as caught:
            ade20k(root, training)[1]
        assert not isinstance(caught.value, DamagedSample)
