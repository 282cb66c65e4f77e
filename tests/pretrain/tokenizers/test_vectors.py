import pytest
import torch

from mimeval.checkpoints.state import sha256
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers import BackbonePatches, PixelPatches
from tests.pretrain.tokenizers.conftest import VIT

SWIN = dict(
    type="SwinTransformer",
    arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)),
    img_size=32,
    patch_size=4,
    window_size=4,
    out_type="maps",
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_pixels_are_those_of_the_patch(images):
    vectors = PixelPatches(8)(images)
    assert vectors.shape == (2, 24, PixelPatches(8).dim)
    patch = images[1, :, 8:16, 16:24]  # row 1, column 2 of a grid of 4 x 6
    assert torch.equal(vectors[1, 8], patch.permute(1, 2, 0).flatten())


def test_patch_tokens_come_without_the_class_token(images):
    vectors = BackbonePatches(dict(VIT, out_type="tokens"))
    tokens = vectors.backbone(images)[0]
    assert tokens.shape[1] == 1 + 24 and torch.equal(vectors(images), tokens[:, 1:])
    assert vectors.dim == 16 and vectors.grid((32, 48)) == (4, 6)


def test_maps_are_read_in_raster_order(images):
    layer = BackbonePatches(dict(VIT, out_type="maps", taps=[0]))
    assert torch.equal(layer(images)[:, 8], layer.backbone(images)[0][:, :, 1, 2])
    swin = BackbonePatches(dict(SWIN, taps=[1]))
    assert swin.dim == 16 and swin.grid((32, 32)) == (4, 4)
    square = images[..., :32]
    assert torch.equal(swin(square)[:, 6], swin.backbone(square)[0][:, :, 1, 2])


def test_the_backbone_is_frozen_and_loaded_strictly(images, checkpoint, tmp_path):
    init = dict(type="mimeval.Pretrained", checkpoint=str(checkpoint))
    vectors = BackbonePatches(dict(VIT, drop_path_rate=0.5, init_cfg=init))
    vectors.init_weights()
    assert vectors.sha256 == sha256(checkpoint) == vectors.describe()["checkpoint_sha256"]
    stored = torch.load(checkpoint)["model"]
    assert all(torch.equal(stored[name], value) for name, value in vectors.backbone.state_dict().items())
    vectors.train()
    assert torch.equal(vectors(images), vectors(images))
    assert not any(parameter.requires_grad for parameter in vectors.parameters())
    torch.save(
        {"model": {name: value for name, value in stored.items() if "blocks.1." not in name}}, tmp_path / "x.pth"
    )
    wrong = BackbonePatches(dict(VIT, init_cfg=dict(init, checkpoint=str(tmp_path / "x.pth"))))
    with pytest.raises(UserError, match="x.pth"):
        wrong.init_weights()


@pytest.mark.parametrize(
    "backbone, says",
    [
        (dict(VIT, out_type="mean"), "found out_type 'mean' with 1"),
        (dict(VIT, out_type="maps", taps=[0, 1]), "found out_type 'maps' with 2"),
        (SWIN, "with 2"),
    ],
)
def test_a_backbone_gives_the_tokens_of_one_layer(backbone, says):
    with pytest.raises(UserError, match=says):
        BackbonePatches(backbone)


@pytest.mark.parametrize("vectors", [PixelPatches(7), BackbonePatches(dict(VIT, patch_size=8))])
def test_patches_fill_the_image(vectors):
    with pytest.raises(UserError, match="does not divide the image of 36 x 32"):
        vectors(torch.zeros(1, 3, 36, 32))
