"""The Vision Transformer of every task: timm's, with the parameter names of the official MAE code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import initialize
from mmengine.registry import DefaultScope
from timm.layers import LayerNorm, Mlp, SwiGLUPacked
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mimeval.errors import UserError
from mimeval.registry import MODELS, SCOPE

from .attention import (
    BiasAttention,
    BiasedAttention,
    QueryValueBias,
    RelativePositionBias,
    SpatialBlock,
    WindowAttention,
    WindowRelativeBias,
)
from .positions import (
    POSITION_WAYS,
    ROTARY,
    TABLE_WAYS,
    Grid,
    attends_in_windows,
    resample_positions,
    sincos_position_embedding,
)
from .rotary import CentredRotation, RotaryAttention, Rotation
from .settings import check_choice, resolve_blocks, token_grid
from .vit_settings import OUT_TYPES, POSITIONS, RELATIVE_POSITIONS, check_together, resolve_size
from .watch import BlockWatch
from .weight_init import WEIGHT_INITS, start_weights

MLPS = {"gelu": Mlp, "swiglu": SwiGLUPacked, "swiglu_norm": SwiGLUPacked}


@MODELS.register_module()
class VisionTransformer(timm_vit.VisionTransformer):
    """One ViT for pre-training, classification, detection and segmentation (ViT 2010.11929, MAE 2111.06377).

    arch: a size ('tiny', 'small', 'base', 'large', 'huge') or dict(embed_dim, depth, num_heads[, mlp_ratio]).
    img_size: pixels, (h, w) or one number, that `pos_embed` [1, 1 + L, D] is made for; other inputs resample it.
    out_type: what forward() returns, each in a tuple: 'tokens' [B, 1 + L, D] after `norm`; 'cls' [B, D] after `norm`;
        'mean' [B, D], the mean of the patches through `fc_norm`; 'maps' [B, D, h, w] for each tap, no final norm.
    taps: blocks, from 0 or negative, whose outputs are returned ('tokens' and 'maps' only); blocks above the highest
        are neither run nor trained. tap_norm: one LayerNorm for each tap, `tap_norms.<k>`.
    pos_embed: 'sincos' (fixed unless pos_trainable), 'learned' or 'none'.
    rel_pos: 'decomposed' (ViTDet), 'window_bias' (Li et al. 2021, one table for windows and one for global blocks), both
        for images of rel_pos_size pixels, img_size if None; 'bias' or 'shared_bias' (BEiT); 'rotary' (EVA-02, rotary.py), trained
        on images of rel_pos_size, or 'rotary_centred' (DINOv3). window_size: tokens; every block but global_blocks attends
        within windows. Windows and the first two kinds have no class token, as ViTDet.
    init_values: the start of layer scale, None for none. frozen: always in eval mode and without gradients.
    k_bias: False for a bias of q and v only, as BEiT and SimMIM (attention.QueryValueBias).
    class_token: False for none (I-JEPA). registers: tokens behind it that no output shows (DINOv2); they and windows do not
        go together. mlp: 'gelu', or 'swiglu', whose mlp_ratio counts gate and value together (DINOv2), 'swiglu_norm' with a
        norm before its last layer (EVA-02). norm_eps: of every LayerNorm. pos_resample, table_resample: how positions get to
        another grid, see positions.py.
    weight_init: how weights start, 'xavier' (MAE), 'beit' or 'maskfeat', see weight_init.py.
    Raises UserError for an unknown size or choice and for settings that do not go together.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = "base",
        img_size: int | Grid = 224,
        patch_size: int = 16,
        out_type: str = "tokens",
        taps: Sequence[int] | None = None,
        tap_norm: bool = False,
        pos_embed: str = "sincos",
        pos_trainable: bool = False,
        rel_pos: str = "none",
        rel_pos_size: int | Grid | None = None,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        init_values: float | None = None,
        k_bias: bool = True,
        class_token: bool = True,
        registers: int = 0,
        mlp: str = "gelu",
        norm_eps: float = 1e-6,
        pos_resample: str = "bicubic",
        table_resample: str = "bicubic",
        weight_init: str = "xavier",
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
        frozen: bool = False,
        init_cfg: dict | list | None = None,
    ):
        size = resolve_size(arch)
        check_choice("out_type", out_type, OUT_TYPES)
        check_choice("pos_embed", pos_embed, POSITIONS)
        check_choice("rel_pos", rel_pos, RELATIVE_POSITIONS)
        check_choice("weight_init", weight_init, WEIGHT_INITS)
        check_choice("mlp", mlp, tuple(MLPS))
        depth, num_heads = size["depth"], size["num_heads"]
        is_windowed = attends_in_windows(window_size, rel_pos)
        class_token = class_token and not is_windowed
        check_together(out_type, rel_pos, window_size, class_token, registers, taps, tap_norm)
        if out_type == "maps" and taps is None:
            taps = (-1,)
        grid = token_grid(img_size, patch_size)
        table_grid = grid if rel_pos_size is None else token_grid(rel_pos_size, patch_size)
        global_blocks = resolve_blocks("global_blocks", global_blocks, depth)

        def attention(dim: int, depth: int) -> nn.Module:
            if rel_pos == "bias":
                return BiasAttention(dim, num_heads, grid)
            if rel_pos in ROTARY:
                return RotaryAttention(dim, num_heads, qkv_bias=True)
            window = 0 if depth in global_blocks else window_size
            return WindowAttention(dim, num_heads, window, table_grid if rel_pos == "decomposed" else None)

        def spatial_block(dim: int, depth: int, **kwargs) -> nn.Module:
            return SpatialBlock(attention(dim, depth), dim=dim, depth=depth, **kwargs)

        is_spatial = is_windowed or rel_pos in ("bias", *ROTARY)
        norm_layer = partial(LayerNorm, eps=norm_eps)
        super().__init__(
            **size,
            img_size=img_size,
            patch_size=patch_size,
            num_classes=0,
            global_pool="avg" if out_type == "mean" else "",
            class_token=class_token,
            reg_tokens=registers,
            pos_embed="none",
            final_norm=taps is None,
            init_values=init_values,
            drop_path_rate=drop_path_rate,
            norm_layer=norm_layer,  # type: ignore[arg-type]
            act_layer=None if mlp == "gelu" else nn.SiLU,
            mlp_layer=MLPS[mlp],  # type: ignore[arg-type]
            scale_mlp_norm=mlp == "swiglu_norm",
            block_fn=spatial_block if is_spatial else timm_vit.Block,  # type: ignore[arg-type]
            attn_layer=BiasedAttention if rel_pos == "shared_bias" else timm_vit.Attention,
            weight_init="skip",
        )
        self.patch_size, self.grid, self.num_patches = patch_size, grid, grid[0] * grid[1]
        self.num_layers = depth + 2
        self.out_type, self.frozen, self.grad_checkpointing = out_type, frozen, grad_checkpointing
        self.taps = None if taps is None else resolve_blocks("taps", taps, depth)
        self.out_channels = (self.embed_dim,) * (1 if self.taps is None else len(self.taps))
        self.strides = (patch_size,) * len(self.out_channels)
        self.is_spatial = is_spatial  # blocks are given the grid
        self.rel_pos_bias: RelativePositionBias | WindowRelativeBias | None = None
        if rel_pos == "shared_bias":
            self.rel_pos_bias = RelativePositionBias(grid, num_heads)
        elif rel_pos == "window_bias":
            self.rel_pos_bias = WindowRelativeBias((window_size, window_size), table_grid, num_heads)
        self.rotation: Rotation | CentredRotation | None = None
        if rel_pos == "rotary":
            self.rotation = Rotation(table_grid, self.embed_dim // num_heads)
        elif rel_pos == "rotary_centred":
            self.rotation = CentredRotation(self.embed_dim // num_heads)
        self.tap_norms = nn.ModuleList(norm_layer(self.embed_dim) for _ in self.taps or ()) if tap_norm else None
        self.pos_kind, self.weight_init = pos_embed, weight_init
        self.set_resampling(pos_resample, table_resample)
        if not k_bias:
            for block in self.blocks:
                block.attn.qkv = QueryValueBias(self.embed_dim, 3 * self.embed_dim)  # type: ignore[union-attr]
        if pos_embed != "none":
            # The class row is there even without a class token, as in ViTDet, so that MAE's table fits as it is.
            table = torch.empty(1, 1 + self.num_patches, self.embed_dim)
            self.pos_embed = nn.Parameter(table, requires_grad=pos_trainable or pos_embed == "learned")
        self.init_cfg, self.is_init = init_cfg, False
        self.reset_parameters()
        if self.taps is not None:
            self.blocks[max(self.taps) + 1 :].requires_grad_(False)
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def reset_parameters(self) -> None:
        """A random start as weight_init says; positions sin-cos, or N(0, 0.02) where learned."""
        start_weights(self, self.weight_init)
        if self.pos_embed is not None and self.pos_kind == "learned":
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        elif self.pos_embed is not None:
            self.pos_embed.data.copy_(sincos_position_embedding(self.embed_dim, self.grid))

    def init_weights(self) -> None:  # type: ignore[override]
        """Start anew at random, then load what init_cfg names; mmengine calls it once, unless is_init is True."""
        self.reset_parameters()
        if self.init_cfg:
            # In whatever scope it is called: mmengine's own Pretrained loads whatever happens to fit.
            with DefaultScope.overwrite_default_scope(SCOPE):
                initialize(self, self.init_cfg)
        self.is_init = True

    def set_resampling(self, positions: str, tables: str) -> None:
        """How absolute positions, and tables of relative biases, get to another grid: one of positions.py's ways each."""
        check_choice("pos_resample", positions, POSITION_WAYS)
        check_choice("table_resample", tables, TABLE_WAYS)
        self.pos_resample, self.table_resample = positions, tables
        for module in self.modules():
            if isinstance(module, (BiasAttention, RelativePositionBias)):
                module.resample = tables

    def train(self, mode: bool = True) -> VisionTransformer:
        """A frozen backbone stays in eval mode, so that no drop path creeps in after model.train()."""
        return super().train(mode and not self.frozen)

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
        return (self.grid,) * len(self.out_channels)

    @property
    def takes_subsets(self) -> bool:
        """Whether encode() takes any subset of the patches: not with windows, relative positions or registers."""
        return not self.is_spatial and self.rel_pos_bias is None and self.reg_token is None

    @property
    def blocks_run(self) -> int:
        """Number of blocks that encode() runs, up to the highest tap."""
        return len(self.blocks) if self.taps is None else max(self.taps) + 1

    @property
    def watchable(self) -> bool:
        """Whether encode() takes a watch: where every token attends to all others through timm's own attention."""
        return not self.is_spatial

    def embed_patches(self, images: Tensor, positions: bool = True) -> tuple[Tensor, Grid]:
        """images: [B, 3, H, W], normalised -> embedded patches [B, L, D] and the grid (h, w), L = h * w.

        positions: with their positions added. Sides that are no multiple of the patch are padded with zeros below and to
        the right for out_type 'maps' (as in ViTDet) and raise UserError otherwise.
        """
        height, width = images.shape[-2:]
        p = self.patch_size
        if height % p or width % p:
            if self.out_type != "maps":
                raise UserError(
                    f"The image is {height} x {width} pixels, expected multiples of the patch size {p}; "
                    f"resize or crop it, or change patch_size."
                )
            images = F.pad(images, (0, -width % p, 0, -height % p))
        features = self.patch_embed.proj(images)
        grid = (features.shape[-2], features.shape[-1])
        patches = features.flatten(2).transpose(1, 2)
        return self.add_positions(patches, grid) if positions else patches, grid

    def add_positions(self, patches: Tensor, grid: Grid) -> Tensor:
        """All patches [B, L, D] of a grid, with their absolute positions added where there are any."""
        if self.pos_embed is None:
            return patches
        return patches + resample_positions(self.pos_embed[:, 1:], self.grid, grid, self.pos_resample)

    def encode(
        self,
        patches: Tensor,
        key_valid: Tensor | None = None,
        grid: Grid | None = None,
        watch: BlockWatch | None = None,
    ) -> list[Tensor]:
        """Run the blocks on any subset of embedded patches: [N, n, D] -> [N, 1 + n, D], class token (and registers) first.

        One entry for each tap (normed where tap_norm), or the final tokens alone where there are no taps.
        key_valid: [N, n], False for padding, which no token then attends to (its own outputs mean nothing).
        grid: the patches' (h, w) where they are a whole image of another size than img_size; only relative positions
        and windows use it, and raise UserError where patches are missing or padded.
        watch: of the blocks, only where `watchable`.
        """
        if self.is_spatial or self.rel_pos_bias is not None:
            grid = self._whole_grid(patches, key_valid, grid)
        x = patches
        if self.cls_token is not None:
            cls = self.cls_token if self.pos_embed is None else self.cls_token + self.pos_embed[:, :1]
            prefix = cls if self.reg_token is None else torch.cat([cls, self.reg_token], dim=1)
            x = torch.cat([prefix.expand(patches.shape[0], -1, -1), patches], dim=1)
        context: dict[str, Any] = {}
        if self.is_spatial:
            context["grid"] = grid
            if self.rel_pos_bias is not None:
                context["biases"] = self.rel_pos_bias(grid)
            if self.rotation is not None:
                context["rotation"] = self.rotation(grid)
        elif self.rel_pos_bias is not None:
            context["attn_mask"] = self.rel_pos_bias(grid)
        elif key_valid is not None:
            context["attn_mask"] = F.pad(key_valid, (self.num_prefix_tokens, 0), value=True)[:, None, None]

        tapped, own_mask = {}, context.get("attn_mask")
        for i, block in enumerate(islice(self.blocks, self.blocks_run)):
            if watch is not None:
                context["attn_mask"] = watch.before(block, x, own_mask)
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, **context)
            else:
                x = block(x, **context)
            if self.taps is not None and i in self.taps:
                tapped[i] = x
        if watch is not None:
            watch.after(x)
        if self.taps is None:
            return [self.norm(x)]
        if self.tap_norms is None:
            return [tapped[i] for i in self.taps]
        return [norm(tapped[i]) for norm, i in zip(self.tap_norms, self.taps, strict=True)]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """images: [B, 3, H, W], normalised -> what out_type says; a map is [B, D, ceil(H / p), ceil(W / p)]."""
        patches, grid = self.embed_patches(images)
        outputs = self.encode(patches, grid=grid)
        if self.out_type == "cls":
            return (outputs[0][:, 0],)
        if self.out_type == "mean":
            return (self.fc_norm(outputs[0][:, self.num_prefix_tokens :].mean(dim=1)),)
        if self.out_type == "maps":
            patches_of = slice(self.num_prefix_tokens, None)
            return tuple(x[:, patches_of].transpose(1, 2).unflatten(2, grid).contiguous() for x in outputs)
        if self.reg_token is not None:
            outputs = [torch.cat([x[:, :1], x[:, self.num_prefix_tokens :]], dim=1) for x in outputs]
        return tuple(outputs)

    def _whole_grid(self, patches: Tensor, key_valid: Tensor | None, grid: Grid | None) -> Grid:
        grid = grid or self.grid
        if key_valid is not None or patches.shape[1] != grid[0] * grid[1]:
            found = "padded ones" if key_valid is not None else f"{patches.shape[1]} patches"
            raise UserError(
                f"Windows and relative positions need every patch of the {grid[0]} x {grid[1]} grid, found {found}; "
                f"set rel_pos 'none' and window_size 0 to encode visible patches only."
            )
        return grid

    def layer_id(self, name: str) -> int:
        """Depth of a parameter for layer decay: 0 embeddings, i + 1 for blocks.i, depth + 1 for all that follows.

        Raises KeyError for a name that is no parameter of this kind of model.
        """
        last = self.num_layers - 1
        first, _, rest = name.partition(".")
        if first in ("cls_token", "reg_token", "pos_embed", "mask_token", "patch_embed"):
            return 0
        if first == "blocks" and rest.split(".")[0].isdecimal() and int(rest.split(".")[0]) < last - 1:
            return int(rest.split(".")[0]) + 1
        # One bias table for all blocks counts as the last layer in BEiT and SimMIM.
        if first in ("norm", "fc_norm", "tap_norms", "rel_pos_bias"):
            return last
        raise KeyError(f"{type(self).__name__} has no layer id for the parameter '{name}'")

    def no_weight_decay(self) -> set[str]:
        """Names without weight decay beside the 1-D ones (MAE, BEiT and ViTDet do decay relative position tables)."""
        return {"pos_embed", "cls_token"} | ({"reg_token"} if self.reg_token is not None else set())
