"""ImageFolder: what it finds, in which order, and what it says where nothing is to be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from mimeval.datasets import ImageFolder
from mimeval.errors import UserError


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for name in ("train/zebra/2.png", "train/ant/b/1.JPEG", "train/ant/a.jpg", "train/zebra/1.png"):
        save(tmp_path / name)
    (tmp_path / "train/ant/notes.txt").write_text("no image")
    return tmp_path


def test_labels_follow_the_sorted_class_folders(root):
    dataset = ImageFolder("train", data_root=str(root))
    assert dataset.metainfo["classes"] == ("ant", "zebra")
    found = [(Path(info["img_path"]).relative_to(root).as_posix(), info["gt_label"]) for info in dataset]
    assert found == [
        ("train/ant/a.jpg", 0),
        ("train/ant/b/1.JPEG", 0),
        ("train/zebra/1.png", 1),
        ("train/zebra/2.png", 1),
    ]


def test_without_labels_every_depth_counts(root):
    save(root / "train" / "loose.png")
    dataset = ImageFolder("train", data_root=str(root), with_label=False)
    assert len(dataset) == 5 and not any("gt_label" in info for info in dataset)


def test_annotations_are_kept_in_one_block_that_workers_share(root):
    dataset = ImageFolder("train", data_root=str(root))
    assert dataset.serialize_data and dataset.data_list == [] and dataset.data_bytes.nbytes > 0


def test_indices_take_a_subset(root):
    assert len(ImageFolder("train", data_root=str(root), indices=[0, 3])) == 2


def test_a_pipeline_makes_a_sample(root):
    with DefaultScope.overwrite_default_scope("mimeval"):
        pipeline = [dict(type="LoadRGB"), dict(type="PackImages")]
        sample = ImageFolder("train", data_root=str(root), pipeline=pipeline)[2]
    assert sample["inputs"].shape == (3, 6, 8)
    assert sample["data_samples"].gt_label.tolist() == [1]
    assert sample["data_samples"].img_path == str(root / "train/zebra/1.png")


@pytest.mark.parametrize(
    "folder, with_label, says",
    [
        ("nowhere", True, "nowhere: expected a folder of images, found nothing"),
        ("train/ant/a.jpg", True, "expected a folder of images, found a file"),
        ("train/zebra", True, "expected one sub-folder per class, found none"),
        ("empty", False, "expected images .* found none"),
        ("train", True, "fly: expected images .* found none"),
    ],
)
def test_what_is_wrong_is_said(root, folder, with_label, says):
    (root / "empty").mkdir()
    (root / "train" / "fly").mkdir()
    with pytest.raises(UserError, match=says):
        ImageFolder(folder, data_root=str(root), with_label=with_label)
