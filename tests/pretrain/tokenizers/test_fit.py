"""The stream of vectors by hand, with Pillow, numpy and scikit-learn, against what the fit writes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min

from mimeval.checkpoints.state import sha256
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers import tokenizer_of
from mimeval.pretrain.tokenizers.fit import fit_tokenizer, summary
from mimeval.registry import MODELS

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def pictures(data: Path) -> np.ndarray:
    """The training images [N, H, W, 3], normalised, in the order of ImageFolder."""
    files = sorted(str(path) for path in (data / "imagenet" / "train").rglob("*.png"))
    return np.stack([(np.asarray(Image.open(file).convert("RGB"), np.float32) - MEAN) / STD for file in files])


def patches(images: np.ndarray, p: int = 4) -> np.ndarray:
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // p, p, width // p, p, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks.reshape(-1, p * p * channels))


def by_hand(stream: list[np.ndarray], centres: int, seed: int = 0) -> np.ndarray:
    """Official main_kmeans_cpu_patch.py's K-means."""
    kmeans = MiniBatchKMeans(n_clusters=centres, random_state=seed, batch_size=len(stream[0]), n_init="auto")
    for batch in stream:
        kmeans.partial_fit(batch)
    return kmeans.cluster_centers_


def permuted(seed: int, epoch: int, size: int = 40) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)


def test_centres_are_scikit_learns_on_the_same_stream(pixel, data, tmp_path):
    file = fit_tokenizer(pixel, tmp_path / "x.safetensors")
    images = pictures(data)
    stream = [patches(images[permuted(0, epoch)[i : i + 8]]) for epoch in range(2) for i in range(0, 40, 8)]
    expected = by_hand(stream, 8)
    assert np.array_equal(file.centres.numpy(), expected)
    # Counts and inertia are those of the final centres on all images.
    nearest, distance = pairwise_distances_argmin_min(patches(images).astype(np.float64), expected.astype(np.float64))
    assert np.array_equal(file.counts.numpy(), np.bincount(nearest, minlength=8))
    assert file.facts["inertia"] == pytest.approx(float((distance**2).sum()), rel=1e-5)
    assert file.facts["patches"] == 40 * 64 and file.facts["inertia_per_patch"] * 40 * 64 == file.facts["inertia"]


def test_the_official_order_is_that_of_the_folders(pixel, data, tmp_path):
    pixel.train_dataloader.update(batch_size=16, drop_last=True)
    pixel.train_dataloader.sampler.shuffle = False
    file = fit_tokenizer(pixel, tmp_path / "x.safetensors")
    images = pictures(data)
    stream = [patches(images[i : i + 16]) for _ in range(2) for i in (0, 16)]  # 8 images are dropped
    assert np.array_equal(file.centres.numpy(), by_hand(stream, 8))
    assert file.facts["data"]["images"] == 32 and file.facts["patches"] == 32 * 64
    assert file.facts["training"]["images_seen"] == 64


def test_cosine_clusters_vectors_of_length_1(pixel, data, tmp_path):
    pixel.tokenizer.distance = "cosine"
    file = fit_tokenizer(pixel, tmp_path / "x.safetensors")
    images = pictures(data)
    stream = [patches(images[permuted(0, epoch)[i : i + 8]]) for epoch in range(2) for i in range(0, 40, 8)]
    units = [batch / np.linalg.norm(batch, axis=1, keepdims=True) for batch in stream]
    np.testing.assert_allclose(file.centres.numpy(), by_hand(units, 8), atol=1e-5)
    cosines = patches(images) @ (file.centres / file.centres.norm(dim=1, keepdim=True)).numpy().T
    assert np.array_equal(file.counts.numpy(), np.bincount(cosines.argmax(1), minlength=8))


def test_dot_clusters_vectors_as_they_are(pixel, tmp_path):
    plain = fit_tokenizer(pixel, tmp_path / "plain.safetensors")
    pixel.tokenizer.distance = "dot"
    dot = fit_tokenizer(pixel, tmp_path / "dot.safetensors")
    assert torch.equal(plain.centres, dot.centres) and not torch.equal(plain.counts, dot.counts)
    # A short centre is no vector's largest product: the release's own choice leaves centres empty.
    assert dot.empty and dot.facts["empty"] == len(dot.empty)
    assert f"{len(dot.empty)} centres are EMPTY ({dot.empty[0]}" in summary(dot) and "none is empty" in summary(plain)


