"""`check` over whole folders: what is planted is named, with its kind, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimeval.datasets.check import FAULTS, KINDS, check
from mimeval.errors import UserError
from tests.datasets import planted
from tests.datasets.planted import cut, edited, labels, save


def found(root: Path, layout: str, **options) -> set[tuple[str, str]]:
    """(kind, file below the root) of all findings."""
    report = check(root, layout, jobs=2, **options)
    return {(finding.kind, os.path.relpath(finding.file, root)) for finding in report.findings}


@pytest.mark.parametrize("layout", ["imagenet", "coco", "ade20k"])
def test_a_whole_folder_has_nothing(layout, tmp_path):
    root = getattr(planted, layout)(tmp_path / layout)
    report = check(tmp_path, layout, jobs=2)  # the root that contains it
    assert report.findings == [] and report.faults == 0
    assert report.images == {"imagenet": 18, "coco": 8, "ade20k": 8}[layout]
    assert found(root, layout) == set()


def test_imagenet(tmp_path):
    root = planted.imagenet(tmp_path)
    train, val = root / "train", root / "val"
    (train / "ant/empty.jpg").touch()
    (train / "ant/link.jpg").symlink_to("nowhere.jpg")
    (train / "ant/text.jpg").write_text("no image")
    cut(train / "ant/ant_0.JPEG")
    cut(save(train / "bee/header.png", 1), 0.1)
    cut(save(train / "bee/end.png", 2), 0.9)
    save(train / "bee/inks.jpg", 3, "CMYK")
    save(train / "bee/named.png", 4, format="JPEG")
    save(train / "bee/named.jpg", 5, format="PNG")
    save(train / "cat/bee_9.JPEG", 6)
    save(train / "cat/ILSVRC2012_val_00000099.JPEG", 7)
    shutil.copy(train / "ant/ant_1.JPEG", train / "bee/again.JPEG")
    shutil.copy(train / "ant/ant_2.JPEG", val / "ant/ILSVRC2012_val_00000088.JPEG")
    shutil.copy(train / "ant/ant_3.JPEG", train / "ant/twice.JPEG")
    save(train / "dog/dog_0.JPEG", 8)
    (train / "elk").mkdir()
    (val / "elk").mkdir()
    save(val / "elk/0.JPEG", 9)
    save(train / "loose.jpg", 10)
    (train / "cat/notes.txt").touch()
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(train / "cat/deep.png")
    (train / "cat/.hidden.jpg").touch()
    assert found(root, "imagenet") == {
        ("empty", "train/ant/empty.jpg"),
        ("missing", "train/ant/link.jpg"),
        ("unreadable", "train/ant/text.jpg"),
        ("truncated", "train/ant/ant_0.JPEG"),
        ("truncated", "train/bee/header.png"),
        ("truncated", "train/bee/end.png"),
        ("cmyk", "train/bee/inks.jpg"),
        ("extension", "train/bee/named.png"),
        ("extension", "train/bee/named.jpg"),
        ("misplaced", "train/cat/bee_9.JPEG"),
        ("misplaced", "train/cat/ILSVRC2012_val_00000099.JPEG"),
        ("two-classes", "train/bee/again.JPEG"),
        ("two-splits", "val/ant/ILSVRC2012_val_00000088.JPEG"),
        ("duplicate", "train/ant/twice.JPEG"),
        ("class-folders", "train/dog"),
        ("no-images", "train/elk"),
        ("unlisted", "train/loose.jpg"),
        ("ignored", "train/cat/notes.txt"),
        ("depth", "train/cat/deep.png"),
    }


def test_imagenets_flat_validation_with_its_list(tmp_path):
    root = planted.imagenet(tmp_path)
    shutil.rmtree(root / "val")
    for number in range(4):
        save(root / f"val/ILSVRC2012_val_{number:08}.JPEG", 70 + number)
    assert found(root, "imagenet") == {("class-folders", "val")}
    lines = ["ILSVRC2012_val_00000000.JPEG 0", "ILSVRC2012_val_00000001.JPEG cat", "ILSVRC2012_val_00000002.JPEG 3"]
    (root / "meta").mkdir()
    (root / "meta/val.txt").write_text("\n".join([*lines, lines[0], "gone.JPEG 1"]))
    assert found(root, "imagenet") == {
        ("category", "meta/val.txt"),  # label 3 of 3 classes
        ("duplicate-id", "meta/val.txt"),
        ("missing", "val/gone.JPEG"),
        ("unlisted", "val/ILSVRC2012_val_00000003.JPEG"),
    }
    (root / "meta/val.txt").write_text("no-label")
    assert found(root, "imagenet") == {("annotations", "meta/val.txt")}


def test_coco(tmp_path):
    root = planted.coco(tmp_path)
    train, val = root / "train2017", root / "val2017"

    def entries(content):
        content["images"] += [
            dict(id=90, file_name="gone.jpg", width=20, height=16),
            dict(id=4, file_name="id_twice.jpg", width=20, height=16),
            dict(id=91, file_name="turned.jpg", width=20, height=16),
            dict(id=92, file_name="bare.jpg", width=20, height=16),
            dict(id=93, file_name="no_size.jpg"),
        ]
        content["images"][3]["width"] = 21
        content["categories"].append(dict(id=3, name="house"))
        changes = {
            1: dict(category_id=7),
            2: dict(image_id=7777),
            11: dict(bbox=[15.0, 2.0, 8.0, 6.0]),
            12: dict(bbox=[1.0, 1.0, 0.0, 6.0]),
            21: dict(segmentation=[[1.0, 2.0, 3.0]]),
            22: dict(segmentation=dict(size=[16, 20], counts=[3, 4])),
            31: dict(segmentation=[[1.0, 2.0, 3.0, 4.0, 500.0, 6.0]]),
            41: dict(segmentation=dict(size=[16, 20], counts="no run lengths~")),
            42: dict(id=41),
        }
        for entry in content["annotations"]:
            entry.update(changes.get(entry["id"], {}))
        object_of = dict(category_id=1, bbox=[1.0, 1.0, 4.0, 4.0], segmentation=[[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]])
        content["annotations"] += [
            dict(object_of, id=900 + place, image_id=image) for place, image in ((0, 90), (1, 91))
        ]
        content["annotations"].append(dict(id=910, image_id=0, category_id=1))

    edited(root / "annotations/instances_train2017.json", entries)
    for number, name in enumerate(("id_twice.jpg", "bare.jpg", "no_size.jpg", "unlisted.jpg")):
        save(train / name, number)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(train / "turned.jpg", 5, exif=exif)
    cut(train / "000000000000.jpg")
    shutil.copy(train / "000000000001.jpg", val / "000000000500.jpg")
    edited(root / "annotations/instances_val2017.json", lambda c: c["categories"][0].update(name="wolf"))
    report = check(root, "coco", jobs=2)
    file = str(root / "annotations/instances_train2017.json")
    named = {(finding.kind, os.path.basename(finding.file)) for finding in report.findings if finding.file != file}
    assert named == {
        ("truncated", "000000000000.jpg"),
        ("missing", "gone.jpg"),
        ("unlisted", "unlisted.jpg"),
        ("unlisted", "no_size.jpg"),  # its entry cannot be used
        ("size", "000000000003.jpg"),
        ("size", "turned.jpg"),
        ("orientation", "turned.jpg"),
        ("two-splits", "000000000500.jpg"),
        ("category", "instances_val2017.json"),
    }
    said = sorted((finding.kind, finding.detail) for finding in report.findings if finding.file == file)
    assert said == sorted(
        [
            ("annotations", "image number 9 (id 93) without width, height"),
            ("annotations", "annotation number 12 (id 910) without bbox"),
            ("duplicate-id", "image 4 twice, the second is id_twice.jpg"),
            ("duplicate-id", "annotation 41 twice"),
            ("category", "annotation 1 of category 7, which is not listed"),
            ("unknown-id", "annotation 2 of image 7777, which is not listed"),
            ("no-images", "category 3 (house) has no annotation"),
            ("no-instances", "image 92, bare.jpg"),
            ("box", "annotation 11 of 000000000001.jpg: box [15.0, 2.0, 8.0, 6.0] outside the image of 20 x 16"),
            ("box", "annotation 12 of 000000000001.jpg: box [1.0, 1.0, 0.0, 6.0] without area"),
            ("mask", "annotation 21 of 000000000002.jpg: polygon of 3 numbers instead of x, y of 3 points or more"),
            ("mask", "annotation 22 of 000000000002.jpg: run lengths of 7 pixels for 320"),
            ("mask", "annotation 31 of 000000000003.jpg: polygon outside the image of 21 x 16"),
            ("mask", "annotation 32 of 000000000003.jpg: run lengths of 20 x 16, the image is 21 x 16"),
            ("mask", "annotation 41 of 000000000004.jpg: run lengths that cannot be decoded"),
        ]
    )


@pytest.mark.parametrize(
    "text, kind, says",
    [
        (None, "missing", "no such file"),
        ('{"images": [', "annotations", "JSON that is cut short"),
        ("no JSON at all", "annotations", "JSON that is none"),
        ('{"images": []}', "annotations", "no list of annotations and none of categories"),
    ],
)
def test_annotation_files_that_are_none(text, kind, says, tmp_path):
    root = planted.coco(tmp_path)
    file = root / "annotations/instances_val2017.json"
    file.unlink()
    if text is not None:
        file.write_text(text)
    cut(root / "val2017/000000000501.jpg")  # images are decoded all the same
    report = check(root, "coco", jobs=1)
    assert {(finding.kind, Path(finding.file).name) for finding in report.findings} == {
        (kind, file.name),
        ("truncated", "000000000501.jpg"),
    }
    assert any(says in finding.detail for finding in report.findings)


def test_boxes_without_masks_are_a_remark_for_the_whole_file(tmp_path):
    root = planted.coco(tmp_path)
    edited(root / "annotations/instances_val2017.json", lambda c: [a.pop("segmentation") for a in c["annotations"]])
    report = check(root, "coco", jobs=1)
    assert [(f.kind, f.detail) for f in report.findings] == [("no-masks", "6 of 6 annotations, the first 5001")]
    assert report.faults == 0


def test_ade20k(tmp_path):
    root = planted.ade20k(tmp_path)
    images, maps = root / "images/training", root / "annotations/training"
    names = [f"ADE_train_{number:08}" for number in range(5)]
    (maps / f"{names[0]}.png").unlink()
    (images / f"{names[1]}.jpg").unlink()
    labels(maps / f"{names[2]}.png", [0, 1, 2, 3], size=(10, 16))
    save(maps / f"{names[3]}.png", 1)
    labels(maps / f"{names[4]}.png", [0, 1, 3, 151, 200, 255])
    labels(maps / "wide.png", [0, 300], kind=np.uint16)
    save(images / "wide.jpg", 2)
    cut(labels(maps / "cut.png", [1, 3], size=(200, 160)), 0.7)
    save(images / "cut.jpg", 3, size=(200, 160))
    save(images / "ADE_val_00000077.jpg", 4)
    labels(maps / "ADE_val_00000077.png", [1])
    labels(maps / "lossy.png", [1]).unlink()
    Image.new("L", planted.SIZE, 1).save(maps / "lossy.jpg")
    save(images / "lossy.png", 5)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(images / "turned.jpg", 6, exif=exif)
    labels(maps / "turned.png", [1])
    expected = {
        ("unlisted", f"images/training/{names[0]}.jpg"),
        ("missing", f"images/training/{names[1]}.*"),
        ("size", f"annotations/training/{names[2]}.png"),
        ("label-map", f"annotations/training/{names[3]}.png"),
        ("label-value", f"annotations/training/{names[4]}.png"),
        ("label-value", "annotations/training/wide.png"),
        ("truncated", "annotations/training/cut.png"),
        ("misplaced", "images/training/ADE_val_00000077.jpg"),
        ("label-map", "annotations/training/lossy.jpg"),
        ("size", "annotations/training/turned.png"),
        ("orientation", "images/training/turned.jpg"),
    }
    assert found(root, "ade20k") == expected
    (root / "classes.txt").write_text("sky\nbuilding\npole\nroad\n")
    more = {("no-images", "annotations/training"), ("no-images", "annotations/validation")}
    assert found(root, "ade20k") == expected | more
    report = check(root, "ade20k", jobs=1, classes=2)
    wrong = {finding.detail for finding in report.findings if finding.kind == "label-value"}
    assert "labels 3; expected 0 to 2, or 255" in wrong and "labels 3, 151, 200; expected 0 to 2, or 255" in wrong


def test_a_class_without_a_pixel_is_named(tmp_path):
    root = planted.ade20k(tmp_path)
    (root / "classes.txt").write_text("sky\nbuilding\npole\nroad\n")
    report = check(root, "ade20k", jobs=1)
    assert {finding.detail for finding in report.findings} == {"class 4 (road) has no pixel"}
    (root / "classes.txt").write_text("")
    assert ("annotations", "classes.txt") in found(root, "ade20k")


def test_a_split_that_is_not_there_is_a_remark(tmp_path):
    root = planted.imagenet(tmp_path)
    shutil.rmtree(root / "val")
    report = check(root, "imagenet", jobs=1)
    assert report.counts == {"split": 1} and report.faults == 0


def test_accepted_kinds_are_remarks(tmp_path):
    root = planted.imagenet(tmp_path)
    save(root / "train/ant/inks.jpg", 3, "CMYK")
    assert check(root, "imagenet").faults == 1
    report = check(root, "imagenet", accepted=["cmyk"])
    assert report.faults == 0 and report.as_dict()["findings"][0]["severity"] == "remark"
    with pytest.raises(UserError, match="--accept cymk: expected kinds of findings .*found 'cymk'"):
        check(root, "imagenet", accepted=["cymk"])


def test_progress_counts_every_image(tmp_path):
    root = planted.coco(tmp_path)
    seen = []
    check(root, "coco", 2, lambda *state: seen.append(state))
    assert seen[-1] == (8, 8, 0) and [done for done, _, _ in seen] == list(range(1, 9))


def test_every_kind_is_a_fault_or_a_remark():
    assert list(KINDS)[: len(FAULTS)] == list(FAULTS) and len(KINDS) > len(FAULTS)
