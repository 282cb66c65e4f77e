"""SimMIM's official pre-training, ViT and Swin, through the model itself: latents, reconstruction, loss, every gradient."""

import pytest

from mimeval.pretrain.masks import Masks
from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.targets.pixel import patchify
from tests.parity.record import LARGEST, close, same
from tests.parity.test_simmim_encoders import load, part, swin_name, vit_tensor

UNIT = 32
METHOD = {"vit": "SimMIM ViT", "swin": "SimMIM Swin"}


def build(backbone: dict, stride: int) -> MaskedImageModel:
    return MaskedImageModel(
        backbone=backbone,
        masking=dict(type="mimeval.RandomMasking", ratio=0.6, unit=UNIT),
        encoding=dict(type="mimeval.SubstitutedTokens"),
        decoders=[dict(type="mimeval.LinearDecoder")],
        targets=[dict(type="mimeval.PixelTarget", patch_size=stride, norm_pix=False)],
        loss=dict(type="mimeval.MaskedL1"),
    )


def vit(config: dict) -> MaskedImageModel:
    arch = dict(embed_dim=config["EMBED_DIM"], depth=config["DEPTH"], num_heads=config["NUM_HEADS"])
    extra = dict(pos_embed="none", rel_pos="shared_bias", init_values=0.1, k_bias=False, weight_init="beit")
    return build(dict(type="mimeval.VisionTransformer", arch=arch, img_size=96, **extra), stride=16)


def swin(config: dict) -> MaskedImageModel:
    arch = dict(embed_dim=config["EMBED_DIM"], depths=config["DEPTHS"], num_heads=config["NUM_HEADS"])
    backbone = dict(type="mimeval.SwinTransformer", arch=arch, img_size=96, window_size=6, out_type="mean")
    return build(backbone, stride=32)


def our_tensors(kind: str, tensors: dict, stride: int) -> dict:
    """Official tensors by our names and in our order of a patch's values."""
    encoder = part(tensors, "encoder.")
    ours = {"encoding.mask_token": encoder.pop("mask_token")}
    for name, value in encoder.items():
        if name.endswith("v_bias"):
            continue
        name, value = (swin_name(name), value) if kind == "swin" else vit_tensor(name, encoder)
        ours[f"backbone.{name}"] = value
    for name, value in part(tensors, "decoder.0.").items():
        # (channel, row, column) of pixel shuffle to (row, column, channel).
        rows = value.unflatten(0, (3, stride, stride)).permute(1, 2, 0, *range(3, value.ndim + 2)).flatten(0, 2)
        ours[f"decoders.0.pred.{name}"] = rows.flatten(1) if name == "weight" else rows
    return ours


def parity(kind: str):
    arrays, config = load(f"simmim_{kind}")
    model = vit(config) if kind == "vit" else swin(config)
    stride = model.targets[0].patch_size
    state = our_tensors(kind, part(arrays, "state/"), stride)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and not [name for name in missing if not name.startswith("data_preprocessor")]
    return arrays, model, stride


def masks_of(arrays, model) -> Masks:
    """The official mask, drawn in units and stored for the grid of the patch embedding, on our grid of units."""
    official = arrays["in/mask"].float()
    fold = official.shape[1] // model.mask_grid[0]
    masks = Masks.from_mask(official[:, ::fold, ::fold].flatten(1)[:, None], model.mask_grid)
    same("SimMIM", "masks on patches", masks.weights(model.backbone.grid)[:, 0], official.flatten(1))
    return masks


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_features_reconstruction_and_loss(kind):
    arrays, model, stride = parity(kind)
    images, masks = arrays["in/images"], masks_of(arrays, model)
    (latent,) = model.encode(images, masks)
    features = latent[:, -(model.targets[0].grid((96, 96))[0] ** 2) :]
    close(METHOD[kind], "latent", features, arrays["out/features"].flatten(2).mT, 5e-6, LARGEST)
    (prediction,) = model.predict(images, masks)
    expected = patchify(arrays["out/reconstruction"], stride)
    close(METHOD[kind], "reconstruction", prediction[:, 0], expected, 5e-6, LARGEST)
    loss = model.losses_of(images, masks)["loss_reconstruction"]
    close(METHOD[kind], "loss", loss, arrays["out/loss"].squeeze(), 5e-6, LARGEST)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_every_gradient(kind):
    arrays, model, stride = parity(kind)
    model.losses_of(arrays["in/images"], masks_of(arrays, model))["loss_reconstruction"].backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    official = our_tensors(kind, part(arrays, "grad/"), stride)
    assert set(trained) == set(official) | ({"decoders.0.pred.weight"} if kind == "swin" else set())
    for name, gradient in official.items():
        ours = trained[name]
        close(METHOD[kind], "every gradient", ours, gradient.view_as(ours), 3e-5, LARGEST, name)
    if kind == "swin":
        # Too large to be stored whole: every 16th row, in the official order of rows.
        whole = trained["decoders.0.pred.weight"].unflatten(0, (stride, stride, 3)).permute(2, 0, 1, 3).flatten(0, 2)
        rows = arrays["gradrows/decoder.0.weight"].flatten(1)
        close(METHOD[kind], "every gradient", whole[::16], rows, 3e-5, LARGEST, "decoders.0.pred.weight")


def test_a_k_bias_has_no_gradient_at_all():
    arrays, model, _ = parity("vit")
    model.losses_of(arrays["in/images"], masks_of(arrays, model))["loss_reconstruction"].backward()
    for block in model.backbone.blocks:
        q, k, v = block.attn.qkv.bias.grad.chunk(3)
        assert (k == 0).all() and q.abs().min() > 0 and v.abs().min() > 0
