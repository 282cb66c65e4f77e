"""Looking into a run of transformer blocks from outside: the sequence before each, and a mask on what its attention sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class BlockWatch:
    """Is told of the sequence before every block, and says which keys each query may attend to. This one changes nothing."""

    def before(self, block: nn.Module, x: Tensor, attn_mask: Tensor | None) -> Tensor | None:
        """`block` is about to run on x [N, n, D] with attn_mask, which broadcasts to [N, heads, n, n] -> the mask to use."""
        return attn_mask

    def after(self, x: Tensor) -> None:
        """x: [N, n, D], what the last block gave."""


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, watch: BlockWatch | None = None) -> Tensor:
    """timm blocks one after another, [N, n, D] -> [N, n, D], watched or not."""
    for block in blocks:
        x = block(x) if watch is None else block(x, attn_mask=watch.before(block, x, None))
    if watch is not None:
        watch.after(x)
    return x


def attention_rows(block: nn.Module, x: Tensor, rows: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """How a timm block's attention weighs all tokens for some queries, with gradients: [N, heads, r, n] float32, rows sum to 1.

    The block's own kernel does not hand its weights out, and keeps its speed: they are computed once more, beside it.

    Args:
        block: with `norm1` and timm's `attn`.
        x: [N, n, D], the block's input.
        rows: [N, r] int64, the queries.
        attn_mask: what the block is given: bool (True where a query may look) or added to the logits.
    """
    attn: Any = block.attn
    qkv = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, attn.head_dim))  # type: ignore[operator]
    queries, keys, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    queries, keys = attn.q_norm(queries), attn.k_norm(keys)
    index = rows[:, None, :, None]
    queries = queries.gather(2, index.expand(-1, attn.num_heads, -1, attn.head_dim))
    logits = (queries * attn.scale @ keys.mT).float()
    if attn_mask is not None:
        heads, tokens = attn_mask.shape[1], x.shape[1]
        allowed = attn_mask.expand(len(x), -1, tokens, -1).gather(2, index.expand(-1, heads, -1, tokens))
        logits = logits.masked_fill(~allowed, -torch.inf) if allowed.dtype == torch.bool else logits + allowed.float()
    return logits.softmax(-1)