def test_features_of_a_frozen_backbone(feature, data, checkpoint, tmp_path):
    file = fit_tokenizer(feature, tmp_path / "x.safetensors")
    backbone = MODELS.build(dict(feature.tokenizer.vectors.backbone, init_cfg=None, frozen=True))
    backbone.load_state_dict(torch.load(checkpoint)["model"])
    inputs = torch.from_numpy(pictures(data)).permute(0, 3, 1, 2)
    order = [permuted(0, epoch)[i : i + 8] for epoch in range(2) for i in range(0, 40, 8)]
    with torch.no_grad():
        stream = [backbone(inputs[indices])[0][:, 1:].flatten(0, 1).numpy() for indices in order]
    np.testing.assert_allclose(file.centres.numpy(), by_hand(stream, 8), atol=1e-5)
    assert file.facts["checkpoint"] == {"path": str(checkpoint), "sha256": sha256(checkpoint)}
    # The header alone is enough to use it.
    assert torch.equal(tokenizer_of(file).centres, file.centres)


def test_equal_seeds_give_equal_files(pixel, tmp_path):
    files = [fit_tokenizer(pixel, tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    assert files[0].sha256 == files[1].sha256
    pixel.randomness.seed = 1
    assert not torch.equal(fit_tokenizer(pixel, tmp_path / "c.safetensors").centres, files[0].centres)


def test_the_header_says_where_centres_come_from(pixel, data, tmp_path):
    facts = fit_tokenizer(pixel, tmp_path / "x.safetensors").facts
    assert facts["training"]["config"] == "tokens_demo.py" and facts["training"]["seed"] == 0
    assert {"command", "git", "hardware", "versions"} <= facts["training"].keys()
    assert "scikit-learn" in facts["training"]["versions"]
    assert facts["data"] == {"folder": str(data / "imagenet/train"), "images": 40}
    assert facts["pipeline"] == [{"type": "LoadRGB"}, {"type": "PackImages"}]
    assert facts["epochs"] == 2 and facts["empty"] == 0 and facts["damaged"] == 0 and facts["checkpoint"] is None


def copied(data: Path, folder: Path, config) -> Path:
    shutil.copytree(data, folder)
    config.train_dataloader.dataset.dataset.data_root = str(folder)
    return folder / "imagenet" / "train"


def test_fewer_different_patches_than_centres(pixel, data, tmp_path):
    train = copied(data, tmp_path / "data", pixel)
    for path in train.rglob("*.png"):
        Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(path)
    out = tmp_path / "out" / "x.safetensors"
    with pytest.raises(UserError, match="expected at least 8 different patches in the first batch.*found 1; lower"):
        fit_tokenizer(pixel, out)
    assert not out.parent.exists()
    pixel.tokenizer.num_centres = 10_000
    with pytest.raises(UserError, match="expected at least 10000 different patches"):
        fit_tokenizer(pixel, out)


def test_damaged_images_are_replaced_and_named(pixel, data, tmp_path, capsys):
    train = copied(data, tmp_path / "data", pixel)
    victim = sorted(train.rglob("*.png"))[3]
    victim.write_text("no image")
    file = fit_tokenizer(pixel, tmp_path / "x.safetensors")
    assert file.facts["damaged"] == 1 and str(victim) in capsys.readouterr().err
    pixel.strict_data = True
    with pytest.raises(UserError, match="as --strict-data asks"):
        fit_tokenizer(pixel, tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c.pop("tokenizer"), "expected tokenizer to fit a tokenizer, found none"),
        (lambda c: c.update(epochs=0), "expected epochs to fit a tokenizer, found none"),
        (lambda c: c.update(epochs=1.5), "expected epochs to be a number from 1 on, found 1.5"),
        (
            lambda c: c.train_dataloader.dataset.dataset.pipeline.insert(1, dict(type="RandomFlip")),
            "fitted on images as they are, found RandomFlip",
        ),
        (lambda c: c.tokenizer.vectors.update(patch_size=5), "5 pixels, which does not divide the image of 32 x 32"),
        (lambda c: c.tokenizer.vectors.update(type="Pixels"), "type='Pixels' is no model that mimeval knows"),
        (
            lambda c: setattr(
                c.tokenizer,
                "vectors",
                dict(type="BackbonePatches", backbone=dict(type="VisionTransformer", arch="tiny", img_size=32)),
            ),
            "expected tokenizer.vectors.backbone to have an init_cfg",
        ),
    ],
)
def test_what_cannot_be_fitted_is_said(change, says, pixel, tmp_path):
    change(pixel)
    with pytest.raises(UserError, match=says):
        fit_tokenizer(pixel, tmp_path / "out" / "x.safetensors")
    assert not (tmp_path / "out").exists()
