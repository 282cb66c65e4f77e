"""What an encoder is, read from the shapes of its tensors: a ViT or a Swin, under this project's own names."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
Grid = tuple[int, int]

# Heads are not in the weights of a ViT. By convention each is 64 wide; ViT-H has 16 (ViT 2010.11929, table 1), ViT-g and ViT-G, too
# (2106.04560, table 2; I-JEPA's vit_giant).
HEADS_BY_WIDTH = {1280: 16, 1408: 16, 1664: 16}
# Pixels and patches to a side: a small file may claim any number of them, and a backbone is built for as many.
LARGEST_IMAGE, LARGEST_GRID = 8192, 256
TABLE = "attn.relative_position_bias_table"
RELATIVE = {
    "bias": ["relative biases"],
    "shared_bias": ["one relative bias"],
    "rotary": ["rotary positions"],
    "rotary_centred": ["centred rotary positions"],
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An encoder; None where neither shapes nor the file tell. Sizes in pixels, grids in patches, (rows, columns).

    This class itself stands for what is neither a ViT nor a Swin.
    """

    embed_dim: int | None = None
    patch_size: int | None = None
    grid: Grid | None = None
    mlp_ratio: float | None = None
    final_norm: str | None = None
    """'norm', 'fc_norm' (of the pooled features), 'tap' (the last tap's, pre-trained with taps), or None for un-normed."""
    norm_eps: float = 1e-6
    pos_resample: str | None = None
    """How the family's own code resizes positions, and tables of relative biases: one of positions.py's ways; None: no own way."""
    table_resample: str | None = None
    heads_are_stored: bool = False
    """Whether the file or its family's code tells the number of heads, not convention alone."""
    decoder_dim: int | None = None
    decoder_depth: int = 0

    kind = ""

    @property
    def image_size(self) -> Grid | None:
        """Pixels, (height, width); None where they are not known, or larger than anybody's."""
        if self.grid is None or self.patch_size is None:
            return None
        size = self.grid[0] * self.patch_size, self.grid[1] * self.patch_size
        return size if max(size) <= LARGEST_IMAGE and max(self.grid) <= LARGEST_GRID else None

    def __str__(self) -> str:
        return f"width {self.embed_dim} patch {self.patch_size} (no plain ViT)"

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class ViT(Architecture):
    """A Vision Transformer. rel_pos: as in VisionTransformer; rel_pos_grid: of the tables of global blocks ('decomposed'), or of the
    places that a rotation counts on ('rotary')."""

    depth: int
    num_heads: int | None
    cls_token: bool
    registers: int = 0
    positions: bool = True
    layer_scale: bool = False
    k_bias: bool = True
    mlp: str = "gelu"
    norm_is_fc_norm: bool = False
    """Whether fine-tuning on the mean of the patches starts from `norm` as its fc_norm (CAE), not from a new one."""
    rel_pos: str = "none"
    rel_pos_grid: Grid | None = None
    window_size: int = 0
    global_blocks: tuple[int, ...] = ()

    kind = "vit"

    def __str__(self) -> str:
        extra = [f"{self.registers} registers"] if self.registers else []
        extra += ["layer scale"] if self.layer_scale else []
        extra += {"swiglu": ["SwiGLU"], "swiglu_norm": ["normed SwiGLU"]}.get(self.mlp, [])
        extra += RELATIVE.get(self.rel_pos, [])
        extra += [f"windows of {self.window_size}"] if self.window_size else []
        parts = [f"ViT width {self.embed_dim} depth {self.depth} patch {self.patch_size}", *extra]
        return " with ".join((parts[0], " and ".join(extra))) if extra else parts[0]


@dataclass(frozen=True, kw_only=True)
class Swin(Architecture):
    """A Swin Transformer. windows: tokens to a side of each stage's windows, as its tables say."""

    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    windows: tuple[int, ...]
    norm2_eps: float | None = None
    norm_after_pool: bool = False
    norm_eps: float = 1e-5

    kind = "swin"

    @property
    def depth(self) -> int:
        return sum(self.depths)

    def __str__(self) -> str:
        depths = ", ".join(map(str, self.depths))
        return f"Swin width {self.embed_dim} depths {depths} patch {self.patch_size} window {max(self.windows)}"


