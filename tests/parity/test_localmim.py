"""Parity with the official LocalMIM on a ViT (golden/localmim_vit): weights and noise in, four levels and gradients out."""

import pytest
import torch

from mimeval.backbones import VisionTransformer
from mimeval.errors import UserError
from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.targets.hog import SOBEL
from tests.golden import golden
from tests.parity.record import LARGEST, close, same

# Maps of fine levels are stored sampled.
STEPS = {0: 5, 1: 3, 2: 1, 3: 1}
SCALES = (4, 2, 1, 0.5)


def build(
    arch, decoder: dict, masking: dict | None = None, patch_size: int = 16, cells=None, **hog
) -> MaskedImageModel:
    return MaskedImageModel(
        backbone=dict(
            type="mimeval.VisionTransformer", arch=arch, patch_size=patch_size, taps=(1, 3, -3, -1), tap_norm=True
        ),
        masking=masking or dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(type="mimeval.LocalMIMDecoder", scale=scale, **decoder) for scale in SCALES],
        targets=[
            dict(type="mimeval.HOGTarget", cell=cell, **hog) for cell in cells or [patch_size / s for s in SCALES]
        ],
        loss=dict(type="mimeval.MaskedMSE"),
    )


def our_name(official: str) -> str | None:
    """Our name of an official parameter, None for the fixed kernels of HOG, which are no part of our state dict."""
    head, _, tail = official.partition(".")
    if head == "hog_enc":
        level, _, name = tail.partition(".conv.")
        return f"targets.{level}.gradient_bias" if name == "bias" else None
    return {"norm": f"backbone.tap_norms.{tail}", "decoder": f"decoders.{tail}"}.get(head, f"backbone.{official}")


def assert_close(quantity, ours, theirs, level=""):
    close("LocalMIM ViT", quantity, ours, theirs, 5e-6, LARGEST, str(level))


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("localmim_vit")[0].items()}


@pytest.fixture(scope="module")
def model(arrays) -> MaskedImageModel:
    model = build(dict(embed_dim=32, depth=8, num_heads=4), dict(embed_dim=16, num_heads=2))
    official = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    assert sorted(official) == sorted(official_names(8))
    for level in range(4):
        assert torch.equal(official[f"hog_enc.{level}.conv.weight"][0, 0], torch.tensor(SOBEL))
    model.load_state_dict({our_name(key): value for key, value in official.items() if our_name(key)}, strict=True)
    return model


def test_masks_taps_predictions_targets_and_losses(arrays, model):
    masks = model.masking.from_noise(arrays["in/noise"], (14, 14))
    same("LocalMIM ViT", "mask", masks.mask[:, 0], arrays["out/mask"])
    images = arrays["in/images"]
    latents, predictions = model.encode(images, masks), model.predict(images, masks)
    losses = []
    for k, (latent, prediction, target, decoder) in enumerate(
        zip(latents, predictions, model.targets, model.decoders, strict=True)
    ):
        assert_close("latents", latent, arrays[f"out/latent{k}"], k)
        weights = masks.weights(decoder.grid)
        same("LocalMIM ViT", "masks of levels", weights[:, 0], arrays[f"out/mask{k}"])
        step, targets = STEPS[k], target(images)
        for name, cells in (("pred", prediction[:, 0]), ("target", targets)):
            maps = cells.unflatten(1, decoder.grid)[:, ::step, ::step]
            assert_close({"pred": "predictions", "target": "targets"}[name], maps, arrays[f"out/{name}{k}"], k)
            whole = cells.double()
            checks = torch.stack([whole.sum(), whole.square().sum()])
            torch.testing.assert_close(checks, arrays[f"out/{name}{k}_checks"].double(), rtol=1e-5, atol=1e-4)
        losses.append(model.loss_function(prediction, targets, weights))
    assert_close("losses of levels", torch.stack(losses), arrays["out/loss_levels"])
    assert_close("loss", model.losses_of(images, masks)["loss_reconstruction"], arrays["out/loss"])


def test_every_gradient(arrays, model):
    model.zero_grad()
    masks = model.masking.from_noise(arrays["in/noise"], (14, 14))
    model.losses_of(arrays["in/images"], masks)["loss_reconstruction"].backward()
    expected = {our_name(key.removeprefix("grad/")): value for key, value in arrays.items() if key.startswith("grad/")}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(expected)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in expected.items():
        close("LocalMIM ViT", "every gradient", gradients[name], gradient, 3e-5, LARGEST, name)


def test_vit_base_has_the_official_levels_and_names():
    with torch.device("meta"):
        model = build("base", {}, nbins=18, bias=True)
    assert model.backbone.taps == (1, 3, 9, 11)
    assert [decoder.grid[0] ** 2 for decoder in model.decoders] == [3136, 784, 196, 49]
    # 248 tensors officially without HOG's biases: the four fixed Sobel kernels are none of ours.
    names = {our_name(name) for name in official_names(12)}
    assert len(official_names(12)) == 248
    assert names - {None} == {name for name in model.state_dict() if not name.endswith("gradient_bias")}
    assert {our_name(f"hog_enc.{level}.conv.bias") for level in range(4)} <= set(model.state_dict())


def official_names(depth: int) -> list[str]:
    """Names in an official checkpoint with the default decoders and 9 bins ; the golden file's own, at another depth."""

    def block(prefix):
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        return [f"{prefix}.{part}.{kind}" for part in parts for kind in ("weight", "bias")]

    names = ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]
    names += [name for i in range(depth) for name in block(f"blocks.{i}")]
    for level, head in enumerate([(0, 1, 3, 4), (0, 1), (0,), (1,)]):
        decoder = f"decoder.{level}"
        layers = ["embed", "norm", *(f"pred.{i}" for i in head)]
        names += [f"norm.{level}.weight", f"norm.{level}.bias", f"{decoder}.mask_token", f"{decoder}.pos_embed"]
        names += [f"{decoder}.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
        names += [*block(f"{decoder}.blocks.0"), f"hog_enc.{level}.conv.weight"]
    return names


def test_hidden_weight_of_each_level():
    model = build(dict(embed_dim=8, depth=5, num_heads=2), dict(embed_dim=8, num_heads=2))
    masks = model.masking(torch.tensor([[0, 0, 0], [0, 0, 1]]), (14, 14))
    sums = [masks.weights(decoder.grid).sum(-1).flatten().tolist() for decoder in model.decoders]
    assert sums == [[2352.0] * 2, [588.0] * 2, [147.0] * 2, [36.75] * 2]
    assert [
        (decoder.grid[0] ** 2, target.dim) for decoder, target in zip(model.decoders, model.targets, strict=True)
    ] == [(3136, 27), (784, 27), (196, 27), (49, 27)]


@pytest.mark.parametrize("depth", [4, 6])
def test_levels_that_coincide_are_refused(depth):
    with pytest.raises(UserError, match="taps must be different blocks"):
        VisionTransformer(dict(embed_dim=8, depth=depth, num_heads=2), taps=(1, 3, -3, -1), tap_norm=True)


def test_patches_of_14_pixels_work():
    """They do not officially, whose cells are for patches of 16 pixels."""
    model = build(dict(embed_dim=8, depth=5, num_heads=2), dict(embed_dim=8, num_heads=2), patch_size=14)
    assert [decoder.grid[0] for decoder in model.decoders] == [64, 32, 16, 8]
    losses = model.losses_of(torch.randn(1, 3, 224, 224), model.masking(torch.tensor([[0, 0, 0]]), (16, 16)))
    losses["loss_reconstruction"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
