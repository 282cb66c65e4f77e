import pytest
import torch
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.backbones.rotary import CentredRotation, RotaryAttention, Rotation, rotate
from mimeval.errors import UserError

SETTINGS = dict(
    arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8, rel_pos="rotary", mlp="swiglu_norm"
)


def spread(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return module.eval()


def test_pairs_of_channels_turn_by_row_and_by_column():
    """As complex numbers: pair j of each half turns by 10000^(-4j / d) for every row, or column."""
    x = torch.randn(2, 3, 1 + 6, 16)
    turned = rotate(x, Rotation((2, 3), 16)((2, 3)))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])  # the class token
    pairs = torch.view_as_complex(x[:, :, 1:].unflatten(-1, (8, 2)).double())
    for place in range(6):
        for pair in range(8):
            steps = place // 3 if pair < 4 else place % 3
            angle = torch.tensor(steps * 10000.0 ** (-4 * (pair % 4) / 16), dtype=torch.float64)
            expected = torch.view_as_real(pairs[:, :, place, pair] * torch.polar(torch.ones_like(angle), angle))
            found = turned[:, :, 1 + place, 2 * pair : 2 * pair + 2].double()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_only_offsets_between_patches_count():
    turn = Rotation((5, 5), 16)((5, 5))
    q, k = torch.randn(16).expand(1, 1, 25, 16), torch.randn(16).expand(1, 1, 25, 16)
    logits = (rotate(q, turn) @ rotate(k, turn).mT)[0, 0].unflatten(0, (5, 5)).unflatten(2, (5, 5))
    torch.testing.assert_close(logits[0, 1, 2, 3], logits[2, 2, 4, 4], rtol=1e-4, atol=1e-5)
    assert (logits[0, 1, 2, 3] - logits[2, 3, 0, 1]).abs() > 1e-3  # the way back is another one


def test_another_grid_is_stretched_onto_the_trained_one():
    rotation = Rotation((4, 4), 16)
    for ours, whole in zip(rotation((8, 2))[:2], rotation((4, 4))[:2], strict=True):
        ours, whole = ours.unflatten(0, (8, 2)), whole.unflatten(0, (4, 4))
        torch.testing.assert_close(ours[::2, :, :8], whole[:, ::2, :8])  # rows: half the steps
        torch.testing.assert_close(ours[:4, :, 8:], whole[:, ::2, 8:])  # columns: twice


def test_a_centred_grid_reaches_from_minus_one_to_one_whatever_its_size():
    """As complex numbers, whose real parts are a head's first half: pair j turns by 2 pi y / 100^(4 j / d), then by x."""
    x = torch.randn(1, 2, 3 + 8, 16)
    turned = rotate(x, CentredRotation(16)((2, 4)))
    assert torch.equal(turned[:, :, :3], x[:, :, :3])  # class token and registers
    first, second = x[:, :, 3:].double().chunk(2, dim=-1)
    for place in range(8):
        y, x_ = (2 * (place // 4 + 0.5) / 2 - 1, 2 * (place % 4 + 0.5) / 4 - 1)
        for pair in range(8):
            angle = torch.tensor(
                2 * torch.pi * (y if pair < 4 else x_) / 100 ** (4 * (pair % 4) / 16), dtype=torch.float64
            )
            expected = torch.complex(first[..., place, pair], second[..., place, pair]) * torch.polar(
                torch.ones_like(angle), angle
            )
            found = torch.complex(turned[:, :, 3 + place, pair], turned[:, :, 3 + place, 8 + pair])
            torch.testing.assert_close(found.to(torch.complex128), expected, rtol=1e-4, atol=1e-5)


def test_attention_is_that_of_rotated_queries_and_keys():
    torch.manual_seed(0)
    attention, rotation, x = spread(RotaryAttention(32, 2)), Rotation((2, 3), 16)((2, 3)), torch.randn(2, 7, 32)
    q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    weights = (rotate(q, rotation) @ rotate(k, rotation).mT / 4).softmax(-1)
    expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    for fused in (True, False):
        attention.fused_attn = fused
        torch.testing.assert_close(attention(x, (2, 3), rotation), expected)


def test_a_model_with_it_trains_in_half_precision_and_with_checkpointing_alike():
    torch.manual_seed(0)
    model = spread(VisionTransformer(out_type="mean", **SETTINGS))
    images = torch.randn(2, 3, 32, 48)
    model(images)[0].sum().backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.grad_checkpointing = True
    model.zero_grad()
    model(images)[0].sum().backward()
    assert all(torch.equal(model.get_parameter(name).grad, gradient) for name, gradient in whole.items())
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images)[0]
    torch.testing.assert_close(half.float(), model(images)[0], rtol=0.1, atol=0.1)


def test_the_trained_grid_is_part_of_the_state():
    model = VisionTransformer(**SETTINGS, rel_pos_size=(16, 64))
    assert model.state_dict()["rotation.grid"].tolist() == [2, 8]
    assert "rotation.grid" not in dict(model.named_parameters()) and not model.takes_subsets
    names = [name for name, _ in model.named_parameters()]
    assert "blocks.0.mlp.norm.weight" in names and all(0 <= model.layer_id(name) <= 3 for name in names)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(window_size=2), "windows and decomposed relative positions have no class token"),
        (dict(registers=2, rel_pos="bias"), "registers have no relative biases: expected rel_pos 'none' or a rotation"),
        (dict(arch=dict(embed_dim=36, depth=1, num_heads=2)), "heads of a width that is a multiple of 4, found 18"),
    ],
)
def test_what_does_not_go_together_is_said(change, said):
    with pytest.raises(UserError, match=said):
        VisionTransformer(**{**SETTINGS, "out_type": "maps", **change})


def test_a_subset_of_the_patches_is_refused():
    model = VisionTransformer(**SETTINGS)
    patches, _ = model.embed_patches(torch.randn(1, 3, 32, 32))
    with pytest.raises(UserError, match="relative positions need every patch"):
        model.encode(patches[:, :5])