def read_architecture(encoder: State, heads: int | None = None, grid: Grid | None = None) -> Architecture:
    """The architecture of an encoder's state dict (own names, no prefix); heads and grid if the file stores them."""
    if any(re.match(r"layers\.\d+\.blocks\.\d+\.", name) for name in encoder):
        return _swin(encoder, grid)
    if any(re.match(r"blocks\.\d+\.", name) for name in encoder):
        return _vit(encoder, heads, grid)
    patch, table = encoder.get("patch_embed.proj.weight"), encoder.get("pos_embed")
    return Architecture(
        embed_dim=next((t.shape[dim] for t, dim in ((patch, 0), (table, -1)) if t is not None), None),
        patch_size=square_patch(patch),
    )


def _vit(encoder: State, heads: int | None, grid: Grid | None) -> ViT:
    patch, fc1, fc2 = (
        encoder.get(n) for n in ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight")
    )
    table, norm1 = encoder.get("pos_embed"), encoder.get("blocks.0.norm1.weight")
    width = next((t.shape[dim] for t, dim in ((patch, 0), (norm1, 0), (table, -1)) if t is not None), None)
    rel_pos: dict[str, Any] = {}
    said = heads
    for kind, name in (("shared_bias", f"rel_pos_bias.{TABLE[5:]}"), ("bias", f"blocks.0.{TABLE}")):
        if name in encoder:
            rows, said = encoder[name].shape
            rel_pos["rel_pos"] = kind
            grid = grid or square_offsets(rows - 3)
    if "rel_pos_bias.window_table" in encoder:
        rows, said = encoder["rel_pos_bias.window_table"].shape
        window = square_offsets(rows)
        rel_pos.update(rel_pos="window_bias", window_size=window[0] if window else 0)
        rel_pos["rel_pos_grid"] = square_offsets(len(encoder["rel_pos_bias.global_table"]))
    if "blocks.0.attn.rel_pos_h" in encoder:
        rel_pos.update(_decomposed(encoder))
        said = None if width is None else width // encoder["blocks.0.attn.rel_pos_h"].shape[1]
    if (rotation := encoder.get("rotation.grid")) is not None:
        rel_pos["rel_pos"] = "rotary"
        if not rotation.is_meta:
            rel_pos["rel_pos_grid"] = (int(rotation[0]), int(rotation[1]))
    if (periods := encoder.get("rotation.periods")) is not None:
        rel_pos["rel_pos"] = "rotary_centred"
        said = None if width is None else width // (4 * len(periods))
    is_gated = fc1 is not None and fc2 is not None and fc1.shape[0] == 2 * fc2.shape[1]
    gated = "swiglu_norm" if "blocks.0.mlp.norm.weight" in encoder else "swiglu"
    return ViT(
        embed_dim=width,
        depth=len(numbers(encoder, r"blocks\.(\d+)\.")),
        num_heads=said or conventional_heads(width),
        mlp_ratio=None if fc1 is None else fc1.shape[0] / fc1.shape[1],
        mlp=gated if is_gated else "gelu",
        patch_size=square_patch(patch),
        grid=(grid or unsized(rel_pos, patch)) if table is None else table_grid(table, grid),
        cls_token="cls_token" in encoder,
        registers=encoder["reg_token"].shape[1] if "reg_token" in encoder else 0,
        positions=table is not None,
        layer_scale="blocks.0.ls1.gamma" in encoder,
        final_norm=final_norm(encoder),
        heads_are_stored=said is not None,
        **rel_pos,
    )


