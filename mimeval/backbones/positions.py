"""Where a token is, at any grid: absolute tables (MAE), decomposed relative tables (ViTDet), relative biases (BEiT, Li 2021)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimeval.errors import UserError

Grid = tuple[int, int]
# How absolute positions and tables of relative biases get to another grid; who does it so: resample_positions, resample_offsets.
POSITION_WAYS = ("bicubic", "bicubic_offset", "bicubic_antialias", "sincos", "sincos_rows")
TABLE_WAYS = ("bicubic", "geometric", "geometric_linear")
# Kinds of rel_pos (vit.py): rotations of queries and keys; those that belong to attention within windows.
ROTARY, WINDOWED = ("rotary", "rotary_centred"), ("decomposed", "window_bias")


def attends_in_windows(window_size: int, rel_pos: str) -> bool:
    """Whether a ViT of these settings is one of windows, with no class token, as ViTDet's."""
    return bool(window_size) or rel_pos in WINDOWED


def rotation_periods(pairs: int) -> Tensor:
    """Periods [pairs] of the rotations of DINOv3: 100^(j / pairs), in units of half an image's side."""
    return 100.0 ** (torch.arange(pairs, dtype=torch.float32) / pairs)


def sincos_position_embedding(embed_dim: int, grid: Grid, cls_token: bool = True, rows_first: bool = False) -> Tensor:
    """Fixed 2-D sin-cos positions [1, cls + h * w, embed_dim], float32, zero for the class token (MAE, appendix A.1).

    The first half of the channels encodes the column, the second half the row; within each, sines come before cosines.
    rows_first: the row first, as MoCo v3 and CAE. Raises UserError where embed_dim is not a multiple of 4.
    """
    if embed_dim % 4:
        raise UserError(f"embed_dim must be a multiple of 4 for 2-D sin-cos positions, found {embed_dim}; change it.")
    quarter = embed_dim // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)

    def encode(coordinate: Tensor) -> Tensor:
        angle = coordinate.flatten()[:, None] * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    halves = (rows, columns) if rows_first else (columns, rows)
    table = torch.cat([encode(half) for half in halves], dim=1)
    if cls_token:
        table = torch.cat([table.new_zeros(1, embed_dim), table])
    return table.float()[None]


def resample_positions(table: Tensor, old: Grid, new: Grid, way: str = "bicubic") -> Tensor:
    """Resize patch positions [1, h * w, D] to another grid, in the way of the code that trained them.

    way: 'bicubic', corners not aligned, no antialias (MAE, ViTDet, EVA-02, mmseg); 'bicubic_offset', the same with the factor
    (new + 0.1) / old, which moves the sampled places (DINO, iBOT, DINOv2 without registers); 'bicubic_antialias' (DINOv2 with
    registers, timm); 'sincos' and 'sincos_rows', computed anew, columns or rows first (I-JEPA; MoCo v3, CAE).
    """
    if old == new:
        return table
    if way.startswith("sincos"):
        fresh = sincos_position_embedding(table.shape[-1], new, cls_token=False, rows_first=way == "sincos_rows")
        return fresh.to(table)
    # Interpolated in float32 whatever the model's type is: half precision moves the sampling weights.
    image = table.float().unflatten(1, old).permute(0, 3, 1, 2)
    if way == "bicubic_offset":
        factors = ((new[0] + 0.1) / old[0], (new[1] + 0.1) / old[1])
        image = F.interpolate(image, scale_factor=factors, mode="bicubic", align_corners=False)
    else:
        image = F.interpolate(
            image, size=new, mode="bicubic", align_corners=False, antialias=way == "bicubic_antialias"
        )
    return image.flatten(2).transpose(1, 2).to(table.dtype)


def relative_table(table: Tensor, n: int) -> Tensor:
    """Embedding of every offset query - key along one side of n tokens: [2m - 1, d] -> [n, n, d] (ViTDet).

    A table made for another length m is interpolated linearly.
    """
    if len(table) != 2 * n - 1:
        resized = F.interpolate(table.float().t()[None], size=2 * n - 1, mode="linear", align_corners=False)
        table = resized[0].t().to(table.dtype)
    place = torch.arange(n, device=table.device)
    return table[place[:, None] - place[None, :] + (n - 1)]


