"""Cluster targets and their loss inside a model: the tokenizer is no part of it."""

import copy
import math

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mimeval.errors import UserError
from mimeval.pretrain.losses import MaskedCrossEntropy
from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.targets import ClusterTarget
from mimeval.pretrain.tokenizers import write_tokenizer
from tests.parity.test_mae_pretrain import PREPROCESSOR

VIT = dict(type="mimeval.VisionTransformer", arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=32, patch_size=8)
PIXELS = dict(type="mimeval.ClusterTokenizer", vectors=dict(type="mimeval.PixelPatches", patch_size=8), num_centres=5)
FEATURES = dict(PIXELS, vectors=dict(type="mimeval.BackbonePatches", backbone=dict(VIT, out_type="tokens")))


@pytest.fixture
def centres(tmp_path):
    generator = torch.Generator().manual_seed(1)
    path = tmp_path / "centres.safetensors"
    counts, described = torch.ones(5, dtype=torch.int64), {"kind": "pixels", "patch_size": 8}
    write_tokenizer(path, torch.randn(5, 192, generator=generator), counts, PIXELS, described, {})
    return str(path)


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def build(target, parts=1, **slots) -> MaskedImageModel:
    masking = dict(type="mimeval.RandomMasking") if parts == 1 else dict(type="mimeval.ParallelMasking", parts=parts)
    settings = dict(
        backbone=VIT,
        masking=masking,
        decoders=[dict(type="mimeval.MAEDecoder", embed_dim=8, depth=1, num_heads=2)],
        targets=[target],
        loss=dict(type="mimeval.MaskedCrossEntropy"),
        data_preprocessor=PREPROCESSOR,
    )
    model = MaskedImageModel(**(settings | slots))
    model.init_weights()
    return model


def losses(model, images):
    keys = torch.tensor([[0, 0, index] for index in range(len(images))])
    return model.loss(images, keys)


@pytest.mark.parametrize("tokenizer", [PIXELS, FEATURES], ids=["pixel", "feature"])
def test_the_tokenizer_is_no_part_of_the_model(tokenizer, images):
    model = build(dict(type="mimeval.ClusterTarget", tokenizer=tokenizer, centres=None))
    whole = build(dict(type="mimeval.PixelTarget", patch_size=8), loss=dict(type="mimeval.MaskedMSE"))
    for found in ("state_dict", "named_parameters", "named_buffers", "named_modules"):
        names = [set(dict(getattr(part, found)())) for part in (model, whole)]
        assert names[0] == names[1], found
    # Every parameter that is trained has a gradient: DistributedDataParallel need not look for others.
    losses(model, images)["loss_reconstruction"].backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(gradient is not None and gradient.any() for gradient in trained.values())
    tokenizer = model.targets[0].tokenizer
    assert not any(p.requires_grad or p.grad is not None for p in tokenizer.parameters())


def test_distributed_data_parallel_needs_no_search(images, tmp_path):
    model = build(dict(type="mimeval.ClusterTarget", tokenizer=FEATURES, centres=None))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model, find_unused_parameters=False)
        samples = [type("Sample", (), dict(sample_key=(0, 0, 0), metainfo_keys=lambda self: ["sample_key"]))()] * 3
        for _ in range(2):  # the second step raises where the first left a parameter out
            wrapped(images, samples, mode="loss")["loss_reconstruction"].backward()
    finally:
        dist.destroy_process_group()


def test_the_tokenizer_goes_where_the_model_goes(images):
    model = build(dict(type="mimeval.ClusterTarget", tokenizer=FEATURES, centres=None))
    tokens = model.targets[0](images)
    assert model.double().targets[0].tokenizer.centres.dtype == torch.float64
    assert torch.equal(copy.deepcopy(model.float()).targets[0](images), tokens)
    moved = model.to("meta").targets[0].tokenizer
    assert moved.centres.is_meta and all(p.is_meta for p in moved.parameters())


def test_targets_are_tokens_of_the_whole_image(centres, images):
    target = ClusterTarget(PIXELS, centres)
    with pytest.raises(RuntimeError, match="init_weights"):
        target(images)
    target.init_weights()
    tokens = target(images.requires_grad_())
    assert tokens.shape == (3, 16) and tokens.dtype == torch.int64 and not tokens.requires_grad
    assert target.grid((32, 32)) == (4, 4) and target.dim == 5 and target.discrete
    assert torch.equal(tokens, target.tokenizer.assign(target.tokenizer.vectors(images)))
    assert target.input_files()["file"] == centres and len(target.input_files()["sha256"]) == 64


def test_wrong_centres_are_refused_by_init_weights(centres):
    with pytest.raises(UserError, match="expected 6 centres of 192 values as in the config, found 5 of 192"):
        build(dict(type="mimeval.ClusterTarget", tokenizer=dict(PIXELS, num_centres=6), centres=centres))
    with pytest.raises(UserError, match="gone.safetensors: expected a file that"):
        build(dict(type="mimeval.ClusterTarget", tokenizer=PIXELS, centres="gone.safetensors"))


def test_tokens_of_another_grid_are_refused_when_the_model_is_built():
    smaller = dict(PIXELS, vectors=dict(type="mimeval.PixelPatches", patch_size=4))
    with pytest.raises(UserError, match="4 x 4 cells, but targets.0 .ClusterTarget. has 8 x 8"):
        build(dict(type="mimeval.ClusterTarget", tokenizer=smaller, centres=None))


def test_no_knowledge_costs_the_logarithm_of_the_number_of_centres(images):
    """Constant logits: ln K (methods.md 7), whatever the masks, parts and smoothing."""
    for parts in (1, 4):
        loss = dict(type="mimeval.MaskedCrossEntropy", label_smoothing=0.1)
        model = build(dict(type="mimeval.ClusterTarget", tokenizer=PIXELS, centres=None), parts, loss=loss)
        torch.nn.init.zeros_(model.decoders[0].pred.weight)
        assert losses(model, images)["loss_reconstruction"].item() == pytest.approx(math.log(5), abs=1e-6)


def test_visible_patches_do_not_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    tokens = torch.randint(5, (2, 4), generator=generator)
    mask = (torch.rand(2, 3, 4, generator=generator) < 0.5).float()
    loss = MaskedCrossEntropy(label_smoothing=0.2)
    value = loss(logits, tokens, mask)
    by_hand = []
    for b, k, p in mask.nonzero().tolist():
        surprise = -logits[b, k, p].log_softmax(0)
        by_hand.append(0.8 * surprise[tokens[b, p]] + 0.2 * surprise.mean())
    torch.testing.assert_close(value, torch.stack(by_hand).mean())
    other = torch.where(mask[..., None] == 0, torch.tensor(1e3), logits)
    torch.testing.assert_close(loss(other, tokens, mask), value)
