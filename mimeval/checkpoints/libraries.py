"""A written file in its own library's class: the class is built from the architecture, takes the file strictly, and is run.

Every library is imported when it is asked for, and need not be installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mimeval.errors import UserError

from .formats.architecture import Architecture, State, Swin, ViT
from .formats.base import Family

TOLERANCE = 1e-5
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What a rebuilder is given. state: by the file's names. out_type: what our backbone returns, as build.py chose it.

    heads: also where the file does not say and a number was guessed for the comparison.
    """

    state: State
    architecture: Any
    out_type: str
    heads: int

    @property
    def hidden(self) -> int:
        """Width of the MLP."""
        return round(self.architecture.embed_dim * self.architecture.mlp_ratio)

    def bare(self, prefix: str) -> State:
        """The tensors below a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.state.items() if name.startswith(prefix)}


class Unable(Exception):
    """The class cannot be this encoder; says why."""


def verify(
    family: Family, state: State, architecture: Architecture, settings: Mapping[str, Any], image: Tensor, ours: Tensor
) -> tuple[float | None, str]:
    """The largest difference between the features of the library's own class and ours, and a sentence; None where not compared.

    state: of the written file, by its names. settings: of our backbone (build.py). ours: its (last) output for the image. Raises
    UserError where the class does not take the file, or its features are others.
    """
    if not family.library:
        return None, ""
    rebuild = REBUILDERS.get(family.name)
    if rebuild is None or importlib.util.find_spec(family.library) is None:
        return None, f"not verified with a class of {family.library}, which is not installed"
    heads = settings["arch"]["num_heads"]
    library = importlib.import_module(family.library)
    version = f"{family.library} {getattr(library, '__version__', '')}"
    try:
        name, run = rebuild(
            Case(dict(state), architecture, settings["out_type"], heads if isinstance(heads, int) else 0)
        )
    except (Unable, UserError) as reason:
        return None, f"not verified with a class of {family.library}: {str(reason).rstrip('.')}"
    except (TypeError, ValueError, AttributeError, ImportError) as error:  # another version of the library
        return None, f"not verified with a class of {family.library}, which could not be built ({_short(error)})"
    except RuntimeError as error:
        raise UserError(
            f"{version} does not take what was written: {_short(error)}; convert to mimeval instead."
        ) from None
    who = f"{version}, {name}"
    with torch.inference_mode():
        theirs = run(image)
    if ours.dim() == 3 and theirs.dim() == 4:  # tokens here, a map of the patches there
        ours = as_map(ours, architecture, 1)
    if theirs.shape != ours.shape:
        raise UserError(
            f"{who}: expected features {list(ours.shape)}, found {list(theirs.shape)}; convert to mimeval instead."
        )
    difference = (theirs - ours).abs().max().item()
    if not difference <= TOLERANCE:
        raise UserError(
            f"{who}: its features differ by {difference:.1e} from those of the source; convert to mimeval instead."
        )
    return difference, f"verified with {who}: features differ by at most {difference:.1e}"


@contextmanager
def parameters_later() -> Iterator[None]:
    """Modules built inside have parameters without memory (meta) and buffers with it; load_state_dict(assign=True) then gives them
    the file's own tensors, so that a large model is neither initialised nor copied."""
    register = nn.Module.register_parameter

    def later(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = later  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def filled(model: nn.Module, state: State) -> Any:
    """The model with exactly these tensors, in float32 and eval mode. RuntimeError where names or shapes are others."""
    model.load_state_dict(state, strict=True, assign=True)
    model.float()
    model.eval()
    return model


def as_map(tokens: Tensor, a: Architecture, prefix: int) -> Tensor:
    """Tokens [B, prefix + h * w, D] -> the map [B, D, h, w]."""
    if a.grid is None:
        raise Unable("its grid is not known")
    return tokens[:, prefix:].transpose(1, 2).unflatten(2, a.grid)


def without_registers(tokens: Tensor, registers: int) -> Tensor:
    return torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], dim=1) if registers else tokens


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _epsilon(a: Architecture, usual: float, how: str) -> str:
    return "" if a.norm_eps == usual else f" with {how} {a.norm_eps:g}"


