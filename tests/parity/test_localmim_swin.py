"""Parity with the official LocalMIM on Swin (golden/localmim_swin, localmim_swin_hog): pixel and HOG targets, gradients."""

import pytest
import torch

from mimeval.pretrain.model import MaskedImageModel
from tests.golden import golden
from tests.parity.record import LARGEST, close, same

STRIDES = (8, 16, 32, 32)


def build(config: dict, misplaced: bool = True) -> MaskedImageModel:
    if config["target"] == "HOG":
        hog = dict(type="mimeval.HOGTarget", nbins=config["hog_nbins"], bias=config["hog_bias"])
        targets = [dict(hog, cell=stride) for stride in STRIDES]
    else:
        targets = [dict(type="mimeval.PixelTarget", patch_size=stride) for stride in STRIDES]
    width = config["decoder_embed_dim"]
    decoder = dict(type="mimeval.MAEDecoder", depth=1, num_heads=config["decoder_num_heads"])
    return MaskedImageModel(
        backbone=dict(
            type="mimeval.SwinTransformer",
            arch=dict(embed_dim=config["embed_dim"], depths=config["depths"], num_heads=config["num_heads"]),
            window_size=config["window_size"],
            norm_eps=1e-6,
        ),
        masking=dict(type="mimeval.RandomMasking", ratio=0.75, unit=32, shared=True),
        encoding=dict(type="mimeval.SparseWindows", misplaced=misplaced),
        decoders=[dict(decoder, embed_dim=size) for size in (width // 2, width, width, width)],
        targets=targets,
        loss=dict(type="mimeval.MaskedMSE"),
    )


def our_name(official: str) -> str | None:
    """Our name of an official parameter; None for what is fixed and no part of our state dict in that form."""
    head, _, tail = official.partition(".")
    if head == "hog_enc":
        level, _, name = tail.partition(".conv.")
        return f"targets.{level}.gradient_bias" if name == "bias" else None
    if head == "decoder":
        return None if tail.endswith("pos_embed") else f"decoders.{tail}"
    parts = tail.split(".")
    if parts[0] == "norm":
        return f"encoding.tap_norms.{'.'.join(parts[1:])}"
    if parts[2:3] == ["downsample"]:
        # timm keeps patch merging at the start of a stage, the official code at the end of the one before.
        parts[1] = str(int(parts[1]) + 1)
    return f"backbone.{'.'.join(parts)}"


def timm_order(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Merged tokens in the order (0,0), (1,0), (0,1), (1,1) of row and column, officially (0,0), (0,1), (1,0), (1,1)."""
    if ".downsample." not in name:
        return tensor
    quarters = tensor.chunk(4, dim=-1)
    return torch.cat([quarters[i] for i in (0, 2, 1, 3)], dim=-1)


def ours(arrays, kind: str, order=timm_order) -> dict[str, torch.Tensor]:
    official = {key.removeprefix(f"{kind}/"): value for key, value in arrays.items() if key.startswith(f"{kind}/")}
    return {our_name(name): order(name, value) for name, value in official.items() if our_name(name)}


@pytest.fixture(scope="module", params=["localmim_swin", "localmim_swin_hog"])
def case(request):
    arrays, facts = golden(request.param)
    arrays = {key: torch.from_numpy(value) for key, value in arrays.items()}
    model = build(facts["config"])
    missing, unexpected = model.load_state_dict(ours(arrays, "state"), strict=False)
    assert not unexpected
    assert missing == [f"decoders.{level}.pos_embed" for level in range(4)]
    for level, decoder in enumerate(model.decoders):
        # Ours has a row for a class token, which Swin does not have.
        torch.testing.assert_close(
            decoder.pos_embed[:, 1:], arrays[f"state/decoder.{level}.pos_embed"], rtol=0, atol=1e-6
        )
    return arrays, model


def assert_close(quantity, ours, theirs, level=""):
    close("LocalMIM Swin", quantity, ours, theirs, 5e-6, LARGEST, str(level))


def masks_of(model, arrays):
    """The official mask hides cells whose number in a permutation is at most 36; ours shows those of the least noise."""
    return model.masking.from_noise(-arrays["in/perm"][None].float(), (7, 7))


def sampled(cells: torch.Tensor, grid, kind: str, level: int) -> torch.Tensor:
    """Predictions and targets [B, L, D] as the golden file samples them."""
    maps = cells.unflatten(1, grid)
    if maps.shape[-1] == 54:
        return maps[:, ::3, ::3] if level == 0 else maps
    side = STRIDES[level]
    maps = maps.unflatten(-1, (side, side, 3))
    step = 1 if kind == "pred" and level else 3
    pixels = (1, 3, 5, 5)[level]
    return maps[:, ::step, ::step, ::pixels, ::pixels]


def test_masks_taps_predictions_targets_and_losses(case):
    arrays, model = case
    images, masks = arrays["in/images"], masks_of(model, arrays)
    same("LocalMIM Swin", "mask", masks.mask[:, 0], arrays["out/mask"].float())
    assert masks.mask.sum() == 37
    latents, predictions = model.encode(images, masks), model.predict(images, masks)
    assert [latent.shape[1] for latent in latents] == [192, 48, 12, 12]
    losses = []
    for k, (latent, prediction, target, decoder) in enumerate(
        zip(latents, predictions, model.targets, model.decoders, strict=True)
    ):
        weights = masks.weights(decoder.grid)
        same("LocalMIM Swin", "masks of levels", weights[:, 0], arrays[f"out/mask{k}"])
        order = masks.on(decoder.grid).ids_keep[0, 0].argsort()
        official = in_raster_order(arrays[f"out/latent{k}"], weights[0, 0], decoder.grid)
        assert_close("latents", latent[:, order], official, k)
        targets = target(images)
        for name, cells in (("pred", prediction[:, 0]), ("target", targets)):
            quantity = {"pred": "predictions", "target": "targets"}[name]
            assert_close(quantity, sampled(cells, decoder.grid, name, k), arrays[f"out/{name}{k}"], k)
            whole = cells.double()
            checks = torch.stack([whole.sum(), whole.square().sum()])
            torch.testing.assert_close(checks, arrays[f"out/{name}{k}_checks"].double(), rtol=1e-5, atol=1e-4)
        losses.append(model.loss_function(prediction, targets, weights))
    assert_close("losses of levels", torch.stack(losses), arrays["out/loss_levels"])
    assert_close("loss", model.losses_of(images, masks)["loss_reconstruction"], arrays["out/loss"])


def in_raster_order(latent: torch.Tensor, mask: torch.Tensor, grid) -> torch.Tensor:
    """Official latents lie cell by cell of the 7 x 7 mask, and in raster order inside a cell."""
    side = grid[0] // 7
    numbers = torch.arange(len(mask)).view(7, side, 7, side).transpose(1, 2).flatten()
    return latent[:, numbers[mask[numbers] == 0].argsort()]


def test_every_gradient(case):
    arrays, model = case
    model.zero_grad()
    model.losses_of(arrays["in/images"], masks_of(model, arrays))["loss_reconstruction"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    whole, rows = ours(arrays, "grad"), ours(arrays, "gradrows")
    assert whole.keys() | rows.keys() == gradients.keys()
    for name, gradient in whole.items():
        close("LocalMIM Swin", "every gradient", gradients[name], gradient, 3e-5, LARGEST, name)
    for name, gradient in rows.items():
        close("LocalMIM Swin", "every gradient", gradients[name][::16], gradient, 3e-5, LARGEST, name)
    for name, (total, squares, largest) in ours(arrays, "gradsum", lambda name, value: value).items():
        gradient = gradients[name].double()
        found = torch.stack([gradient.abs().sum(), gradient.square().sum(), gradient.abs().max()])
        torch.testing.assert_close(found, torch.stack([total, squares, largest]).double(), rtol=1e-4, atol=1e-9)


def test_unpermuted_patch_merging_is_another_model(case):
    """The official order as it is, which is what LocalMIM's own fine-tuning loads: latents are unrelated."""
    arrays, model = case
    masks = masks_of(model, arrays)
    right = ours(arrays, "state")
    model.load_state_dict(ours(arrays, "state", lambda name, value: value), strict=False)
    latent = model.encode(arrays["in/images"], masks)[0]
    model.load_state_dict(right, strict=False)
    expected = model.encode(arrays["in/images"], masks)[0]
    assert (latent - expected).abs().max() > 0.1 * expected.abs().max()


def test_all_images_of_a_batch_have_the_mask_of_the_first():
    model = build(
        dict(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 2],
            window_size=7,
            decoder_embed_dim=16,
            decoder_num_heads=2,
            target="Pixel",
        )
    )
    keys = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 3, 5]])
    masks = model.masking(keys, model.mask_grid)
    assert (masks.mask == masks.mask[:1]).all()
    assert torch.equal(masks.mask[:1], model.masking(keys[:1], model.mask_grid).mask)
    assert not torch.equal(masks.mask[:1], model.masking(keys[1:2], model.mask_grid).mask)
    assert [decoder.pred.out_features for decoder in model.decoders] == [192, 768, 3072, 3072]
