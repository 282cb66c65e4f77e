"""timm's classes with the tensors of a written file."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from mimeval.checkpoints.timm_config import timm_config

from .case import Case, Run, as_map, epsilon, filled, parameters_later, plain, without_registers


def timm_vit(case: Case) -> tuple[str, Run]:
    from timm.layers import LayerNorm, SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    a, state, prefix = case.architecture, case.state, int(case.architecture.cls_token) + case.architecture.registers
    plain(a)
    head = state.get("head.weight")
    if head is None or head.dim() != 2:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    gated: dict[str, Any] = dict(mlp_layer=SwiGLUPacked, act_layer=nn.SiLU) if a.mlp == "swiglu" else {}
    with parameters_later():
        model = VisionTransformer(
            num_classes=0 if head is None or head.dim() != 2 else len(head),
            norm_layer=partial(LayerNorm, eps=a.norm_eps),  # type: ignore[arg-type]
            **timm_config(a, case.state, case.heads),
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

    return f"VisionTransformer{epsilon(a, 1e-6, 'an epsilon of')}", run


def timm_eva02(case: Case) -> tuple[str, Run]:
    from timm.layers import LayerNorm
    from timm.models.eva import Eva

    a, state = case.architecture, case.state
    head = state.get("head.weight")
    pooled = case.out_type == "mean"
    with parameters_later():
        model = Eva(
            swiglu_mlp=True,
            use_rot_pos_emb=True,
            num_classes=0 if head is None else len(head),
            norm_layer=partial(LayerNorm, eps=a.norm_eps),
            **timm_config(a, state, case.heads),
        )
        if case.out_type == "maps":
            model.norm = nn.Identity()
    model = filled(model, state)

    def run(images: Tensor) -> Tensor:
        tokens = model.forward_features(images)
        if pooled:
            return model.forward_head(tokens, pre_logits=True)
        return as_map(tokens, a, 1) if case.out_type == "maps" else tokens

    return f"Eva{epsilon(a, 1e-6, 'an epsilon of')}", run


def timm_swin(case: Case) -> tuple[str, Run]:
    from timm.models.swin_transformer import SwinTransformer

    a, head = case.architecture, case.state.get("head.fc.weight")
    plain(a)
    with parameters_later():
        model = SwinTransformer(
            num_classes=0 if head is None else len(head),
            norm_layer=partial(nn.LayerNorm, eps=a.norm_eps),  # type: ignore[arg-type]
            **timm_config(a, case.state, 0),
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

    return f"SwinTransformer{epsilon(a, 1e-5, 'an epsilon of')}", run