def _plain(a: Any) -> None:
    # What no class of these libraries computes.
    if isinstance(a, ViT) and (a.window_size or a.rel_pos in ("decomposed", "window_bias")):
        raise Unable("it has no windows or decomposed relative positions")
    if isinstance(a, Swin) and (a.norm_after_pool or a.norm2_eps not in (None, a.norm_eps)):
        raise Unable("its norms are others (norm after pooling, or an epsilon of their own)")


def timm_vit(case: Case) -> tuple[str, Run]:
    from timm.layers import LayerNorm, SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    a, state, prefix = case.architecture, case.state, int(case.architecture.cls_token) + case.architecture.registers
    _plain(a)
    table, head = state.get("pos_embed"), state.get("head.weight")
    if head is None or head.dim() != 2:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    gated: dict[str, Any] = dict(mlp_layer=SwiGLUPacked, act_layer=nn.SiLU) if a.mlp == "swiglu" else {}
    with parameters_later():
        model = VisionTransformer(
            img_size=a.image_size,
            patch_size=a.patch_size,
            embed_dim=a.embed_dim,
            depth=a.depth,
            num_heads=case.heads,
            mlp_ratio=(case.hidden + 0.5) / a.embed_dim,
            num_classes=0 if head is None or head.dim() != 2 else len(head),
            class_token=a.cls_token,
            reg_tokens=a.registers,
            no_embed_class=table is not None and table.shape[1] == a.grid[0] * a.grid[1],
            pos_embed="learn" if table is not None else "none",
            init_values=1.0 if a.layer_scale else None,
            global_pool="avg" if case.out_type == "mean" or not a.cls_token else "token",
            fc_norm=case.out_type == "mean",
            final_norm=case.out_type != "maps",
            norm_layer=partial(LayerNorm, eps=a.norm_eps),  # type: ignore[arg-type]
            **gated,
        )
    model = filled(model, state)

    def run(images: Tensor) -> Tensor:
        tokens = model.forward_features(images)
        if case.out_type == "mean":
            return model.forward_head(tokens, pre_logits=True)
        if case.out_type == "maps":
            return as_map(tokens, a, prefix)
        return without_registers(tokens, a.registers)

    return f"VisionTransformer{_epsilon(a, 1e-6, 'an epsilon of')}", run


def timm_swin(case: Case) -> tuple[str, Run]:
    from timm.models.swin_transformer import SwinTransformer

    a, head = case.architecture, case.state.get("head.fc.weight")
    _plain(a)
    with parameters_later():
        model = SwinTransformer(
            img_size=a.image_size,
            patch_size=a.patch_size,
            embed_dim=a.embed_dim,
            depths=a.depths,
            num_heads=a.num_heads,
            window_size=max(a.windows),
            mlp_ratio=a.mlp_ratio,
            num_classes=0 if head is None else len(head),
            norm_layer=partial(nn.LayerNorm, eps=a.norm_eps),  # type: ignore[arg-type]
        )
        if case.out_type == "maps":
            model.norm = nn.Identity()
    model = filled(model, case.state)
    for module in model.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()  # masks are made on the device of the parameters

    def run(images: Tensor) -> Tensor:
        maps = model.forward_features(images)
        return maps.mean((1, 2)) if case.out_type == "mean" else maps.permute(0, 3, 1, 2)

    return f"SwinTransformer{_epsilon(a, 1e-5, 'an epsilon of')}", run


