"""TCAS: hand-made cases (methods.md 7), the stream against the whole, and what few images do to it."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mimeval.analysis import tcas as module
from mimeval.analysis.tcas import Alignment, Confusion, labelled_images, measure, summary, tcas
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.environment import setup_environment
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers import read_tokenizer, tokenizer_of, write_tokenizer

setup_environment()


def directly(confusion: torch.Tensor, norm: str) -> float:
    """The definition as it is written: the whole matrix of cosines."""
    rows = confusion[confusion.sum(1) > 0].double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    difference = rows @ rows.T - torch.eye(len(rows))
    return float(difference.abs().sum() if norm == "l1" else difference.norm()) / len(rows) ** 2


def test_tokens_of_one_class_each():
    pure = torch.diag(torch.tensor([3, 1, 4, 1, 5]))
    assert tcas(pure) == 0 and tcas(pure, "frobenius") == 0


def test_tokens_that_tell_no_class_apart():
    same = torch.tensor([[2, 3, 1]]) * torch.arange(1, 11)[:, None]
    assert tcas(same) == pytest.approx(0.9)
    assert tcas(same, "frobenius") == pytest.approx(90**0.5 / 100)  # 0.095


def test_two_tokens_at_an_angle():
    assert tcas(torch.tensor([[1, 0], [1, 1]])) == pytest.approx(2 * 0.5**0.5 / 4)


@pytest.mark.parametrize("norm", ["l1", "frobenius"])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_the_short_form_is_the_definition(shape, norm):
    confusion = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(0))
    assert tcas(confusion, norm) == pytest.approx(directly(confusion, norm), rel=1e-12)


def test_empty_tokens_are_left_out():
    confusion = torch.randint(0, 9, (6, 3), generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(9, 3, dtype=torch.int64)
    holes[[0, 2, 3, 5, 6, 8]] = confusion
    assert tcas(holes) == tcas(confusion)
    with pytest.raises(UserError, match="at least one patch"):
        tcas(torch.zeros(3, 3))
    with pytest.raises(UserError, match="not 'l2'"):
        tcas(confusion, "l2")


def images_like(count: int, seed: int, tokens: int = 30, classes: int = 6, patches: int = 40):
    """Images of classes whose tokens are distributed each in its own way, alike for every seed."""
    of_class = np.random.default_rng(0).dirichlet(np.full(tokens, 0.3), size=classes)
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    drawn = np.stack([random.choice(tokens, patches, p=random.dirichlet(of_class[c] * 30 + 1e-6)) for c in labels])
    return torch.from_numpy(drawn), torch.from_numpy(labels)


def test_a_stream_gives_what_the_whole_gives():
    tokens, labels = images_like(50, seed=1)
    scores = []
    for size in (50, 7, 1):
        confusion = Confusion(30, 6, replicates=20, seed=3)
        for start in range(0, 50, size):
            confusion.add(tokens[start : start + size], labels[start : start + size])
        scores.append(confusion.score())
    assert scores[0] == scores[1] == scores[2]
    whole = torch.zeros(30, 6, dtype=torch.int64)
    for row, label in zip(tokens, labels, strict=True):
        for token in row:
            whole[token, label] += 1
    assert torch.equal(confusion.counts, whole)
    # Each replicate is the confusion matrix of images repeated as often as a Poisson number says.
    weights = np.random.default_rng(3).poisson(1.0, (50, 20))
    for replicate in (0, 19):
        repeated = torch.zeros(30, 6)
        for row, label, times in zip(tokens, labels, weights[:, replicate], strict=True):
            for token in row:
                repeated[token, label] += times
        assert torch.equal(confusion.resampled[:, replicate].T, repeated)


def test_the_interval_knows_that_few_images_look_better_aligned():
    truth = Confusion(60, 10)
    truth.add(*images_like(20_000, 2, 60, 10, 20))
    true_value = truth.score()["value"]
    covered, better, biases = 0, 0, []
    for seed in range(20):
        few = Confusion(60, 10, replicates=100, seed=seed)
        few.add(*images_like(100, 100 + seed, 60, 10, 20))
        score = few.score()
        covered += score["low"] <= true_value <= score["high"]
        better += abs(score["corrected"] - true_value) < abs(score["value"] - true_value)
        biases.append(score["value"] - true_value)
    assert np.mean(biases) < -0.02, "few images no longer look better aligned"
    # Percentiles as they are would hold the true value in none of these.
    assert covered >= 15 and better == 20


def test_too_few_images_are_said():
    facts = dict(
        value=0.5, corrected=None, low=None, high=None, norm="l1", empty=[], classes=9, patches=9, replicates=0
    )
    few, enough = (Alignment(**facts, tokens=40, of=50, images=images, seed=0) for images in (399, 400))
    assert few.needs_more_images and "FEW IMAGES" in summary(few, "x")
    assert not enough.needs_more_images and "FEW IMAGES" not in summary(enough, "x")


def test_without_replicates_there_is_no_interval():
    confusion = Confusion(30, 6)
    confusion.add(*images_like(5, seed=0))
    assert confusion.score() == {"value": tcas(confusion.counts), "corrected": None, "low": None, "high": None}


def test_more_memory_than_sensible_is_refused():
    with pytest.raises(UserError, match="8192 tokens x 1000 classes take 31 GiB, expected 8 at most"):
        Confusion(8192, 1000, replicates=1000)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture
def file(tmp_path):
    """4 centres of patches of 8 px: black, white, grey, and one that no patch is near to."""
    config = dict(type="ClusterTokenizer", vectors=dict(type="PixelPatches", patch_size=8), num_centres=4)
    centres = torch.tensor([-2.0, 2.0, 0.0, 99.0])[:, None].expand(4, 192)
    facts = dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        pipeline=[dict(type="LoadRGB"), dict(type="PackImages")],
    )
    described = {"kind": "pixels", "patch_size": 8}
    path = tmp_path / "tokens.safetensors"
    write_tokenizer(path, centres, torch.ones(4, dtype=torch.int64), config, described, facts)
    return read_tokenizer(path)


def score(file, data, images=None, seed=0, **options):
    batches = labelled_images(file, data, "train", images, seed, batch=16, workers=0)
    return measure(tokenizer_of(file), file, batches, seed=seed, **options)


def test_a_tokenizer_on_a_folder(file, data):
    seen = []
    found = score(file, data, replicates=10, progress=lambda done, total, rate: seen.append((done, total)))
    assert seen == [(16, 40), (32, 40), (40, 40)]
    # By hand: the nearest of three grey values to each patch of 8 px.
    counts = np.zeros((4, 10), int)
    mean, std = np.array(file.facts["mean"], np.float32), np.array(file.facts["std"], np.float32)
    for path in (data / "imagenet" / "train").rglob("*.png"):
        pixels = (np.asarray(Image.open(path).convert("RGB"), np.float32) - mean) / std
        for patch in pixels.reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1):
            distances = [((patch - grey) ** 2).sum() for grey in (-2, 2, 0, 99)]
            counts[int(np.argmin(distances)), int(path.parent.name)] += 1
    assert found.value == pytest.approx(tcas(torch.from_numpy(counts)))
    assert (found.tokens, found.of, found.empty) == (3, 4, [3])
    assert (found.images, found.classes, found.patches) == (40, 10, 640)
    text = summary(found, file.path)
    assert "derived, not the paper's code" in text and "3 of 4 tokens occur; empty: 3; 40 images of 10 classes" in text
    assert found.as_dict()["definition"] == module.LABEL


def test_a_part_of_the_images_is_drawn_by_the_seed(file, data):
    parts = [score(file, data, images=12, seed=seed, replicates=0) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] and parts[0].value != parts[2].value and parts[0].images == 12
    with pytest.raises(UserError, match="--images 41: expected at most the 40 images"):
        score(file, data, images=41)


def test_damaged_images_are_left_out(file, data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    victim = min((copy / "imagenet" / "train").rglob("*.png"))
    victim.write_text("no image")
    found = score(file, copy, replicates=4)
    victim.unlink()
    assert found.unreadable == 1 and "1 damaged images left out" in summary(found, "x")
    without = score(file, copy, replicates=4)
    assert (found.value, found.images, found.corrected) == (without.value, 39, without.corrected)


def test_a_pipeline_from_a_header_is_one_that_changes_nothing(file, data):
    file.facts["pipeline"][0]["type"] = "mmengine.Anything"
    with pytest.raises(UserError, match="expected a pipeline of LoadRGB, .* found mmengine.Anything"):
        score(file, data)
