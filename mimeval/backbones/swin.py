"""The Swin Transformer of every task: timm's, for any input size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import initialize
from mmengine.registry import DefaultScope
from timm.models import swin_transformer as timm_swin
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS, SCOPE

from .attention import merge, partition
from .positions import TABLE_WAYS, Grid
from .settings import check_choice, resolve_blocks

SIZES: dict[str, dict[str, Any]] = {
    "tiny": dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "small": dict(embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "base": dict(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "large": dict(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}


class ShiftedWindowBlock(timm_swin.SwinTransformerBlock):
    """timm's block with the official code's padding, so that a map need not be a multiple of the window.

    timm shifts first and pads then, and so masks the wrong tokens on such maps; and it fixes at construction whether a
    stage shifts. Here padding comes first, and a map is shifted wherever it is larger than the window.
    """

    def shift_on(self, grid: Grid) -> Grid:
        """How far windows are shifted on a map of this size, (rows, columns): half a window or not at all."""
        shifts = any(self.target_shift_size)
        rows, columns = (
            side // 2 if shifts and n > side else 0 for n, side in zip(grid, self.window_size, strict=True)
        )
        return rows, columns

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        window, shift = self.window_size, self.shift_on((height, width))
        x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))
        mask = None
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), dims=(1, 2))
            mask = shift_mask((x.shape[1], x.shape[2]), window, shift, x)
        windows, padded = partition(x, window)
        x = merge(self.attn(windows, mask=mask), window, padded)
        if any(shift):
            x = x.roll(shift, dims=(1, 2))
        return x[:, :height, :width]


def shift_mask(padded: Grid, window: Grid, shift: Sequence[int], like: Tensor) -> Tensor:
    """Keep tokens that a shift brought together from attending to each other: 0 or -100, [windows, area, area]."""
    regions = []
    for n, side, step in zip(padded, window, shift, strict=True):
        place = torch.arange(n, device=like.device)
        regions.append((place >= n - side).long() + (place >= n - step).long())
    region = (regions[0][:, None] * 3 + regions[1])[None, :, :, None]
    ids = partition(region, window)[0].squeeze(-1)
    return torch.where(ids[:, None] == ids[:, :, None], 0.0, -100.0).to(like.dtype)


@MODELS.register_module()
class SwinTransformer(timm_swin.SwinTransformer):
    """Swin (2103.14030) with one map for each stage, or pooled for classification; parameter names are timm's.

    arch: 'tiny', 'small', 'base', 'large' or dict(embed_dim, depths, num_heads[, mlp_ratio]).
    img_size: pixels that the windows are made for: a stage whose map is smaller than window_size has a window (and a
        table of relative positions) of that map's size. Any other input size runs, padded where it must be.
    out_type: 'maps', one [B, C, H / stride, W / stride] for each of `taps` (stages, from 0 or negative; all if None),
        no final norm; or 'mean', ([B, C],), the mean of all tokens after `norm`, or before it where norm_after_pool
        (LocalMIM's fine-tuning). tap_norm: a LayerNorm for each tap, `tap_norms.<k>`. Stages above the highest tap are
        neither run nor trained.
    norm_eps: LayerNorm's epsilon, 1e-5 in the official code and SimMIM, 1e-6 in LocalMIM, whose fine-tuning however has
        1e-5 in every block's second norm: norm2_eps, norm_eps if None.
    table_resample: how a checkpoint's tables of relative positions get to other windows, see positions.py.
    weight_init: how weights start, 'swin' (normal 0.02, truncated) or 'xavier' (uniform: MAE, LocalMIM's Swin).
    Raises UserError for an unknown size or choice.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        img_size: int | Grid = 224,
        patch_size: int = 4,
        window_size: int = 7,
        out_type: str = "maps",
        taps: Sequence[int] | None = None,
        tap_norm: bool = False,
        norm_after_pool: bool = False,
        norm_eps: float = 1e-5,
        norm2_eps: float | None = None,
        table_resample: str = "bicubic",
        weight_init: str = "swin",
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
        frozen: bool = False,
        init_cfg: dict | list | None = None,
    ):
        size = resolve_size(arch)
        check_choice("out_type", out_type, ("maps", "mean"))
        check_choice("weight_init", weight_init, ("swin", "xavier"))
        check_choice("table_resample", table_resample, TABLE_WAYS)
        if out_type == "mean" and (taps is not None or tap_norm):
            raise UserError("taps and tap_norm go with out_type 'maps', found out_type 'mean'; leave them out.")
        norm_layer = partial(nn.LayerNorm, eps=norm_eps)
        super().__init__(
            **size,
            img_size=img_size,
            patch_size=patch_size,
            window_size=window_size,
            num_classes=0,
            strict_img_size=False,
            drop_path_rate=drop_path_rate,
            norm_layer=norm_layer,  # type: ignore[arg-type]
            weight_init="skip",
        )
        self.weight_init_mode = ""
        # timm names its block class inside the stage and offers no argument for it.
        for module in self.modules():
            if isinstance(module, timm_swin.SwinTransformerBlock):
                module.__class__ = ShiftedWindowBlock
                module.norm2.eps = norm_eps if norm2_eps is None else norm2_eps  # type: ignore[assignment]
        depths = size["depths"]
        self.first_ids = tuple(1 + sum(depths[:stage]) for stage in range(len(depths)))
        self.depths, self.num_layers = depths, sum(depths) + 2
        self.patch_size, self.out_type, self.frozen = patch_size, out_type, frozen
        self.norm_after_pool, self.weight_init = norm_after_pool, weight_init
        self.table_resample = table_resample
        stages = range(len(depths)) if taps is None else taps
        self.taps = resolve_blocks("taps", stages if out_type == "maps" else (-1,), len(depths))
        self.out_channels = tuple(size["embed_dim"] * 2**stage for stage in self.taps)
        self.strides = tuple(patch_size * 2**stage for stage in self.taps)
        self.tap_norms = nn.ModuleList(norm_layer(channels) for channels in self.out_channels) if tap_norm else None
        if out_type == "maps":
            self.norm = nn.Identity()
        self.set_grad_checkpointing(grad_checkpointing)
        self.init_cfg, self.is_init = init_cfg, False
        self._start_weights()
        self.layers[max(self.taps) + 1 :].requires_grad_(False)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def init_weights(self) -> None:  # type: ignore[override]
        """Start anew at random, as weight_init says, then load what init_cfg names."""
        self._start_weights()
        if self.init_cfg:
            # In whatever scope it is called: mmengine's own Pretrained loads whatever happens to fit.
            with DefaultScope.overwrite_default_scope(SCOPE):
                initialize(self, self.init_cfg)
        self.is_init = True

    def _start_weights(self) -> None:
        super().init_weights()
        if self.weight_init == "xavier":
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
            projection: Any = self.patch_embed.proj
            nn.init.xavier_uniform_(projection.weight.data.flatten(1))

    def train(self, mode: bool = True) -> SwinTransformer:
        """A frozen backbone stays in eval mode, so that no drop path creeps in after model.train()."""
        return super().train(mode and not self.frozen)

    @property
    def grid(self) -> Grid:
        """(rows, columns) of patches of images of img_size."""
        rows, columns = self.patch_embed.grid_size  # type: ignore[misc]
        return rows, columns

    @property
    def patch_dim(self) -> int:
        """Width of an embedded patch."""
        return self.embed_dim

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of each output of encode()."""
        return self.out_channels

    @property
    def level_grids(self) -> tuple[Grid, ...]:
        """Grid of each output of encode(), for images of img_size."""
        return tuple((-(-self.grid[0] // 2**stage), -(-self.grid[1] // 2**stage)) for stage in self.taps)

    takes_subsets = False  # encode() needs every patch

    def embed_patches(self, images: Tensor, positions: bool = True) -> tuple[Tensor, Grid]:
        """images: [B, 3, H, W], normalised -> embedded patches [B, L, C] and the grid (h, w), L = h * w.

        Sides that are no multiple of the patch are padded with zeros below and to the right. positions: of no effect,
        Swin has no absolute ones.
        """
        x = self.patch_embed(
            F.pad(images, (0, -images.shape[-1] % self.patch_size, 0, -images.shape[-2] % self.patch_size))
        )
        return x.flatten(1, 2), (x.shape[1], x.shape[2])

    def add_positions(self, patches: Tensor, grid: Grid) -> Tensor:
        """The patches as they are: Swin has no absolute positions."""
        return patches

    def encode(self, patches: Tensor, key_valid: Tensor | None = None, grid: Grid | None = None) -> list[Tensor]:
        """Run the stages on all embedded patches of a grid: [B, L, C] -> a [B, L_k, C_k] for each tap, raster order.

        Normed: by `norm` for out_type 'mean', by tap_norms where there are any. Raises UserError where key_valid is given.
        """
        if key_valid is not None:
            raise UserError("SwinTransformer.encode needs every patch of an image, found padded ones.")
        return [x.flatten(1, 2) for x in self._normed(self._stages(patches.unflatten(1, grid or self.grid)))]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """images: [B, 3, H, W], normalised, any size -> what out_type says; each side of a map is rounded up."""
        patches, grid = self.embed_patches(images)
        outputs = self._stages(patches.unflatten(1, grid))
        if self.out_type == "mean" and self.norm_after_pool:
            return (self.norm(outputs[-1].mean(dim=(1, 2))),)
        if self.out_type == "mean":
            return (self._normed(outputs)[0].mean(dim=(1, 2)),)
        return tuple(x.permute(0, 3, 1, 2).contiguous() for x in self._normed(outputs))

    def _stages(self, x: Tensor) -> list[Tensor]:
        """The map [B, h, w, C] of each tap, from embedded patches."""
        outputs = {}
        for stage, layer in enumerate(islice(self.layers, max(self.taps) + 1)):
            x = layer(x)
            if stage in self.taps:
                outputs[stage] = x
        return [outputs[stage] for stage in self.taps]

    def _normed(self, outputs: list[Tensor]) -> list[Tensor]:
        if self.out_type == "mean":
            return [self.norm(outputs[0])]
        norms = self.tap_norms or [nn.Identity()] * len(self.taps)
        return [norm(x) for norm, x in zip(norms, outputs, strict=True)]

    def layer_id(self, name: str) -> int:
        """Depth of a parameter for layer decay, as SimMIM: 0 embedding, blocks through all stages, then the rest.

        Patch merging counts with the last block before it. Raises KeyError for a name of no such parameter.
        """
        parts = name.split(".")
        if parts[0] in ("patch_embed", "mask_token"):
            return 0
        if parts[0] == "layers" and len(parts) > 3 and parts[1].isdecimal() and int(parts[1]) < len(self.depths):
            stage = int(parts[1])
            if parts[2] == "downsample":
                return self.first_ids[stage] - 1
            if parts[2] == "blocks" and parts[3].isdecimal() and int(parts[3]) < self.depths[stage]:
                return self.first_ids[stage] + int(parts[3])
        if parts[0] in ("norm", "tap_norms"):
            return self.num_layers - 1
        raise KeyError(f"{type(self).__name__} has no layer id for the parameter '{name}'")


def resolve_size(arch: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(arch, str):
        check_choice("arch", arch, tuple(SIZES))
        return SIZES[arch]
    required = {"embed_dim", "depths", "num_heads"}
    if not required <= set(arch) <= required | {"mlp_ratio"} or len(arch["depths"]) != len(arch["num_heads"]):
        raise UserError(
            f"arch needs embed_dim, depths, num_heads (one number for each stage) and may have mlp_ratio, "
            f"found {dict(arch)}; mend it."
        )
    return dict(arch)