def hugging_face(case: Case, kind: str, prefix: str) -> tuple[str, Run]:
    import transformers
    from transformers.utils import logging

    from .hf_config import hf_config

    a, state = case.architecture, case.state
    _plain(a)
    if case.out_type == "maps":
        raise Unable("its classes always have a final norm")
    if kind == "Swin" and a.norm_eps != 1e-5:
        raise Unable(f"its norms outside blocks always have the epsilon 1e-5, and the checkpoint's is {a.norm_eps:g}")
    kind = "Dinov2WithRegisters" if kind == "Dinov2" and a.registers else kind
    below = next((p for p in (prefix, "dinov2_with_registers.") if any(n.startswith(p) for n in state)), "")
    encoder = case.bare(below) if below else state
    encoder = {name: tensor for name, tensor in encoder.items() if not name.startswith(("classifier.", "decoder."))}
    config = getattr(transformers, f"{kind}Config")(**hf_config(a, case.heads))
    if kind == "ViTMAE":
        config.mask_ratio = 0.0
    pooler = {"add_pooling_layer": any(name.startswith("pooler.") for name in encoder)} if kind == "ViT" else {}
    mask = {"use_mask_token": "embeddings.mask_token" in encoder} if kind in ("ViT", "Swin") else {}
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, said = getattr(transformers, f"{kind}Model").from_pretrained(
            None, config=config, state_dict=encoder, output_loading_info=True, **pooler, **mask
        )
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
    unknown = {
        key: sorted(names)[:4] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := said[key])
    }
    if unknown:
        raise RuntimeError(f"transformers: {kind}Model does not take the file: {unknown}")
    model = model.float().eval()

    def run(images: Tensor) -> Tensor:
        if kind == "ViTMAE":
            noise = torch.linspace(0, 1, a.grid[0] * a.grid[1])[None]  # patches stay in order
            return model(images, noise=noise).last_hidden_state
        tokens = model(images).last_hidden_state
        return tokens.mean(1) if kind == "Swin" else without_registers(tokens, a.registers)

    usual = {"Swin": 1e-5, "Dinov2": 1e-6, "Dinov2WithRegisters": 1e-6}.get(kind, 1e-12)
    return f"{kind}Model{_epsilon(a, usual, 'layer_norm_eps')}", run


def _open_mmlab() -> None:
    from mimeval.engine.environment import setup_environment

    setup_environment()  # they import without compiled operators then


def _norm_cfg(a: Architecture) -> dict[str, Any]:
    return dict(type="LN", eps=a.norm_eps)


def mmpretrain_vit(case: Case) -> tuple[str, Run]:
    _open_mmlab()
    from mmpretrain.models.backbones import VisionTransformer

    a, state = case.architecture, case.bare("backbone.")
    _plain(a)
    if a.registers:
        raise Unable("it has no registers")
    sizes = dict(embed_dims=a.embed_dim, num_layers=a.depth, num_heads=case.heads, feedforward_channels=case.hidden)
    layer: dict[str, Any] = {}
    if a.mlp == "swiglu":
        layer = dict(layer_cfgs=dict(ffn_type="swiglu_fused"))  # takes two thirds of it
        sizes["feedforward_channels"] = case.hidden // 4 * 3
        if case.hidden % 16:
            raise Unable("its SwiGLU is a multiple of 8 wide")
    out = {"mean": "avg_featmap", "maps": "featmap"}.get(case.out_type, "raw")
    state = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    if out != "avg_featmap":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("ln2.")}
    with parameters_later():
        model = VisionTransformer(
            arch=sizes,
            img_size=a.image_size,
            patch_size=a.patch_size,
            with_cls_token=a.cls_token,
            out_type=out,
            final_norm="ln1.weight" in state,
            layer_scale_init_value=1.0 if a.layer_scale else 0.0,
            norm_cfg=_norm_cfg(a),
            **layer,
        )
    model = filled(model, state)
    return f"VisionTransformer{_epsilon(a, 1e-6, 'norm_cfg eps')}", lambda images: model(images)[0]


def mmpretrain_beit(case: Case) -> tuple[str, Run]:
    _open_mmlab()
    from mmpretrain.models.backbones import BEiTViT

    a, state = case.architecture, case.bare("backbone.")
    state = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    with parameters_later():
        model = BEiTViT(
            arch=dict(
                embed_dims=a.embed_dim, num_layers=a.depth, num_heads=case.heads, feedforward_channels=case.hidden
            ),
            img_size=a.image_size,
            patch_size=a.patch_size,
            out_type={"mean": "avg_featmap", "maps": "featmap"}.get(case.out_type, "raw"),
            final_norm="ln1.weight" in state,
            use_abs_pos_emb="pos_embed" in state,
            use_rel_pos_bias=a.rel_pos == "bias",
            use_shared_rel_pos_bias=a.rel_pos == "shared_bias",
            norm_cfg=_norm_cfg(a),
        )
    model = filled(model, state)
    return f"BEiTViT{_epsilon(a, 1e-6, 'norm_cfg eps')}", lambda images: model(images)[0]