def relative_index(grid: Grid, device: torch.device | None = None) -> Tensor:
    """Row of BEiT's bias table for each (query, key) pair, class token first: int64 [1 + L, 1 + L].

    The table has (2h - 1)(2w - 1) rows of offsets, then class to token, token to class, class to class.
    """
    h, w = grid
    rows, columns = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    offsets = (rows[:, None] - rows + h - 1) * (2 * w - 1) + (columns[:, None] - columns + w - 1)
    index = F.pad(offsets, (1, 0, 1, 0))
    cls_to_token = (2 * h - 1) * (2 * w - 1)
    index[0, :] = cls_to_token
    index[:, 0] = cls_to_token + 1
    index[0, 0] = cls_to_token + 2
    return index


def resample_bias_table(table: Tensor, old: Grid, new: Grid, way: str = "bicubic") -> Tensor:
    """Resize a BEiT bias table [(2h - 1)(2w - 1) + 3, heads]; its three class rows stay as they are. way: resample_offsets."""
    if old == new:
        return table
    return torch.cat([resample_offsets(table[:-3], old, new, way).flatten(1).t(), table[-3:]])


def resample_offsets(table: Tensor, old: Grid, new: Grid, way: str = "bicubic") -> Tensor:
    """A bias for each offset [(2h - 1)(2w - 1), heads], as a picture [heads, 2h - 1, 2w - 1] at another grid.

    way: 'bicubic' (Swin, Li et al.), or 'geometric', a cubic spline through places that grow geometrically with the offset
    (BEiT and its kin, SimMIM), see spline_matrix; 'geometric_linear' is linear between these places (timm).
    """
    picture = table.t().unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))
    if old == new:
        return picture
    if way.startswith("geometric"):
        degree = 1 if way == "geometric_linear" else 3
        rows, columns = (spline_matrix(*sides, degree).to(picture.device) for sides in zip(old, new, strict=True))
        return (rows @ picture.double() @ columns.t()).to(table.dtype)
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    return F.interpolate(picture.float()[None], size=size, mode="bicubic", align_corners=False)[0].to(table.dtype)


@lru_cache(maxsize=64)
def spline_matrix(old: int, new: int, degree: int = 3) -> Tensor:
    """What BEiT's geometric resize of biases along one side of `old` to `new` tokens is as a matrix [2 new - 1, 2 old - 1], float64.

    Known offsets lie at 0, 1, 1 + q, 1 + q + q^2, ... with q in 1.01..1.5 such that the outermost reach the new ones; the new
    ones, whole numbers, are clipped to them (unilm beit/run_class_finetuning.py; SimMIM utils.py). On a square grid, the only
    one that those know, equal to their scipy interp2d; a side of its own for each axis here.
    """
    from scipy.interpolate import make_interp_spline

    reach, wanted = old - 1, float(new - 1)
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q**reach) / (1 - q) > wanted else (q, high)
    known = [0.0]
    for step in range(reach):
        known.append(known[-1] + q**step)
    places = [-place for place in known[:0:-1]] + known
    targets = np.arange(-wanted, wanted + 0.1, 1.0).clip(places[0], places[-1])
    spline = make_interp_spline(places, np.eye(len(places)), k=min(degree, len(places) - 1))
    # Kept for later calls, which may want gradients: no tensor of the inference mode that this one may be in.
    with torch.inference_mode(False):
        return torch.from_numpy(spline(targets))


def relative_bias(table: Tensor, index: Tensor, old: Grid, new: Grid, way: str = "bicubic") -> Tensor:
    """BEiT's additive attention bias [1, heads, 1 + L, 1 + L] at grid `new`, from a table and index made for `old`."""
    if old != new:
        table, index = resample_bias_table(table, old, new, way), relative_index(new, table.device)
    return table[index].permute(2, 0, 1)[None]


def offset_bias(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """The additive bias [1, heads, L, L] of tokens without a class token at grid `new`, L = h * w, from a table for `old`.

    table: [(2h - 1)(2w - 1), heads], row (dy + h - 1)(2w - 1) + (dx + w - 1) for the offset query - key (dy, dx).
    """
    picture = resample_offsets(table, old, new)
    rows, columns = (
        place[:, None] - place + len(place) - 1 for place in (torch.arange(n, device=table.device) for n in new)
    )
    # Two small indices that broadcast: the full one, int64 [L, L], would take 134 MB at 64 x 64 tokens.
    bias = picture[:, rows[:, None, :, None], columns[None, :, None, :]]
    return bias.flatten(3, 4).flatten(1, 2)[None]
