"""`mimeval data check`: exit codes, what is printed where, and its end by Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from tests.datasets import planted
from tests.datasets.planted import cut, edited, labels, save


def run(capsys, *arguments):
    """Exit code, stdout and stderr of `mimeval data check`."""
    capsys.readouterr()
    code = main(["data", "check", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.mark.parametrize("layout", ["imagenet", "coco", "ade20k"])
def test_the_demo_set_is_well(layout, demo, capsys):
    code, out, err = run(capsys, demo, "--layout", layout, "--jobs", 2)
    assert code == 0 and out.splitlines()[0].startswith(f"{demo} ({layout}): 70 images in ")
    assert out.splitlines()[0].endswith(": 0 faults, 0 remarks") and len(out.splitlines()) == 1
    assert "image 1/70" in err and "images/s" in err


def test_all_of_many_planted_faults_are_named(tmp_path, capsys):
    """Twenty faults in the three layouts, each one named in the list with its kind."""
    root, coco, ade = (
        getattr(planted, layout)(tmp_path / layout) for layout in ("imagenet", "coco", "ade20k")
    )  # the three layouts
    (root / "train/ant/empty.jpg").touch()
    (root / "train/ant/text.jpg").write_text("no image")
    cut(root / "train/ant/ant_0.JPEG")
    save(root / "train/bee/inks.jpg", 3, "CMYK")
    save(root / "train/bee/named.png", 4, format="JPEG")
    shutil.copy(root / "train/ant/ant_1.JPEG", root / "train/bee/again.JPEG")
    shutil.copy(root / "train/ant/ant_2.JPEG", root / "val/ant/leaked.JPEG")
    (root / "train/elk").mkdir()
    (coco / "train2017/000000000000.jpg").unlink()
    save(coco / "train2017/stray.jpg", 9)

    def entries(content):
        content["categories"].append(dict(id=3, name="house"))
        content["images"][1]["height"] = 99
        content["annotations"][4].update(category_id=8)
        content["annotations"][5].update(bbox=[900.0, 2.0, 8.0, 6.0])
        content["annotations"][6].update(segmentation=[[1.0]])
        content["annotations"][7].update(id=41)
        content["annotations"][9].update(image_id=77)

    edited(coco / "annotations/instances_train2017.json", entries)
    maps = ade / "annotations/training"
    (maps / "ADE_train_00000000.png").unlink()
    save(maps / "ADE_train_00000001.png", 1)
    labels(maps / "ADE_train_00000002.png", [0, 1, 2, 200])
    labels(maps / "ADE_train_00000003.png", [0, 1, 2, 3], size=(10, 16))
    expected = {
        "imagenet": [
            ("empty", "train/ant/empty.jpg"),
            ("unreadable", "train/ant/text.jpg"),
            ("truncated", "train/ant/ant_0.JPEG"),
            ("cmyk", "train/bee/inks.jpg"),
            ("extension", "train/bee/named.png"),
            ("two-classes", "train/bee/again.JPEG"),
            ("two-splits", "val/ant/leaked.JPEG"),
            ("no-images", "train/elk"),
        ],
        "coco": [
            ("missing", "train2017/000000000000.jpg"),
            ("unlisted", "train2017/stray.jpg"),
            ("no-images", "category 3 (house)"),
            ("size", "train2017/000000000001.jpg"),
            ("category", "annotation 21 of category 8"),
            ("box", "annotation 22 of 000000000002.jpg"),
            ("mask", "annotation 31 of 000000000003.jpg"),
            ("duplicate-id", "annotation 41 twice"),
            ("unknown-id", "of image 77"),
        ],
        "ade20k": [
            ("unlisted", "images/training/ADE_train_00000000.jpg"),
            ("label-map", "annotations/training/ADE_train_00000001.png"),
            ("label-value", "annotations/training/ADE_train_00000002.png"),
            ("size", "annotations/training/ADE_train_00000003.png"),
        ],
    }
    assert sum(map(len, expected.values())) >= 20
    for layout, faults in expected.items():
        code, out, _ = run(capsys, tmp_path, "--layout", layout, "--jobs", 2)
        assert code == 1
        lists = {}
        for block in out.split("\n\n")[1:]:
            kind, _, lines = block.partition(":\n")
            lists[kind] = lines
        for kind, named in faults:
            assert named in lists.pop(kind) if [k for k, _ in faults].count(kind) == 1 else named in lists[kind]
        # What follows from the planted faults, and nothing else.
        assert set(lists) <= {"category", "class-folders"}


def test_json_says_everything(tmp_path, capsys):
    root = planted.imagenet(tmp_path)
    save(root / "train/bee/inks.jpg", 3, "CMYK")
    (root / "train/bee/notes.txt").touch()
    code, out, _ = run(capsys, root, "--layout", "imagenet", "--json")
    content = json.loads(out)
    assert code == 1 and content["images"] == 19 and content["counts"] == {"cmyk": 1, "ignored": 1}
    assert (content["faults"], content["remarks"]) == (1, 1) and content["images_per_s"] > 0
    assert content["findings"][0] == dict(
        severity="fault", kind="cmyk", file=str(root / "train/bee/inks.jpg"), detail="JPEG in CMYK"
    )
    code, out, _ = run(capsys, root, "--layout", "imagenet", "--json", "--accept", "cmyk")
    assert code == 0 and json.loads(out)["findings"][0]["severity"] == "remark"


def test_a_terminal_shows_fifty_of_a_kind_and_a_file_all(tmp_path, capsys, monkeypatch):
    root = planted.imagenet(tmp_path / "data")
    for number in range(60):
        (root / f"train/ant/{number:02}.jpg").touch()
    _, everything, _ = run(capsys, root, "--layout", "imagenet", "--out", tmp_path / "faults.txt")
    assert everything.count(": 0 bytes") == 60
    assert (tmp_path / "faults.txt").read_text() == everything
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, some, _ = run(capsys, root, "--layout", "imagenet")
    assert some.count(": 0 bytes") == 50 and "  and 10 more; --out FILE lists all" in some
    _, some, _ = run(capsys, root, "--layout", "imagenet", "--out", tmp_path / "faults.txt")
    assert f"  and 10 more in {tmp_path / 'faults.txt'}" in some


def test_names_that_no_text_has_are_shown(tmp_path, capsys):
    root = planted.imagenet(tmp_path)
    Path(os.fsdecode(bytes(root / "train/ant") + b"/\xff.jpg")).touch()
    code, out, _ = run(capsys, root, "--layout", "imagenet", "--out", tmp_path / "list")
    assert code == 1 and "\\udcff.jpg: 0 bytes" in out and b"/\xff.jpg: 0 bytes" in (tmp_path / "list").read_bytes()


def test_a_data_file_is_checked_by_its_layouts(tmp_path, capsys):
    planted.coco(tmp_path / "somewhere")
    (tmp_path / "somewhere/val2017").rename(tmp_path / "images")
    (tmp_path / "data.yaml").write_text("coco: {root: somewhere, val2017: ../images}")
    assert run(capsys, tmp_path / "data.yaml", "--layout", "coco")[0] == 0
    (tmp_path / "images/000000000500.jpg").unlink()
    code, out, _ = run(capsys, tmp_path / "data.yaml", "--layout", "coco")
    assert code == 1 and f"{tmp_path / 'images/000000000500.jpg'}: listed in" in out


def test_ctrl_c_ends_cleanly(tmp_path):
    root = planted.imagenet(tmp_path)
    large = save(root / "train/ant/large.png", 0, size=(2000, 2000))
    for number in range(2000):
        (root / f"train/ant/large_{number}.png").hardlink_to(large)
    command = [sys.executable, "-m", "mimeval", "data", "check", str(root), "--layout", "imagenet", "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    first = process.stderr.readline()
    assert first.startswith("image "), first
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    assert [line.partition(" after")[0] for line in err.splitlines()] == ["mimeval: interrupted"]
    assert time.monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process is left
