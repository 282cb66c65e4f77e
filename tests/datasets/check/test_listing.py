"""Equal contents and names that tell a file's split."""

from __future__ import annotations

import numpy as np
import pytest

from mimeval.datasets.check.listing import Contents, Place, misplaced_split, walk


@pytest.mark.parametrize(
    "name, stated",
    [
        ("ILSVRC2012_val_00000001.JPEG", "val"),
        ("ADE_train_00000001.jpg", "train"),
        ("COCO_val2014_000000000042.jpg", "val"),
        ("train_000003.png", "train"),
        ("test_12.png", "test"),
        ("n01440764_10026.JPEG", None),
        ("000000000042.jpg", None),
        ("train_station.jpg", None),
        ("train_station_3.jpg", None),
        ("strain_3.jpg", None),
    ],
)
def test_a_name_tells_its_split(name, stated):
    for split in ("train", "val"):
        expected = (
            []
            if stated in (None, split)
            else [("misplaced", f"x/{name}", f"its name says {stated}, its folder {split}")]
        )
        assert misplaced_split(f"x/{name}", split) == expected


def test_equal_contents_are_grouped_as_by_a_dictionary():
    generator = np.random.default_rng(0)
    digests = generator.integers(2**63, size=300, dtype=np.uint64)[generator.integers(0, 300, 1000)]
    contents, expected = Contents(), {}
    for place, digest in zip(generator.permutation(1000).tolist(), digests.tolist(), strict=True):
        contents.add(place, digest)
        expected.setdefault(digest, []).append(place)
    contents.add(5000, None)
    groups = sorted(sorted(group) for group in expected.values() if len(group) > 1)
    assert sorted(contents.repeated()) == groups


def test_nothing_is_equal_to_nothing():
    assert list(Contents().repeated()) == []


def test_where_equal_contents_lie_decides_what_they_are():
    places = [Place("train", "a"), Place("train", "a"), Place("train", "b"), Place("val", "a")]
    contents = Contents()
    for number in range(4):
        contents.add(number, 1)
    found = list(contents.findings(str, places.__getitem__))
    assert [(kind, file) for kind, file, _ in found] == [("duplicate", "1"), ("two-classes", "2"), ("two-splits", "3")]
    assert {detail for _, _, detail in found} == {"the same bytes as 0"}


def test_walk_leaves_out_what_tools_hide(tmp_path):
    for name in ("b/2.PNG", "a.jpg", ".git/3.png", ".4.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert walk(tmp_path) == (["a.jpg", "b/2.PNG"], ["notes.txt"])
