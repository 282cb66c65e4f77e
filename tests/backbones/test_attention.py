import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.backbones.attention import (
    BiasAttention,
    BiasedAttention,
    QueryValueBias,
    WindowAttention,
    merge,
    partition,
)


def spread(module, scale=0.3):
    for parameter in module.parameters():
        parameter.data = scale * torch.randn_like(parameter)
    return module


def plain_attention(module, x, bias):
    """Attention written out: softmax(q k^T / sqrt(d) + bias) v."""
    q, k, v = module.qkv(x).unflatten(-1, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT * module.head_dim**-0.5 + bias(q)).softmax(dim=-1)
    return module.proj((weights @ v).transpose(1, 2).flatten(2))


def test_decomposed_positions_follow_their_formula():
    torch.manual_seed(0)
    h, w = grid = (3, 5)
    module = spread(WindowAttention(16, 2, table_grid=grid))

    def bias(q):
        out = torch.zeros(len(q), 2, h * w, h * w)
        for i in range(h * w):
            for j in range(h * w):
                offset_h, offset_w = i // w - j // w + h - 1, i % w - j % w + w - 1
                table = module.rel_pos_h[offset_h] + module.rel_pos_w[offset_w]
                out[:, :, i, j] = q[:, :, i] @ table
        return out

    x = torch.randn(2, h * w, 16)
    torch.testing.assert_close(module(x, grid), plain_attention(module, x, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rel_pos", ["none", "decomposed"])
def test_windows_of_the_whole_map_are_global_attention(rel_pos):
    settings = dict(
        arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=32, patch_size=8, out_type="maps", rel_pos=rel_pos
    )
    torch.manual_seed(0)
    windowed = spread(VisionTransformer(window_size=4, **settings), 0.2)
    whole = VisionTransformer(window_size=4, global_blocks=(0, 1, 2), **settings)
    whole.load_state_dict(windowed.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(windowed(images)[0], whole(images)[0])
    # Smaller windows are something else.
    other = VisionTransformer(window_size=2, **{**settings, "rel_pos": "none"})
    other.load_state_dict(windowed.state_dict(), strict=False)
    assert not torch.allclose(other(images)[0], whole(images)[0], atol=1e-3)


def test_each_window_attends_to_itself_alone_and_global_blocks_to_all():
    arch = dict(embed_dim=32, depth=1, num_heads=4)
    images = torch.randn(1, 3, 32, 48)
    changed = images.clone()
    changed[:, :, 8:16, 40:48] += 1  # token (1, 5), in the window of rows 0-1 and columns 4-5
    window = {(0, 4), (0, 5), (1, 4), (1, 5)}
    whole = {(row, column) for row in range(4) for column in range(6)}
    for global_blocks, expected in (((), window), ((0,), whole)):
        torch.manual_seed(0)
        model = VisionTransformer(
            arch, img_size=32, patch_size=8, out_type="maps", window_size=2, global_blocks=global_blocks
        )
        moved = (model(changed)[0] - model(images)[0]).abs().sum(dim=(0, 1)) > 0
        assert {tuple(place) for place in moved.nonzero().tolist()} == expected


def test_padding_of_windows_attends_as_the_qkv_bias():
    torch.manual_seed(0)
    module = spread(WindowAttention(16, 2, window_size=4))
    x = torch.randn(1, 3 * 3, 16)
    padded = F.pad(x.unflatten(1, (3, 3)), (0, 0, 0, 1, 0, 1)).flatten(1, 2)
    expected = plain_attention(module, padded, lambda q: 0.0).unflatten(1, (4, 4))[:, :3, :3].flatten(1, 2)
    torch.testing.assert_close(module(x, (3, 3)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_merge_undoes_partition(size):
    maps = torch.arange(2 * size[0] * size[1] * 3.0).view(2, *size, 3)
    windows, padded = partition(maps, (2, 3))
    assert windows.shape[1:] == (6, 3)
    assert torch.equal(windows[0, 0], maps[0, 0, 0])
    assert torch.equal(merge(windows, (2, 3), padded)[:, : size[0], : size[1]], maps)


def test_the_bias_is_added_to_the_scaled_product():
    torch.manual_seed(0)
    grid = (2, 3)
    module = spread(BiasAttention(16, 2, grid))
    table = module.relative_position_bias_table

    def bias(_):
        out = torch.zeros(2, 7, 7)
        for i in range(7):
            for j in range(7):
                if i and j:
                    (y, x), (v, u) = divmod(i - 1, 3), divmod(j - 1, 3)
                    row = (y - v + 1) * 5 + (x - u + 2)
                else:
                    row = 15 + (2 if i == j else 1 if i else 0)
                out[:, i, j] = table[row]
        return out

    x = torch.randn(2, 7, 16)
    torch.testing.assert_close(module(x, grid), plain_attention(module, x, bias), rtol=1e-5, atol=1e-5)


def test_a_shared_bias_is_the_same_bias_in_every_block():
    settings = dict(arch=dict(embed_dim=32, depth=2, num_heads=4), img_size=32, patch_size=8, pos_embed="none")
    torch.manual_seed(0)
    shared, own = VisionTransformer(rel_pos="shared_bias", **settings), VisionTransformer(rel_pos="bias", **settings)
    spread(shared.rel_pos_bias)
    state = shared.state_dict()
    table = state.pop("rel_pos_bias.relative_position_bias_table")
    own.load_state_dict({**state, **{f"blocks.{i}.attn.relative_position_bias_table": table for i in (0, 1)}})
    for images in (torch.randn(2, 3, 32, 32), torch.randn(2, 3, 40, 24)):
        torch.testing.assert_close(shared(images), own(images), rtol=0, atol=0)


def test_without_a_k_bias_the_output_is_the_same_and_only_its_gradient_is_gone():
    torch.manual_seed(0)
    plain, without = nn.Linear(8, 24), QueryValueBias(8, 24)
    without.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 8)
    weights = torch.randn(2, 5, 8)

    def attend(projection):
        q, k, v = projection(x).chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v)
        (out * weights).sum().backward()
        return out

    torch.testing.assert_close(attend(plain), attend(without))
    torch.testing.assert_close(plain.weight.grad, without.weight.grad)
    assert (without.bias.grad[8:16] == 0).all()
    # What rounding leaves in the other is small, but Adam divides by its size.
    assert plain.bias.grad[8:16].abs().max() < 1e-5 * plain.bias.grad.abs().max()
    for part in (slice(0, 8), slice(16, 24)):
        torch.testing.assert_close(plain.bias.grad[part], without.bias.grad[part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_written_out_form_is_the_fused_one(dtype, monkeypatch):
    torch.manual_seed(0)
    module = BiasedAttention(32, num_heads=4, qkv_bias=True).to(dtype)
    x, weight = torch.randn(2, 9, 32, dtype=dtype), torch.randn(2, 9, 32, dtype=dtype)
    fused = F.scaled_dot_product_attention
    calls = []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *args, **more: calls.append(1) or fused(*args, **more)
    )

    def run(fused_attn):
        bias = torch.nn.Parameter(0.3 * torch.ones(1, 4, 9, 9, dtype=dtype).tril())
        module.fused_attn, given = fused_attn, x.clone().requires_grad_()
        out = module(given, attn_mask=bias)
        (out * weight).sum().backward()
        return out, given.grad, bias.grad

    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * b.abs().max().item(), rtol=0)
    # torch's own way is taken where it is the quicker one.
    assert len(calls) == (dtype == torch.float32)
    with torch.inference_mode():
        module.fused_attn = True
        module(x, attn_mask=torch.zeros(1, 1, 9, 9, dtype=dtype))
    assert len(calls) == 1 + (dtype == torch.float32)
