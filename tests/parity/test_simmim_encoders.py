"""SimMIM's official encoders, Swin and ViT, on images with mask tokens: features, gradients and layer ids."""

import pytest
import torch

from mimeval.backbones import SwinTransformer, VisionTransformer
from tests.golden import golden
from tests.parity.record import LARGEST, close


def load(name):
    arrays, facts = golden(name)
    return {key: torch.from_numpy(value) for key, value in arrays.items()}, facts["config"]


def swin_name(official: str) -> str:
    """timm keeps patch merging at the start of a stage, the official code at the end of the one before."""
    parts = official.split(".")
    if parts[2:3] == ["downsample"]:
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def vit_tensor(official: str, tensors: dict[str, torch.Tensor]):
    """Our name and value of a tensor; the official q, v biases are one qkv bias here, with zeros for k."""
    if official.endswith(("gamma_1", "gamma_2")):
        return official.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"), tensors[official]
    if official.endswith("q_bias"):
        q, v = tensors[official], tensors[official.replace("q_bias", "v_bias")]
        return official.replace("q_bias", "qkv.bias"), torch.cat([q, torch.zeros_like(q), v])
    return official, tensors[official]


def part(arrays, prefix):
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def loss_of(arrays, features):
    """Masked L1 through the official head: a 1 x 1 convolution and a pixel shuffle."""
    decoder, images = part(arrays, "state/decoder.0."), arrays["in/images"]
    stride = images.shape[-1] // features.shape[-1]
    pixels = torch.nn.functional.conv2d(features, decoder["weight"], decoder["bias"])
    reconstruction = torch.nn.functional.pixel_shuffle(pixels, stride)
    hidden = arrays["in/mask"].float()
    cell = images.shape[-1] // hidden.shape[-1]
    hidden = hidden.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, None]
    return ((images - reconstruction).abs() * hidden).sum() / (hidden.sum() + 1e-5) / 3


def test_swin():
    arrays, config = load("simmim_swin")
    arch = dict(embed_dim=config["EMBED_DIM"], depths=config["DEPTHS"], num_heads=config["NUM_HEADS"])
    model = SwinTransformer(arch, img_size=96, window_size=config["WINDOW_SIZE"], out_type="mean")
    state = part(arrays, "state/encoder.")
    mask_token = state.pop("mask_token").requires_grad_()
    model.load_state_dict({swin_name(name): value for name, value in state.items()}, strict=True)

    tokens = model.patch_embed(arrays["in/images"])
    tokens = torch.where(arrays["in/mask"].bool()[..., None], mask_token.squeeze(), tokens)
    features = model.norm(model.layers(tokens)).permute(0, 3, 1, 2)
    close("SimMIM Swin", "encoder's features", features, arrays["out/features"], 5e-6, LARGEST)

    loss = loss_of(arrays, features)
    close("SimMIM Swin", "loss through the official head", loss, arrays["out/loss"].squeeze(), 5e-6, LARGEST)
    loss.backward()
    parameters = {**dict(model.named_parameters()), "mask_token": mask_token}
    official = {swin_name(name): value for name, value in part(arrays, "grad/encoder.").items()}
    assert set(official) == set(parameters)
    for name, gradient in official.items():
        ours = parameters[name].grad
        close("SimMIM Swin", "every gradient of the encoder", ours, gradient.view_as(ours), 3e-5, LARGEST, name)


def test_vit_with_a_shared_relative_bias():
    arrays, config = load("simmim_vit")
    arch = dict(embed_dim=config["EMBED_DIM"], depth=config["DEPTH"], num_heads=config["NUM_HEADS"])
    model = VisionTransformer(arch, img_size=96, pos_embed="none", rel_pos="shared_bias", init_values=0.1)
    state = part(arrays, "state/encoder.")
    mask_token = state.pop("mask_token").requires_grad_()
    ours = dict(vit_tensor(name, state) for name in state if not name.endswith("v_bias"))
    model.load_state_dict(ours, strict=True)

    patches, (h, w) = model.embed_patches(arrays["in/images"])
    patches = torch.where(arrays["in/mask"].flatten(1).bool()[..., None], mask_token.squeeze(), patches)
    (tokens,) = model.encode(patches)
    features = tokens[:, 1:].transpose(1, 2).unflatten(2, (h, w))
    close("SimMIM ViT", "encoder's features", features, arrays["out/features"], 5e-6, LARGEST)

    loss = loss_of(arrays, features)
    close("SimMIM ViT", "loss through the official head", loss, arrays["out/loss"].squeeze(), 5e-6, LARGEST)
    loss.backward()
    parameters = {**dict(model.named_parameters()), "mask_token": mask_token}
    gradients = part(arrays, "grad/encoder.")
    official = dict(vit_tensor(name, gradients) for name in gradients if not name.endswith("v_bias"))
    assert set(official) == set(parameters)
    for name, gradient in official.items():
        ours_here = parameters[name].grad.view_as(gradient).clone()
        if name.endswith("qkv.bias"):
            # Softmax ignores a bias of k: what rounding leaves of its gradient belongs to no official parameter.
            ours_here.view(3, -1)[1] = 0
        close("SimMIM ViT", "every gradient of the encoder", ours_here, gradient, 3e-5, LARGEST, name)


@pytest.mark.parametrize("kind", ["swin", "vit"])
def test_layer_ids_of_the_base_models(kind):
    tables = golden("simmim_facts")[1]["layer_decay"].values()
    tables = [case["table"] for case in tables if case["type"] == kind]
    assert tables
    with torch.device("meta"):
        model = SwinTransformer("base") if kind == "swin" else VisionTransformer("base")
    checked = 0
    for table in tables:
        for name, (layer_id, *_) in table.items():
            if not name.startswith("head."):
                assert model.layer_id(swin_name(name) if kind == "swin" else name) == layer_id, name
                checked += 1
    assert checked > 100
