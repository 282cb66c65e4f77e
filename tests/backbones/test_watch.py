import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.backbones.attention import QueryValueBias
from mimeval.backbones.watch import BlockWatch, attention_rows, run_blocks

TOKENS = 7


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def attention_mask(kind: str | None) -> torch.Tensor | None:
    if kind == "bool":
        return torch.rand(2, 1, TOKENS, TOKENS) > 0.4
    return torch.randn(1, 4, TOKENS, TOKENS) if kind == "added" else None


@pytest.mark.parametrize("k_bias", [True, False])
@pytest.mark.parametrize("kind", [None, "bool", "added"])
def test_attention_rows_are_those_that_the_block_uses(kind, k_bias):
    block = Block(16, 4, qkv_bias=True)
    if not k_bias:
        block.attn.qkv = QueryValueBias(16, 48)
    nn.init.normal_(block.attn.qkv.bias)
    x, mask = torch.randn(2, TOKENS, 16), attention_mask(kind)
    if kind == "bool":
        mask[..., 0] = True
    rows = torch.stack([torch.randperm(TOKENS)[:5] for _ in range(2)])
    weights = attention_rows(block, x, rows, mask)
    assert weights.shape == (2, 4, 5, TOKENS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
    if kind == "bool":
        barred = ~mask[:, 0].gather(1, rows[..., None].expand(-1, -1, TOKENS))
        assert (weights.masked_select(barred[:, None]) == 0).all() and barred.any()
    values = block.attn.qkv(block.norm1(x)).chunk(3, -1)[2].unflatten(-1, (4, 4)).transpose(1, 2)
    ours = block.attn.proj((weights @ values).transpose(1, 2).flatten(2))
    theirs = block.attn(block.norm1(x), attn_mask=mask).gather(1, rows[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_attention_rows_have_gradients():
    block, x = Block(8, 2, qkv_bias=True), torch.randn(1, TOKENS, 8, requires_grad=True)
    attention_rows(block, x, torch.tensor([[1, 2]]))[..., 3:].sum().backward()
    assert x.grad.abs().max() > 0 and block.attn.qkv.weight.grad[:16].abs().max() > 0
    assert (block.attn.qkv.weight.grad[16:] == 0).all(), "the values take no part"


class Recorder(BlockWatch):
    def __init__(self):
        self.seen = []

    def before(self, block, x, attn_mask):
        self.seen.append((block, x, attn_mask))
        return attn_mask

    def after(self, x):
        self.seen.append((None, x, None))


def test_a_watched_run_of_blocks_is_the_run_itself():
    blocks, x = nn.Sequential(Block(8, 2), Block(8, 2)), torch.randn(2, TOKENS, 8)
    watch = Recorder()
    assert torch.equal(run_blocks(blocks, x, watch), blocks(x))
    assert torch.equal(run_blocks(blocks, x), blocks(x)) and torch.equal(run_blocks(blocks, x, BlockWatch()), blocks(x))
    assert [block for block, _, _ in watch.seen] == [blocks[0], blocks[1], None]
    between = blocks[0](x)
    assert all(torch.equal(a, b) for (_, a, _), b in zip(watch.seen, (x, between, blocks[1](between)), strict=True))


class Bar(BlockWatch):
    """Nobody looks at the last token."""

    def before(self, block, x, attn_mask):
        barred = torch.zeros(len(x), 1, x.shape[1], x.shape[1])
        barred[..., -1] = -torch.inf
        return barred if attn_mask is None else attn_mask + barred


@pytest.mark.parametrize("rel_pos", ["none", "shared_bias"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_vit_takes_a_watch(rel_pos, checkpointing):
    vit = VisionTransformer(
        dict(embed_dim=8, depth=3, num_heads=2),
        img_size=16,
        patch_size=8,
        rel_pos=rel_pos,
        taps=(0, 1),
        grad_checkpointing=checkpointing,
    )
    if vit.rel_pos_bias is not None:
        nn.init.normal_(vit.rel_pos_bias.relative_position_bias_table)
    assert vit.watchable and vit.blocks_run == 2
    patches = torch.randn(2, 4, 8)
    watch = Recorder()
    plain = vit.encode(patches)
    assert all(torch.equal(a, b) for a, b in zip(vit.encode(patches, watch=watch), plain, strict=True))
    assert len(watch.seen) == 3 and torch.equal(watch.seen[-1][1], plain[1])
    assert all((mask is None) == (rel_pos == "none") for _, _, mask in watch.seen[:-1])
    # What is barred does not pile up from block to block, and reaches every block.
    moved = patches.clone()
    moved[:, -1] += 1
    first, second = (vit.encode(p, watch=Bar())[1][:, :-1] for p in (patches, moved))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.allclose(first, plain[1][:, :-1])


def test_windows_cannot_be_watched():
    vit = VisionTransformer(dict(embed_dim=8, depth=1, num_heads=2), img_size=32, patch_size=8, rel_pos="bias")
    assert not vit.watchable
