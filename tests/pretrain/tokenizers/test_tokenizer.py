import json

import pytest
import torch
import torch.nn.functional as F

from mimeval.checkpoints.state import write_safetensors
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers import ClusterTokenizer, read_tokenizer, tokenizer_of, write_tokenizer
from tests.pretrain.tokenizers.conftest import VIT

PIXELS = dict(type="PixelPatches", patch_size=4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def filled(distance: str, centres: torch.Tensor) -> ClusterTokenizer:
    tokenizer = ClusterTokenizer(PIXELS, len(centres), distance)
    tokenizer.centres = centres
    return tokenizer


def written(path, tokenizer=None, counts=None, **changes):
    """A file of 5 centres of patches of 4 px, some of its parts others."""
    config = dict(type="ClusterTokenizer", vectors=PIXELS, num_centres=5, distance="euclid") | (tokenizer or {})
    centres = changes.pop("centres", torch.randn(5, 48, generator=generator()))
    vectors = changes.pop("vectors", {"kind": "pixels", "patch_size": 4})
    counts = torch.arange(1, len(centres) + 1) if counts is None else torch.tensor(counts)
    write_tokenizer(path, centres, counts, config, vectors, changes)
    return path


def test_a_token_is_the_nearest_centre():
    vectors, centres = torch.randn(40, 48, generator=generator()), torch.randn(6, 48, generator=generator())
    by_hand = [min(range(6), key=lambda k: float((f - centres[k]).square().sum())) for f in vectors]
    assert filled("euclid", centres).assign(vectors).tolist() == by_hand
    cosines = [max(range(6), key=lambda k: float(F.cosine_similarity(f, centres[k], dim=0))) for f in vectors]
    assert filled("cosine", centres).assign(vectors).tolist() == cosines
    products = [max(range(6), key=lambda k: float(f @ centres[k])) for f in vectors]
    assert filled("dot", centres).assign(vectors).tolist() == products
    assert by_hand != cosines and cosines != products


def test_distances_agree_on_unit_vectors():
    vectors = F.normalize(torch.randn(500, 48, generator=generator()), dim=1)
    centres = F.normalize(torch.randn(9, 48, generator=generator()), dim=1)
    tokens = [filled(distance, centres).assign(vectors) for distance in ("euclid", "cosine", "dot")]
    assert torch.equal(tokens[0], tokens[1]) and torch.equal(tokens[0], tokens[2])


def test_half_precision_moves_no_token():
    # Two centres that bfloat16 cannot tell apart.
    centres = torch.ones(2, 48)
    centres[1] += 1e-3
    tokenizer = filled("euclid", centres)
    vectors = torch.cat([centres, centres.flip(0)])
    with torch.autocast("cpu", torch.bfloat16):
        assert tokenizer.assign(vectors).tolist() == [0, 1, 1, 0]


def test_a_file_comes_back_as_it_was_written(tmp_path):
    file = read_tokenizer(written(tmp_path / "x.safetensors", inertia=2.5, counts=[1, 0, 3, 0, 5]))
    assert torch.equal(file.centres, torch.randn(5, 48, generator=generator()))
    assert file.empty == [1, 3] and file.facts == {"inertia": 2.5}
    tokenizer = tokenizer_of(file)
    images = torch.randn(2, 3, 8, 8, generator=generator())
    assert torch.equal(tokenizer(images), tokenizer.assign(tokenizer.vectors(images)))
    assert torch.equal(tokenizer.centres, file.centres)


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(centres=torch.zeros(7, 48)), "expected 5 centres of 48 values as in the config, found 7 of 48"),
        (dict(centres=torch.zeros(5, 768)), "expected 5 centres of 48 values as in the config, found 5 of 768"),
        (dict(tokenizer=dict(distance="cosine")), "distance euclid as in the config, found some for distance cosine"),
        (
            dict(vectors={"kind": "pixels", "patch_size": 2}),
            "patch_size 4 as in the config, found some for patch_size 2",
        ),
        (dict(vectors={"kind": "backbone"}), "kind pixels as in the config, found some for kind backbone"),
        (
            dict(counts=[1, 0, 3, 0, 5]),
            r"found 2 of 5 centres empty \(the first: 1\); fit fewer, or set allow_empty=True",
        ),
        (dict(centres=torch.full((5, 48), float("nan"))), "no finite numbers"),
        (dict(counts=[1, 2]), "no count for each"),
    ],
)
def test_centres_that_do_not_fit_are_refused(changes, says, tmp_path):
    path = written(tmp_path / "x.safetensors", **changes)
    tokenizer = ClusterTokenizer(PIXELS, 5)
    with pytest.raises(UserError, match=says):
        tokenizer.load(path)
    assert not tokenizer.centres.any()
    if "empty" in says:
        tokenizer.load(path, allow_empty=True)
        assert tokenizer.centres.any()


