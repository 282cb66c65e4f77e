import pytest
import torch

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.errors import UserError
from mimeval.pretrain.encoding import SubstitutedTokens, VisibleTokens
from mimeval.pretrain.masking import BlockMasking, ParallelMasking, RandomMasking

KEYS = torch.tensor([[0, 0, index] for index in range(2)])
ARCH = dict(embed_dim=24, depth=2, num_heads=2)


def vit(**settings) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**{"arch": ARCH, "img_size": 32, "patch_size": 8, **settings}).eval()


def swin(**settings) -> SwinTransformer:
    torch.manual_seed(0)
    arch = dict(embed_dim=8, depths=(2, 1), num_heads=(1, 2))
    return SwinTransformer(**{"arch": arch, "img_size": 32, "window_size": 4, **settings}).eval()


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


def test_what_is_hidden_does_not_reach_the_latents(images):
    """For every encoding and part: pixels of hidden cells can change as they like."""
    for backbone, encoding in ((vit(), VisibleTokens), (vit(), SubstitutedTokens), (swin(), SubstitutedTokens)):
        slot = encoding(backbone)
        masks = ParallelMasking(4, unit=8)(KEYS, (4, 4))
        for part in range(4):
            hidden = masks.mask[:, part].reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
            changed = images + 5 * hidden
            before, after = slot(backbone, images, masks), slot(backbone, changed, masks)
            for a, b in zip(before, after, strict=True):
                torch.testing.assert_close(a.unflatten(0, (2, 4))[:, part], b.unflatten(0, (2, 4))[:, part])


def test_nothing_hidden_is_the_whole_image(images):
    masks = RandomMasking(0.5)(KEYS, (4, 4))
    shown = type(masks)(torch.zeros_like(masks.mask), masks.grid, masks.ids_keep, masks.ids_restore)
    backbone = vit(pos_embed="learned")
    torch.testing.assert_close(SubstitutedTokens(backbone)(backbone, images, shown)[0], backbone(images)[0])
    backbone = swin()
    latents = SubstitutedTokens(backbone)(backbone, images, shown)
    for latent, features in zip(latents, backbone(images), strict=True):
        torch.testing.assert_close(latent, features.flatten(2).mT)


def test_the_mask_token_stands_before_positions_are_added(images):
    """Two hidden patches differ by their positions alone."""
    backbone = vit(pos_embed="sincos", arch=dict(ARCH, depth=1))
    backbone.blocks = torch.nn.Sequential(torch.nn.Identity())
    backbone.norm = torch.nn.Identity()
    slot = SubstitutedTokens(backbone)
    masks = RandomMasking(0.5)(KEYS, (4, 4))
    (latent,) = slot(backbone, images, masks)
    positions = backbone.pos_embed[:, 1:].expand(2, -1, -1)
    hidden = masks.mask[:, 0].bool()
    torch.testing.assert_close((latent[:, 1:] - positions)[hidden], slot.mask_token[0].expand(int(hidden.sum()), -1))


@pytest.mark.parametrize("masking", [RandomMasking(0.75), ParallelMasking(5), BlockMasking(8, 2)])
def test_levels_are_as_announced(images, masking):
    for backbone, encoding in (
        (vit(taps=(0, 1), tap_norm=True), VisibleTokens),
        (vit(taps=(0, 1)), SubstitutedTokens),
        (vit(rel_pos="shared_bias", pos_embed="none"), SubstitutedTokens),
        (swin(), SubstitutedTokens),
        (swin(out_type="mean"), SubstitutedTokens),
    ):
        slot = encoding(backbone)
        masks = masking(KEYS, (4, 4))
        latents = slot(backbone, images, masks)
        assert len(latents) == len(slot.level_dims) == len(slot.level_grids)
        for latent, dim, (rows, columns) in zip(latents, slot.level_dims, slot.level_grids, strict=True):
            prefix = int(isinstance(backbone, VisionTransformer))
            tokens = rows * columns if slot.complete else masks.ids_keep.shape[-1]
            assert latent.shape == (2 * masks.parts, prefix + tokens, dim)


def test_visible_tokens_of_larger_cells_are_their_patches(images):
    backbone = vit()
    coarse = RandomMasking(0.5, unit=16)(KEYS, (2, 2))
    slot = VisibleTokens(backbone)
    torch.testing.assert_close(slot(backbone, images, coarse)[0], slot(backbone, images, coarse.on((4, 4)))[0])
    assert slot(backbone, images, coarse)[0].shape == (2, 1 + 8, 24)


@pytest.mark.parametrize(
    "settings",
    [
        dict(rel_pos="shared_bias"),
        dict(rel_pos="bias"),
        dict(window_size=2, out_type="maps"),
        dict(rel_pos="decomposed", out_type="maps"),
    ],
)
def test_visible_tokens_need_a_backbone_that_takes_them(settings):
    with pytest.raises(UserError, match="VisibleTokens.*needs all of them.*SubstitutedTokens"):
        VisibleTokens(vit(**settings))


def test_visible_tokens_and_swin_are_refused():
    with pytest.raises(UserError, match="VisibleTokens.*this SwinTransformer"):
        VisibleTokens(swin())


def test_the_mask_token_is_as_wide_as_an_embedded_patch():
    assert SubstitutedTokens(swin()).mask_token.shape == (1, 1, 8)
    assert SubstitutedTokens(vit()).mask_token.shape == (1, 1, 24)
    narrow = SubstitutedTokens(vit(arch=dict(embed_dim=512, depth=1, num_heads=2), weight_init="beit")).mask_token
    assert 0.019 < narrow.abs().max() <= 0.02
