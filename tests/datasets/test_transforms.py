"""Image transforms: every file becomes upright RGB, crops are torchvision's, samples are packed as models expect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from mimeval.datasets import LoadRGB, PackImages, RandomFlip, RandomResizedCrop, ResizeCenterCrop
from mimeval.datasets.transforms import read_rgb
from mimeval.errors import DamagedSample


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, picture, mode):
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    stored = picture.convert(mode)
    stored.save(path)
    assert np.array_equal(np.asarray(read_rgb(path)), np.asarray(stored.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_rgb(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_ppm_is_scaled_too(tmp_path):
    (tmp_path / "deep.pgm").write_bytes(b"P5 3 1 65535\n" + np.array([0, 32896, 65535], ">u2").tobytes())
    assert np.asarray(read_rgb(tmp_path / "deep.pgm"))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_shows_the_colour_that_is_stored(tmp_path, picture):
    clear = picture.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "clear.png")), np.asarray(picture))
    palette = picture.convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(256))
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "palette.png")), np.asarray(palette.convert("RGB")))


def test_exif_data_that_cannot_be_read_turn_nothing(tmp_path, picture):
    picture.save(tmp_path / "odd.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    picture.save(tmp_path / "plain.jpg")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "odd.jpg")), np.asarray(read_rgb(tmp_path / "plain.jpg")))


def test_large_images_are_decoded_as_they_are(tmp_path, picture):
    """No smaller JPEG decoding before the crop: pixels are those of the official recipes."""
    picture.resize((1600, 1200)).save(tmp_path / "large.jpg", quality=90)
    torch.manual_seed(0)
    ours = RandomResizedCrop(24)(LoadRGB()({"img_path": str(tmp_path / "large.jpg")}))
    assert ours["ori_shape"] == (1200, 1600)
    torch.manual_seed(0)
    crop = tv.RandomResizedCrop(24, (0.2, 1.0), interpolation=tv.InterpolationMode.BICUBIC)
    theirs = crop(Image.open(tmp_path / "large.jpg").convert("RGB"))
    assert np.array_equal(np.asarray(ours["img"]), np.asarray(theirs))


def test_formats_that_start_other_programs_are_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    assert Image.open(tmp_path / "a.jpg").format == "EPS"
    with pytest.raises(DamagedSample, match="cannot identify"):
        read_rgb(tmp_path / "a.jpg")


def test_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "turned.png", exif=exif)
    results = LoadRGB()({"img_path": str(tmp_path / "turned.png")})
    assert results["ori_shape"] == (60, 40)
    assert np.array_equal(np.asarray(results["img"]), np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))


def test_a_file_that_is_no_image_is_named(tmp_path, picture):
    (tmp_path / "text.png").write_text("no image")
    picture.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    for name in ("text.png", "cut.png", "missing.png"):
        with pytest.raises(DamagedSample, match=name) as caught:
            read_rgb(tmp_path / name)
        assert caught.value.file == str(tmp_path / name) and name not in caught.value.reason


def test_the_crop_is_torchvisions_bicubic_one(picture):
    torch.manual_seed(1)
    ours = RandomResizedCrop(24, scale=(0.2, 1.0))({"img": picture})
    torch.manual_seed(1)
    theirs = tv.RandomResizedCrop(24, scale=(0.2, 1.0), interpolation=tv.InterpolationMode.BICUBIC)(picture)
    assert np.array_equal(np.asarray(ours["img"]), np.asarray(theirs))
    assert ours["img_shape"] == (24, 24)


def test_evaluation_keeps_maes_proportion(picture):
    results = ResizeCenterCrop(28)({"img": picture})
    steps = [tv.Resize(32, tv.InterpolationMode.BICUBIC), tv.CenterCrop(28)]
    assert np.array_equal(np.asarray(results["img"]), np.asarray(tv.Compose(steps)(picture)))


def test_flips_as_often_as_asked(picture):
    mirrored = np.asarray(picture)[:, ::-1]
    assert np.array_equal(np.asarray(RandomFlip(1.0)({"img": picture})["img"]), mirrored)
    assert RandomFlip(0.0)({"img": picture})["img"] is picture
    torch.manual_seed(0)
    count = sum(RandomFlip(0.25)({"img": picture})["flip"] for _ in range(400))
    assert 70 < count < 130


def test_packing_keeps_pixels_label_and_path(picture):
    packed = PackImages()({"img": picture, "gt_label": 3, "img_path": "a/b.png"})
    assert packed["inputs"].dtype == torch.uint8
    assert np.array_equal(packed["inputs"].permute(1, 2, 0).numpy(), np.asarray(picture))
    assert packed["data_samples"].gt_label.item() == 3 and packed["data_samples"].img_path == "a/b.png"
    assert "gt_label" not in PackImages()({"img": picture})["data_samples"]
