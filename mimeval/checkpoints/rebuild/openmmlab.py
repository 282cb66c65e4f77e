"""mmpretrain's and mmseg's classes with the tensors of a written file."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mimeval.checkpoints.formats.architecture import Architecture

from .case import Case, Run, Unable, epsilon, filled, parameters_later, plain


def _open_mmlab() -> None:
    from mimeval.engine.environment import setup_environment

    setup_environment()  # they import without compiled operators then


def _norm_cfg(a: Architecture) -> dict[str, Any]:
    return dict(type="LN", eps=a.norm_eps)


def mmpretrain_vit(case: Case) -> tuple[str, Run]:
    _open_mmlab()
    from mmpretrain.models.backbones import VisionTransformer

    a, state = case.architecture, case.bare("backbone.")
    plain(a)
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
    return f"VisionTransformer{epsilon(a, 1e-6, 'norm_cfg eps')}", lambda images: model(images)[0]


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
    return f"BEiTViT{epsilon(a, 1e-6, 'norm_cfg eps')}", lambda images: model(images)[0]


def mm_swin(case: Case, library: str) -> tuple[str, Run]:
    _open_mmlab()
    a, state = case.architecture, {n: t for n, t in case.bare("backbone.").items() if n != "mask_token"}
    plain(a)
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

    return f"SwinTransformer{epsilon(a, 1e-5, 'norm_cfg eps')}", run


def mmseg_plain(case: Case, kind: str) -> tuple[str, Run]:
    _open_mmlab()
    import mmseg.models.backbones as backbones

    a, state = case.architecture, case.bare("backbone.")
    plain(a)
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
    return f"{kind}{epsilon(a, 1e-5, 'norm_cfg eps')}", lambda images: model(images)[-1]