def test_other_files_are_no_tokenizers(tmp_path, checkpoint):
    plain = tmp_path / "plain.safetensors"
    write_safetensors(plain, {"centres": torch.zeros(5, 48)}, {"format": "pt"})
    damaged = tmp_path / "damaged.safetensors"
    write_safetensors(damaged, {"centres": torch.zeros(5, 48)}, {"format": "mimeval-tokenizer", "vectors": "{"})
    for path, says in (
        (plain, "found another; fit one with"),
        (damaged, "expected centres with their provenance"),
        (checkpoint, "found another; fit one with"),
        (tmp_path / "gone", "found nothing; fit one with"),
    ):
        with pytest.raises(UserError, match=says):
            read_tokenizer(path)


@pytest.mark.parametrize(
    "config, says",
    [
        (dict(type="MaskedImageModel"), "tokenizer to be one of ClusterTokenizer, found MaskedImageModel"),
        (
            dict(vectors=dict(type="mmengine.Sequential")),
            "vectors to be one of PixelPatches, BackbonePatches, found mmeng",
        ),
        (
            dict(vectors=dict(type="BackbonePatches", backbone=dict(type="mmdet.ResNet"))),
            "backbone to be one of VisionTransformer, SwinTransformer, found mmdet.ResNet",
        ),
    ],
)
def test_a_header_builds_nothing_but_tokenizers(config, says, tmp_path):
    with pytest.raises(UserError, match=says):
        tokenizer_of(read_tokenizer(written(tmp_path / "x.safetensors", config)))


def test_the_backbone_is_the_one_of_the_fit(tmp_path, checkpoint):
    backbone = dict(VIT, init_cfg=dict(type="Pretrained", checkpoint="gone.pth"))
    config = dict(vectors=dict(type="BackbonePatches", backbone=backbone))
    vectors = dict(kind="backbone", type="VisionTransformer", out_type="tokens", taps=[], stride=8)
    path = tmp_path / "x.safetensors"

    def file(sha256):
        facts = dict(checkpoint={"path": "gone.pth", "sha256": sha256})
        described = dict(vectors, checkpoint_sha256=sha256)
        return read_tokenizer(written(path, config, centres=torch.randn(5, 16), vectors=described, **facts))

    with pytest.raises(UserError, match="expected its backbone's checkpoint at gone.pth, found no file there"):
        tokenizer_of(file("0" * 64))
    with pytest.raises(UserError, match="checkpoint_sha256 .* found some for checkpoint_sha256 0000"):
        tokenizer_of(file("0" * 64), checkpoint)
    from mimeval.checkpoints.state import sha256

    tokenizer = tokenizer_of(file(sha256(checkpoint)), checkpoint)
    assert tokenizer(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    with pytest.raises(UserError, match="found one of pixels"):
        tokenizer_of(read_tokenizer(written(path)), checkpoint)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="tokenizer.distance must be one of euclid, cosine, dot, found 'l2'"):
        ClusterTokenizer(PIXELS, 5, "l2")
    with pytest.raises(UserError, match="num_centres must be at least 2"):
        ClusterTokenizer(PIXELS, 1)


def test_the_header_is_plain_json(tmp_path):
    written(tmp_path / "x.safetensors", images=3)
    from safetensors import safe_open

    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        meta = opened.metadata()
    assert meta["format"] == "mimeval-tokenizer" and json.loads(meta["images"]) == 3
    assert json.loads(meta["tokenizer"])["vectors"] == PIXELS
