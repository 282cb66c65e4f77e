"""ImageFolder: what it finds, in which order, and what it says where nothing is to be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from mimeval.datasets import ImageFolder
from mimeval.datasets.layouts import build_checked, check_same_classes
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


@pytest.fixture
def lists(root):
    """A flat folder of images and lists about them."""
    for name in ("val/a.png", "val/b.png", "val/with space.png", "val/c.png"):
        save(root / name)
    return root


def written(root, name, *lines):
    (root / name).write_text("\n".join(lines) + "\n")
    return name


def labelled(dataset):
    return [(Path(info["img_path"]).name, info["gt_label"]) for info in dataset]


def test_a_class_list_gives_order_and_subset(root):
    save(root / "train/fly/1.png")
    names = written(root, "classes.txt", "zebra", "", " ant ")
    dataset = ImageFolder("train", data_root=str(root), classes=names)
    assert dataset.metainfo["classes"] == ("zebra", "ant") and not dataset.numbered
    assert labelled(dataset) == [("1.png", 0), ("2.png", 0), ("a.jpg", 1), ("1.JPEG", 1)]
    same = ImageFolder("train", data_root=str(root), classes=["zebra", "ant"])
    assert labelled(same) == labelled(dataset)


@pytest.mark.parametrize(
    "lines, classes, expected",
    [
        (["b.png 2", "a.png 0"], None, ("0", "1", "2")),
        (["b.png 2", "a.png 0"], ["x", "y", "z"], ("x", "y", "z")),
        (["b.png z", "a.png x"], ["x", "y", "z"], ("x", "y", "z")),
        (["b.png z", "a.png x", "c.png y"], None, ("x", "y", "z")),
        # Names that are numbers are names.
        (["b.png 5", "a.png 7"], ["7", "6", "5"], ("7", "6", "5")),
    ],
)
def test_a_list_gives_labels_by_number_or_name(lines, classes, expected, lists):
    file = written(lists, "val.txt", *lines)
    dataset = ImageFolder("val", data_root=str(lists), ann_file=file, classes=classes)
    assert labelled(dataset)[:2] == [("b.png", 2), ("a.png", 0)]
    assert dataset.metainfo["classes"] == expected
    assert dataset.numbered == (expected[0] == "0")


def test_a_path_in_a_list_may_have_spaces_and_folders(root):
    save(root / "train/ant/b/x y.png")
    file = written(root, "list.txt", "ant/b/x y.png 1", "zebra/2.png 0")
    data = list(ImageFolder("train", data_root=str(root), ann_file=str(root / file)))
    assert [info["img_path"] for info in data] == [str(root / "train/ant/b/x y.png"), str(root / "train/zebra/2.png")]


def test_without_labels_a_list_chooses_images(lists):
    file = written(lists, "some.txt", "c.png", "a.png 3")
    dataset = ImageFolder("val", data_root=str(lists), ann_file=file, with_label=False)
    assert [Path(info["img_path"]).name for info in dataset] == ["c.png", "a.png"]
    assert not any("gt_label" in info for info in dataset)


@pytest.mark.parametrize(
    "lines, classes, says",
    [
        (None, None, "annotation list .*val.txt: expected a text file, found nothing"),
        ([""], None, "expected a line per entry, found an empty file"),
        (["a.png"], None, "expected 'relative/path label' in each line, found 'a.png'"),
        (["a.png 3"], ["x", "y", "z"], "expected labels of the 3 classes of the config's classes, found '3' for a.png"),
        (["a.png x", "b.png 1"], ["x", "y"], "found '1' for b.png"),
        (["a.png w"], ["x", "y"], "found 'w' for a.png"),
        (["a.png -1"], ["x", "y"], "found '-1' for a.png"),
        (["a.png x"], ["x", "x"], "expected every class once, found 'x' twice"),
        (["a.png x"], "names.txt", "class list .*names.txt: expected a text file, found nothing"),
    ],
)
def test_wrong_lists_are_explained(lines, classes, says, lists):
    if lines is not None:
        written(lists, "val.txt", *lines)
    with pytest.raises(UserError, match=says):
        ImageFolder("val", data_root=str(lists), ann_file="val.txt", classes=classes)


def test_a_class_without_a_folder_is_named(root):
    names = written(root, "classes.txt", "ant", "bear")
    with pytest.raises(UserError, match="expected a folder for class 'bear' of class list .*classes.txt, found none"):
        ImageFolder("train", data_root=str(root), classes=names)


def test_a_list_that_is_no_text_is_named(lists):
    (lists / "val.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="val.txt: expected lines of UTF-8 text"):
        ImageFolder("val", data_root=str(lists), ann_file="val.txt")


def test_numbers_agree_with_any_names_if_there_are_enough(lists):
    train = ImageFolder("train", data_root=str(lists))
    val = ImageFolder("val", data_root=str(lists), ann_file=written(lists, "val.txt", "a.png 1"))
    check_same_classes(train, val)
    val = ImageFolder("val", data_root=str(lists), ann_file=written(lists, "val.txt", "a.png 2"))
    with pytest.raises(UserError, match="expected the 2 classes of"):
        check_same_classes(train, val)


def test_files_that_a_list_names_must_be_there(lists):
    cfg = dict(type="ImageFolder", data_root=str(lists), folder="val", ann_file="val.txt")
    written(lists, "val.txt", "a.png 0", "gone.png 1")
    with DefaultScope.overwrite_default_scope("mimeval"):
        with pytest.raises(
            UserError, match="val/gone.png: expected a file that the annotations call for, found nothing"
        ):
            build_checked(cfg)
        written(lists, "val.txt", "a.png 0", "b.png 1")
        assert len(build_checked(cfg)) == 2
