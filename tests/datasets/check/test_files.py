"""What one file shows, beyond what the planted folders of test_report have."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image, features

from mimeval.datasets.check.files import Task, examine
from tests.datasets.planted import save


def kinds(file, **options):
    result = examine(Task(0, str(file), **options))
    assert all(finding.file == str(file) for finding in result.findings)
    return [finding.kind for finding in result.findings]


@pytest.mark.parametrize(
    "name, mode",
    [
        ("a.png", "L"),
        ("a.png", "P"),
        ("a.png", "RGBA"),
        ("a.png", "1"),
        ("a.bmp", "RGB"),
        ("a.tif", "RGB"),
        ("a.ppm", "RGB"),
    ],
)
def test_kinds_that_every_reader_turns_into_the_same_rgb_are_well(name, mode, tmp_path):
    assert kinds(save(tmp_path / name, 0, mode)) == []


def test_webp_and_a_camera_s_jpeg_of_two_pictures_are_well(tmp_path):
    assert features.check("webp")
    assert kinds(save(tmp_path / "a.webp", 0)) == []
    picture = Image.open(save(tmp_path / "b.png", 1))
    picture.save(tmp_path / "c.jpg", "MPO", save_all=True, append_images=[picture])
    assert Image.open(tmp_path / "c.jpg").format == "MPO"
    assert kinds(tmp_path / "c.jpg") == []


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_a_remark(name, tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / name)
    assert kinds(tmp_path / name) == ["depth"]


def test_sixteen_bits_per_colour_are_seen_though_pillow_reads_eight(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4, 3), 4000, np.uint16))
    assert Image.open(tmp_path / "deep.png").mode == "RGB"
    assert kinds(tmp_path / "deep.png") == ["depth"]


def test_the_orientation_matters_where_pixels_are_annotated(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(tmp_path / "turned.jpg", 0, exif=exif)
    assert kinds(file) == []
    assert kinds(file, eyes_on_pixels=True) == ["orientation"]
    assert kinds(file, eyes_on_pixels=True, size=(16, 20)) == ["orientation"]  # as it is seen
    assert kinds(file, eyes_on_pixels=True, size=(20, 16)) == ["orientation", "size"]


def test_exif_data_that_cannot_be_read_are_no_fault(tmp_path):
    file = save(tmp_path / "odd.jpg", 0, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert kinds(file, eyes_on_pixels=True) == []


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert kinds(tmp_path / "pipe.jpg") == ["unreadable"]
    assert kinds(tmp_path / "folder.jpg") == ["unreadable"]


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    file = save(tmp_path / "a.jpg", 0)

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    assert [finding.detail for finding in examine(Task(0, str(file))).findings] == ["Permission denied"]


def test_equal_bytes_have_equal_digests(tmp_path):
    first, second = save(tmp_path / "a.jpg", 0), save(tmp_path / "b.jpg", 0)
    other = save(tmp_path / "c.jpg", 1)
    digests = [examine(Task(0, str(file))).digest for file in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.ppm"])
def test_wherever_a_file_is_cut_it_is_seen(name, share, tmp_path):
    file = save(tmp_path / name, 0, size=(200, 150))
    whole = file.read_bytes()
    file.write_bytes(whole[: max(1, int(len(whole) * share))])
    assert set(kinds(file)) <= {"truncated", "unreadable"} and kinds(file)
    if share > 0.01 and name in ("a.jpg", "a.png"):
        assert kinds(file) == ["truncated"]