def mm_swin(case: Case, library: str) -> tuple[str, Run]:
    _open_mmlab()
    a, state = case.architecture, {n: t for n, t in case.bare("backbone.").items() if n != "mask_token"}
    _plain(a)
    last = len(a.depths) - 1
    norms = sorted({int(name[4]) for name in state if name.startswith("norm") and name[4].isdigit()})
    if last not in norms:
        raise Unable("the file has no norm of the last stage")
    sizes: dict[str, Any] = dict(
        patch_size=a.patch_size, window_size=max(a.windows), norm_cfg=_norm_cfg(a), out_indices=tuple(norms)
    )
    if case.hidden != 4 * a.embed_dim:
        raise Unable("its MLP is four times as wide as its input")
    with parameters_later():
        if library == "mmpretrain":
            from mmpretrain.models.backbones import SwinTransformer

            arch = dict(embed_dims=a.embed_dim, depths=list(a.depths), num_heads=list(a.num_heads))
            model = SwinTransformer(arch=arch, img_size=a.image_size, **sizes)
        else:
            from mmseg.models.backbones import SwinTransformer as Segmentors

            arch = dict(embed_dims=a.embed_dim, depths=a.depths, num_heads=a.num_heads, strides=(a.patch_size, 2, 2, 2))
            model = Segmentors(pretrain_img_size=a.image_size, **arch, **sizes)
    model = filled(model, state)

    def run(images: Tensor) -> Tensor:
        maps = model(images)[-1]
        return maps.mean((2, 3)) if case.out_type == "mean" else maps

    return f"SwinTransformer{_epsilon(a, 1e-5, 'norm_cfg eps')}", run


def mmseg_plain(case: Case, kind: str) -> tuple[str, Run]:
    _open_mmlab()
    import mmseg.models.backbones as backbones

    a, state = case.architecture, case.bare("backbone.")
    _plain(a)
    if case.out_type == "mean":
        raise Unable("it does not pool")
    if case.hidden % a.embed_dim:
        raise Unable("its MLP is a whole number of times as wide as its input")
    given: dict[str, Any] = dict(init_values=1.0) if kind != "VisionTransformer" else {}
    if kind == "VisionTransformer":
        given = dict(patch_bias="patch_embed.projection.bias" in state, output_cls_token=False)
    with parameters_later():
        model = getattr(backbones, kind)(
            img_size=tuple(a.image_size),
            patch_size=a.patch_size,
            embed_dims=a.embed_dim,
            num_layers=a.depth,
            num_heads=case.heads,
            mlp_ratio=case.hidden // a.embed_dim,
            out_indices=(a.depth - 1,),
            final_norm="ln1.weight" in state,
            norm_cfg=_norm_cfg(a),
            **given,
        )
    model = filled(model, state)
    return f"{kind}{_epsilon(a, 1e-5, 'norm_cfg eps')}", lambda images: model(images)[-1]


REBUILDERS: dict[str, Callable[[Case], tuple[str, Run]]] = {
    "timm_vit": timm_vit,
    "timm_swin": timm_swin,
    "hf_vit": partial(hugging_face, kind="ViT", prefix="vit."),
    "hf_vitmae": partial(hugging_face, kind="ViTMAE", prefix="vit."),
    "hf_dinov2": partial(hugging_face, kind="Dinov2", prefix="dinov2."),
    "hf_swin": partial(hugging_face, kind="Swin", prefix="swin."),
    "mmpretrain_vit": mmpretrain_vit,
    "mmpretrain_beit": mmpretrain_beit,
    "mmpretrain_swin": partial(mm_swin, library="mmpretrain"),
    "mmseg_vit": partial(mmseg_plain, kind="VisionTransformer"),
    "mmseg_mae": partial(mmseg_plain, kind="MAE"),
    "mmseg_beit": partial(mmseg_plain, kind="BEiT"),
    "mmseg_swin": partial(mm_swin, library="mmseg"),
}
