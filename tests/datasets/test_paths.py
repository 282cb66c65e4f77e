"""data.yaml: where each layout lies, and what is said about one that does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimeval.datasets.paths import DataFile, layout_root, part_of
from mimeval.errors import UserError


@pytest.fixture
def folders(tmp_path):
    for name in (
        "sets/ilsvrc/train",
        "sets/ilsvrc/val",
        "coco/train2017",
        "coco/ann",
        "elsewhere/val2017",
        "ade/images/training",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "coco/ann/mine.json").touch()
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


TEXT = """
# relative to this file
imagenet: sets/ilsvrc
coco:
  root: coco
  val2017: ../elsewhere/val2017
  annotations: ann
  annotations/instances_train2017.json: ann/mine.json
"""


@pytest.mark.parametrize(
    "path, place",
    [
        ("imagenet/train", "sets/ilsvrc/train"),
        ("imagenet/meta/val.txt", "sets/ilsvrc/meta/val.txt"),
        ("coco/train2017/", "coco/train2017"),
        ("coco/val2017/", "elsewhere/val2017"),
        ("coco/annotations/instances_val2017.json", "coco/ann/instances_val2017.json"),
        ("coco/annotations/instances_train2017.json", "coco/ann/mine.json"),
    ],
)
def test_paths_are_found_by_the_longest_part_that_is_placed(path, place, folders):
    assert DataFile(written(folders, TEXT)).place(path) == folders / place


def test_absolute_paths_and_home(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders))
    assert (
        DataFile(written(folders, f"imagenet: {folders}/sets/ilsvrc")).place("imagenet/val")
        == folders / "sets/ilsvrc/val"
    )
    assert DataFile(written(folders, "imagenet: ~/sets/ilsvrc")).place("imagenet/val") == folders / "sets/ilsvrc/val"


def test_parts_alone_need_no_root(folders):
    file = DataFile(written(folders, "ade20k:\n  images/training: ade/images/training"))
    assert file.place("ade20k/images/training") == folders / "ade/images/training"
    with pytest.raises(UserError, match="data.yaml: expected it to say where ade20k/annotations/training lies"):
        file.place("ade20k/annotations/training")


@pytest.mark.parametrize(
    "text, says",
    [
        ("imagnet: sets", "expected the keys imagenet, coco, ade20k, found 'imagnet'; did you mean imagenet?"),
        ("7: sets", "found '7'; remove it"),
        ("coco:\n  trian2017: x\n  root: coco", "coco: expected the keys root, train2017, .* did you mean train2017?"),
        ("imagenet: nowhere", "imagenet: expected the folder .*/nowhere, found none there"),
        ("coco:\n  root: coco\n  val2017: gone", "coco: val2017: expected the folder .*/coco/gone, found none"),
        ("coco:\n  root: coco\n  annotations/instances_val2017.json: a.json", "expected the file .*/coco/a.json"),
        ("imagenet: [a, b]", r"expected imagenet to be a folder, or a mapping .* found \['a', 'b'\]"),
        ("imagenet:", "expected imagenet to be a folder, .* found None"),
        ("coco: {root: 3}", "expected coco to be a folder"),
        ("", "found an empty file"),
        ("- imagenet", "found list"),
        ("imagenet: [", "expected YAML, found a file that is none"),
        ("a: \0", "expected YAML"),
    ],
)
def test_what_is_wrong_is_said(text, says, folders):
    with pytest.raises(UserError, match=says) as caught:
        DataFile(written(folders, text))
    assert str(caught.value).startswith(str(folders / "data.yaml"))


def test_the_layouts_folder_is_found_below_a_root_or_is_it(folders):
    assert layout_root(folders / "sets/ilsvrc", "imagenet") == folders / "sets/ilsvrc"
    assert layout_root(folders, "coco") == folders / "coco"
    file = layout_root(written(folders, TEXT), "coco")
    assert part_of(file, "coco", "val2017") == folders / "elsewhere/val2017"
    assert part_of(folders / "coco", "coco", "val2017") == folders / "coco/val2017"


@pytest.mark.parametrize(
    "path, layout, says",
    [
        ("gone", "coco", "gone: expected a folder with the layout coco, or a data.yaml, found nothing there"),
        ("coco/ann/mine.json", "coco", "found a file there"),
        ("ade", "coco", "ade: expected train2017, val2017 of the layout coco, or coco/ with them in it, found neither"),
        ("coco", "ade20k", "expected images/training, images/validation, .* found neither"),
        (".", "imagenet", "expected train, val of the layout imagenet"),
    ],
)
def test_what_is_no_layout_is_refused(path, layout, says, folders):
    with pytest.raises(UserError, match=says):
        layout_root(folders / path, layout)
