"""Fine-tuning's images, equal to timm's, torchvision's and Pillow's under the same random numbers, and in their statistics."""

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, IMAGENET_INCEPTION_MEAN
from timm.data.random_erasing import RandomErasing as TimmErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision import transforms as tv

from mimeval.datasets import transforms as ours
from mimeval.datasets.augment import ClippedResizedCrop, RandAugment, RandomErasing
from mimeval.datasets.transforms import PackImages, RandomFlip, RandomResizedCrop, ResizeCenterCrop
from mimeval.transfer.preprocess import ClassificationPreprocessor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
BICUBIC = tv.InterpolationMode.BICUBIC
SEEDS = range(40)


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def picture(seed=0, size=(180, 130)):
    """A smooth coloured image, width by height, with every grey level."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def assert_same(ours, theirs):
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def preprocess(sample, training=True, **settings):
    """A batch of one packed sample, normalised by our preprocessor."""
    model = ClassificationPreprocessor(MEAN, STD, **settings)
    return model({"inputs": sample["inputs"][None], "data_samples": [sample["data_samples"]]}, training)["inputs"][0]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("seed", SEEDS)
def test_crop_equals_torchvisions(seed, interpolation):
    mode = tv.InterpolationMode(interpolation)
    seed_all(seed)
    expected = tv.RandomResizedCrop(96, scale=(0.08, 1.0), interpolation=mode)(picture(seed))
    seed_all(seed)
    crop = RandomResizedCrop(96, scale=(0.08, 1.0), interpolation=interpolation)
    assert_same(crop.transform({"img": picture(seed)})["img"], expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_crop_of_timms_rectangle_equals_timms(seed, monkeypatch):
    # timm draws its rectangle from python's generator, torchvision from torch's: the arithmetic is what can be equal.
    theirs = RandomResizedCropAndInterpolation(96, scale=(0.08, 1.0), interpolation="bicubic")
    seed_all(seed)
    rectangle = theirs.get_params(picture(seed), theirs.scale, theirs.ratio)
    seed_all(seed)
    expected = theirs(picture(seed))
    crop = RandomResizedCrop(96, scale=(0.08, 1.0), interpolation="bicubic")
    monkeypatch.setattr(crop.crop, "get_params", lambda *_: rectangle)
    assert_same(crop.transform({"img": picture(seed)})["img"], expected)


def test_rectangles_are_drawn_as_timms_are():
    image, count = picture(size=(200, 150)), 4000
    theirs = RandomResizedCropAndInterpolation(96, scale=(0.08, 1.0))
    crop = RandomResizedCrop(96, scale=(0.08, 1.0)).crop
    seed_all(0)
    boxes = [
        np.array([rule.get_params(image, rule.scale, rule.ratio) for _ in range(count)]) for rule in (crop, theirs)
    ]
    areas, aspects = ([measure(box) for box in boxes] for measure in (_area, _log_aspect))
    for found, expected in (areas, aspects):
        error = math.sqrt(found.var() / count + expected.var() / count)
        assert abs(found.mean() - expected.mean()) < 4 * error
        assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(expected, [0.1, 0.5, 0.9]), rel=0.1, abs=0.03
        )


def _area(boxes):
    return boxes[:, 2] * boxes[:, 3] / (200 * 150)


def _log_aspect(boxes):
    return np.log(boxes[:, 3] / boxes[:, 2])


@pytest.mark.parametrize("seed", SEEDS)
def test_clipped_crop_is_torchvisions_wherever_the_first_rectangle_fits(seed):
    image, scale, ratio = picture(seed), [0.08, 1.0], [3 / 4, 4 / 3]
    seed_all(seed)
    found = ClippedResizedCrop(96, scale=scale).crop.get_params(image, scale, ratio)
    seed_all(seed)
    area = image.width * image.height * torch.empty(1).uniform_(0.08, 1.0).item()
    aspect = math.exp(torch.empty(1).uniform_(*torch.tensor(ratio).log()).item())
    height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
    assert found[2:] == (min(height, image.height), min(width, image.width))
    assert found[0] + found[2] <= image.height and found[1] + found[3] <= image.width
    if height <= image.height and width <= image.width:
        seed_all(seed)
        assert found == tv.RandomResizedCrop.get_params(image, scale, ratio)


@pytest.mark.parametrize("seed", SEEDS)
def test_flip_equals_torchvisions(seed):
    seed_all(seed)
    expected = tv.RandomHorizontalFlip(0.5)(picture(seed))
    seed_all(seed)
    assert_same(RandomFlip(0.5).transform({"img": picture(seed)})["img"], expected)


@pytest.mark.parametrize("mean", [IMAGENET_DEFAULT_MEAN, IMAGENET_INCEPTION_MEAN], ids=["imagenet", "half"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_rand_augment_equals_the_one_in_timms_create_transform(interpolation, mean):
    # BEiT and SimMIM also ask for colour jitter of 0.4; beside RandAugment timm leaves it out.
    steps = create_transform(
        224,
        is_training=True,
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation=interpolation,
        mean=mean,
    ).transforms
    assert not [step for step in steps if isinstance(step, tv.ColorJitter)]
    theirs = steps[2]
    augment = RandAugment(size=224, mean=[255 * value for value in mean], interpolation=interpolation)
    image, compared = picture(size=(224, 224)), 0
    for seed in range(150):
        seed_all(seed)
        try:
            expected = theirs(image)
        except ValueError:  # see test_posterize_without_a_bit_is_black
            continue
        seed_all(seed)
        assert_same(augment.transform({"img": image})["img"], expected)
        compared += 1
    assert compared >= 140


def test_posterize_without_a_bit_is_black():
    # The magnitude is clipped at 10 in 2.3 % of draws; timm hands Pillow 0 bits then, which Pillow 13 refuses.
    augment = RandAugment()
    posterize = next(step for step in augment.augment.ops if step.name == "PosterizeIncreasing")
    posterize.magnitude, posterize.magnitude_std, posterize.prob = 10, 0, 1
    assert not np.asarray(posterize(picture())).any()
    posterize.magnitude = 9
    assert_same(posterize(picture()), Image.eval(picture(), lambda value: value & 128))


def test_rand_augment_draws_two_of_fifteen_each_applied_half_of_the_time(monkeypatch):
    augment, drawn, applied = RandAugment(), Counter(), Counter()
    names = [step.name for step in augment.augment.ops]
    reference = rand_augment_transform("rand-m9-mstd0.5-inc1")
    assert names == [step.name for step in reference.ops] and len(set(names)) == 15
    magnitudes = []
    for step in augment.augment.ops:
        step.level_fn = None
        step.aug_fn = lambda image, *_, name=step.name, **__: applied.update([name]) or image
    choose = np.random.choice

    def recording(steps, *args, **options):
        chosen = choose(steps, *args, **options)
        drawn.update(step.name for step in chosen)
        return chosen

    monkeypatch.setattr(np.random, "choice", recording)
    gauss = random.gauss
    monkeypatch.setattr(random, "gauss", lambda *args: magnitudes.append(gauss(*args)) or magnitudes[-1])
    seed_all(0)
    image, count = Image.new("RGB", (2, 2)), 6000
    for _ in range(count):
        augment.transform({"img": image})
    assert sum(drawn.values()) == 2 * count
    for name in names:
        assert drawn[name] / (2 * count) == pytest.approx(1 / 15, abs=0.01)
        assert applied[name] / drawn[name] == pytest.approx(0.5, abs=0.08)
    assert np.mean(magnitudes) == pytest.approx(9, abs=0.03) and np.std(magnitudes) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_erasing_equals_timms(mode):
    theirs, erasing = TimmErasing(0.25, mode=mode, max_count=1, device="cpu"), RandomErasing(0.25, mode, 1)
    image, erased = picture(size=(112, 96)), 0
    normalised = tv.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)(tv.functional.to_tensor(image))
    for seed in range(60):
        seed_all(seed)
        expected = theirs(normalised.clone())
        seed_all(seed)
        sample = PackImages().transform(erasing.transform({"img": image, "gt_label": 0}))
        found = preprocess(sample)
        where = expected != normalised
        # What is erased is the very same, what is left the same up to the order of dividing by 255 and the deviation.
        assert torch.equal(found[where], expected[where])
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
        erased += bool(where.any())
        assert ("erasing" in sample["data_samples"]) == bool(where.any())
        assert torch.equal(
            preprocess(sample, training=False), preprocess(PackImages().transform({"img": image, "gt_label": 0}))
        )
    assert 5 < erased < 30


def test_erasing_has_timms_rate_area_and_aspect():
    erasing, sizes, count = RandomErasing(0.25), [], 8000
    image = Image.new("RGB", (64, 64))
    seed_all(0)
    for _ in range(count):
        for rows, columns, noise in erasing.transform({"img": image}).get("erasing", ()):
            sizes.append((rows[1] - rows[0], columns[1] - columns[0]))
            assert noise.shape == (3, *sizes[-1]) and noise.dtype == np.float32
            assert 0 <= rows[0] and rows[1] <= 64 and 0 <= columns[0] and columns[1] <= 64
    heights, widths = np.array(sizes).T
    assert len(sizes) / count == pytest.approx(0.25, abs=0.02)
    # Uniform in area between 2 % and a third; rectangles that do not fit are drawn again, which favours small ones.
    areas = heights * widths / 64**2
    assert 0.015 < areas.min() and areas.max() < 0.36
    assert areas.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)
    assert np.log(heights / widths).mean() == pytest.approx(0, abs=0.05)


def test_several_rectangles():
    theirs, erasing = TimmErasing(1.0, mode="pixel", max_count=3, device="cpu"), RandomErasing(1.0, count=3)
    image, counts = picture(size=(64, 64)), Counter()
    for seed in range(40):
        seed_all(seed)
        expected = theirs(torch.zeros(3, 64, 64))
        seed_all(seed)
        sample = PackImages().transform(erasing.transform({"img": image, "gt_label": 0}))
        found = preprocess(sample)
        assert torch.equal(found[expected != 0], expected[expected != 0])
        counts[len(sample["data_samples"].erasing)] += 1
    assert set(counts) == {1, 2, 3}


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (256, 300)])
def test_evaluation_equals_torchvisions(size):
    expected = tv.Compose([tv.Resize(256, interpolation=BICUBIC), tv.CenterCrop(224)])(picture(size=size))
    assert_same(ResizeCenterCrop(size=224, resize=256).transform({"img": picture(size=size)})["img"], expected)


def test_normalised_evaluation_equals_torchvisions():
    image = picture(size=(224, 224))
    expected = tv.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)(tv.functional.to_tensor(image))
    found = preprocess(PackImages().transform({"img": image, "gt_label": 1}), training=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_whole_pipeline_equals_timms_create_transform():
    """Crop rectangle and flip given, everything after them drawn as in timm's transform."""
    steps = create_transform(
        64,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
    ).transforms
    pipeline = [RandAugment(size=64), RandomErasing(0.25), PackImages()]
    for seed in range(40):
        seed_all(seed)
        image = steps[1](steps[0](picture(seed)))
        results = {"img": image, "gt_label": 0}
        seed_all(1000 + seed)
        try:
            expected = tv.Compose(steps[2:])(image)
        except ValueError:
            continue
        seed_all(1000 + seed)
        for step in pipeline:
            results = step.transform(results)
        torch.testing.assert_close(preprocess(results), expected, rtol=0, atol=3e-6)


def test_noise_travels_in_the_metainfo_and_not_as_data():
    sample = PackImages().transform(RandomErasing(1.0).transform({"img": picture(), "gt_label": 3}))["data_samples"]
    assert isinstance(sample, BaseDataElement)
    assert "erasing" in sample.metainfo and "erasing" not in sample.keys()
    assert ours.PackImages().meta_keys[-1] == "erasing"