def _decomposed(encoder: State) -> dict[str, Any]:
    """Windows have tables of one length (most blocks, else the shorter), global blocks of another; one length alone is global."""
    sides = {
        number: tuple((len(encoder[f"blocks.{number}.attn.rel_pos_{axis}"]) + 1) // 2 for axis in "hw")
        for number in numbers(encoder, r"blocks\.(\d+)\.attn\.rel_pos_h")
    }
    by_count = sorted(set(sides.values()), key=lambda side: (-sum(other == side for other in sides.values()), side))
    window = next((side for side in by_count if side[0] == side[1]), None) if len(by_count) > 1 else None
    whole = next(side for side in by_count if side != window)
    facts: dict[str, Any] = dict(rel_pos="decomposed", rel_pos_grid=whole)
    if window is not None:
        facts["window_size"] = window[0]
        facts["global_blocks"] = tuple(number for number, side in sorted(sides.items()) if side != window)
    return facts


def _swin(encoder: State, grid: Grid | None) -> Swin:
    patch, fc1 = encoder.get("patch_embed.proj.weight"), encoder.get("layers.0.blocks.0.mlp.fc1.weight")
    norm1 = encoder.get("layers.0.blocks.0.norm1.weight")
    stages = sorted(numbers(encoder, r"layers\.(\d+)\.blocks\."))
    tables = [encoder.get(f"layers.{stage}.blocks.0.{TABLE}") for stage in stages]
    windows = tuple(0 if table is None else (square_offsets(len(table)) or (0, 0))[0] for table in tables)
    # The windows are not made larger than a stage's map, so that the last one tells the smallest image they are made for.
    side = windows[-1] * 2 ** (len(stages) - 1)
    return Swin(
        embed_dim=next((t.shape[0] for t in (patch, norm1) if t is not None), None),
        depths=tuple(len(numbers(encoder, rf"layers\.{stage}\.blocks\.(\d+)\.")) for stage in stages),
        num_heads=tuple(0 if table is None else table.shape[1] for table in tables),
        windows=windows,
        mlp_ratio=None if fc1 is None else fc1.shape[0] / fc1.shape[1],
        patch_size=square_patch(patch),
        grid=grid or ((side, side) if side else None),
        final_norm=final_norm(encoder),
        heads_are_stored=True,
    )


def square_patch(weight: Tensor | None) -> int | None:
    """Pixels to a side of the patches that a convolution [D, C, p, p] embeds; None for other shapes."""
    if weight is None or weight.dim() != 4 or weight.shape[-1] != weight.shape[-2] or not weight.shape[-1]:
        return None
    return weight.shape[-1]


def unsized(rel_pos: dict[str, Any], patch: Tensor | None) -> Grid | None:
    """The grid of images of 224 pixels, for an encoder whose positions are of no size at all."""
    side = 224 // (square_patch(patch) or 224) if rel_pos.get("rel_pos") == "rotary_centred" else 0
    return (side, side) if side else None


def final_norm(encoder: State) -> str | None:
    found = next((norm for norm in ("norm", "fc_norm") if f"{norm}.weight" in encoder), None)
    return found or ("tap" if "tap_norms.0.weight" in encoder else None)


def numbers(encoder: State, pattern: str) -> set[int]:
    return {int(found[1]) for name in encoder if (found := re.match(pattern, name))}


def conventional_heads(width: int | None) -> int | None:
    if width is None or width % 64:
        return HEADS_BY_WIDTH.get(width or 0)
    return HEADS_BY_WIDTH.get(width, width // 64)


def table_grid(table: Tensor | None, grid: Grid | None) -> Grid | None:
    """The grid of a table [1, 1 + h * w, D] (or without the class row): as stored if that fits, else the square one."""
    if table is None:
        return None
    for count in (table.shape[1] - 1, table.shape[1]):
        if grid is not None and grid[0] * grid[1] == count:
            return grid
        if count and math.isqrt(count) ** 2 == count:
            return math.isqrt(count), math.isqrt(count)
    return None


def square_offsets(rows: int) -> Grid | None:
    """The square of n tokens to a side whose offsets fill this many rows, (2n - 1)^2; None where there is none."""
    side = math.isqrt(max(rows, 0))
    return ((side + 1) // 2, (side + 1) // 2) if side and side**2 == rows and side % 2 else None
