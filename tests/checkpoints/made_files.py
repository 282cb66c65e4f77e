"""Checkpoint files made by libraries' own classes at tiny sizes, with random weights, and the features of those classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Tensor | Sequence[Tensor]]
VIT = dict(embed_dim=32, depth=3, num_heads=4)
IMAGE, OTHER = (32, 32), (48, 40)


@dataclass
class LibraryFile:
    """path: the file as its library writes it. features: the class's own, images [B, 3, H, W] -> what our backbone gives first;
    settings: of load_backbone, for what the file does not say. other: another image size that the library takes, None for none."""

    path: Path
    features: Features
    settings: dict[str, Any] = field(default_factory=dict)
    image: tuple[int, int] = IMAGE
    other: tuple[int, int] | None = OTHER


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, every weight moved, so that zeros and ones show, too; tables and biases of attention more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                scale = 0.3 if "bias_table" in name else 0.1
                tensor.add_(torch.randn(tensor.shape, generator=generator) * scale)
    model.eval()  # OpenMMLab's returns nothing
    return model


def numbered(images: int, *size: int) -> Tensor:
    """Images [N, 3, *size], N(0, 1)."""
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(7))


def saved(
    folder: Path, state: dict[str, Tensor], container: str = "state_dict", prefix: str = "", **other: Any
) -> Path:
    """A `.pth` with the state dict below a key (the file itself for ''), as torch.save writes it."""
    path = folder / "theirs.pth"
    state = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({container: state, "meta": {"epoch": 3}, **other} if container else state, path)
    return path


def timm_vit(folder: Path, pooled: bool = False, **arguments: Any) -> LibraryFile:
    timm = pytest.importorskip("timm")
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=32,
        patch_size=8,
        num_classes=7,
        dynamic_img_size=True,
        global_pool="avg" if pooled else "token",
        **VIT,
        **arguments,
    )
    shaken(model)
    registers = model.reg_token is not None

    def features(images: Tensor) -> Tensor:
        tokens = model.forward_features(images)
        if pooled:
            return model.forward_head(tokens, pre_logits=True)
        return torch.cat([tokens[:, :1], tokens[:, model.num_prefix_tokens :]], 1) if registers else tokens

    return LibraryFile(saved(folder, model.state_dict(), ""), features, dict(num_heads=4))


def timm_dinov2(folder: Path) -> LibraryFile:
    return timm_vit(folder, reg_tokens=4, no_embed_class=True, init_values=1.0)


def timm_swiglu(folder: Path) -> LibraryFile:
    from timm.layers import SwiGLUPacked

    return timm_vit(folder, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, mlp_ratio=5.5, init_values=1.0)


def timm_patches_only(folder: Path) -> LibraryFile:
    pytest.importorskip("timm")
    from timm.models.vision_transformer import VisionTransformer

    model = shaken(
        VisionTransformer(
            img_size=32, patch_size=8, num_classes=7, class_token=False, global_pool="avg", dynamic_img_size=True, **VIT
        )
    )
    path = saved(folder, model.state_dict(), "state_dict", arch="vit_tiny", optimizer={"state": {}})
    return LibraryFile(
        path, lambda x: model.forward_head(model.forward_features(x), pre_logits=True), dict(num_heads=4)
    )


def timm_eva02(folder: Path, apart: bool = False, pooled: bool = False) -> LibraryFile:
    """As tiny and small (q, k and v joined), or apart as base and large."""
    from timm.models.eva import Eva

    sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4, mlp_ratio=8 / 3, num_classes=7)
    kinds = dict(qkv_fused=not apart, swiglu_mlp=True, scale_mlp=apart, use_rot_pos_emb=True, ref_feat_shape=(4, 4))
    model = shaken(
        Eva(dynamic_img_size=True, global_pool="avg" if pooled else "token", use_fc_norm=pooled, **sizes, **kinds)
    )

    def features(images: Tensor) -> Tensor:
        tokens = model.forward_features(images)
        return model.forward_head(tokens, pre_logits=True) if pooled else tokens

    return LibraryFile(saved(folder, model.state_dict(), ""), features, dict(num_heads=4))


def timm_eva02_apart(folder: Path) -> LibraryFile:
    return timm_eva02(folder, apart=True)


def timm_eva02_pooled(folder: Path) -> LibraryFile:
    return timm_eva02(folder, apart=True, pooled=True)


def timm_dinov3(folder: Path, biased: bool = False) -> LibraryFile:
    """With an MLP and no bias of q, k and v (as S, B and L), or with SwiGLU and biases of q and v."""
    from timm.layers import LayerNorm
    from timm.models.eva import Eva

    rope = dict(
        use_rot_pos_emb=True, use_abs_pos_emb=False, rope_type="dinov3", rope_temperature=100, rope_rotate_half=True
    )
    mlp = dict(swiglu_mlp=True, swiglu_align_to=8, mlp_ratio=4) if biased else {}
    model = Eva(
        img_size=32, patch_size=8, embed_dim=128, depth=2, num_heads=2, num_classes=0, global_pool="token", num_reg_tokens=4,
        init_values=1e-5, qkv_bias=biased, dynamic_img_size=True, norm_layer=partial(LayerNorm, eps=1e-5), use_fc_norm=False,
        **rope, **mlp,
    )  # fmt: skip
    shaken(model)

    def features(images: Tensor) -> Tensor:
        tokens = model.forward_features(images)
        return torch.cat([tokens[:, :1], tokens[:, 5:]], dim=1)

    return LibraryFile(saved(folder, model.state_dict(), ""), features)


def timm_dinov3_biased(folder: Path) -> LibraryFile:
    return timm_dinov3(folder, biased=True)


SWIN = dict(embed_dim=8, depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 4), window_size=2)


def timm_swin(folder: Path) -> LibraryFile:
    from timm.models.swin_transformer import SwinTransformer

    model = shaken(SwinTransformer(img_size=64, patch_size=4, num_classes=7, strict_img_size=False, **SWIN))
    # timm lays the tokens of the last stage out as a map.
    return LibraryFile(
        saved(folder, model.state_dict(), ""),
        lambda x: model.forward_features(x).mean((1, 2)),
        dict(img_size=64),
        (64, 64),
        (128, 64),
    )


def official_swin(folder: Path) -> LibraryFile:
    """timm reads official files; the names and buffers of such a file are written here."""
    made = timm_swin(folder)
    state = torch.load(made.path, weights_only=True)
    old = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        old[".".join(parts).replace("head.fc.", "head.")] = tensor
    old["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4, dtype=torch.int64)
    old["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 4, 4)
    made.path = saved(folder, old, "model")
    return made


def transformers_file(
    folder: Path, model: nn.Module, features: Features, shards: bool = False, **more: Any
) -> LibraryFile:
    """What save_pretrained writes, config.json beside it; the number of heads is there."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model.save_pretrained(folder, max_shard_size="8KB" if shards else "5GB")
    return LibraryFile(folder / ("model.safetensors.index.json" if shards else "model.safetensors"), features, **more)


def hf_settings(**more: Any) -> dict[str, Any]:
    sizes = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8)
    return {**sizes, **more}


def hf_vit(folder: Path, kind: str = "ViTModel", shards: bool = False) -> LibraryFile:
    transformers = pytest.importorskip("transformers")
    more = dict(encoder_stride=8) if kind == "ViTForMaskedImageModeling" else {}
    model = shaken(getattr(transformers, kind)(transformers.ViTConfig(**hf_settings(intermediate_size=64, **more))))
    inner = getattr(model, "vit", model)
    return transformers_file(
        folder, model, lambda x: inner(x, interpolate_pos_encoding=True).last_hidden_state, shards=shards
    )


def hf_vit_classifier(folder: Path) -> LibraryFile:
    return hf_vit(folder, "ViTForImageClassification", shards=True)


def hf_vit_masked(folder: Path) -> LibraryFile:
    return hf_vit(folder, "ViTForMaskedImageModeling")


def hf_vitmae(folder: Path) -> LibraryFile:
    """With the published names of the decoder's blocks, which transformers 5.23 saves otherwise."""
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    decoder = dict(
        decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=32
    )
    config = transformers.ViTMAEConfig(**hf_settings(intermediate_size=64, mask_ratio=0.0, **decoder))
    model = shaken(transformers.ViTMAEForPreTraining(config))

    def features(images: Tensor) -> Tensor:
        # In the order of the image: MAE shuffles even where it hides nothing.
        length = (images.shape[-2] // 8) * (images.shape[-1] // 8)
        noise = torch.linspace(0, 1, length)[None].expand(len(images), -1)
        return model.vit(images, noise=noise, interpolate_pos_encoding=True).last_hidden_state

    made = transformers_file(folder, model, features)
    state = load_file(made.path)
    state = {name.replace("decoder_encoder.layer.", "decoder_layers."): tensor for name, tensor in state.items()}
    save_file(state, made.path, {"format": "pt"})
    return made


def hf_dinov2(folder: Path, registers: int = 0, **more: Any) -> LibraryFile:
    transformers = pytest.importorskip("transformers")
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**hf_settings(num_register_tokens=registers, **more))
        model = shaken(transformers.Dinov2WithRegistersModel(config))
    else:
        model = shaken(transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**hf_settings(**more))))
    inner = getattr(model, "dinov2", model)

    def features(images: Tensor) -> Tensor:
        tokens = inner(images).last_hidden_state
        return torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], 1)

    return transformers_file(folder, model, features)


def hf_dinov2_registers(folder: Path) -> LibraryFile:
    return hf_dinov2(folder, registers=3)


def hf_dinov2_swiglu(folder: Path) -> LibraryFile:
    return hf_dinov2(folder, use_swiglu_ffn=True)


def hf_swin(folder: Path, kind: str = "SwinForImageClassification") -> LibraryFile:
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(image_size=64, patch_size=4, encoder_stride=32, **{**SWIN, "depths": [2, 2, 1, 1]})
    model = shaken(getattr(transformers, kind)(config))
    return transformers_file(
        folder, model, lambda x: model.swin(x).last_hidden_state.mean(1), image=(64, 64), other=(128, 64)
    )


def hf_swin_masked(folder: Path) -> LibraryFile:
    return hf_swin(folder, "SwinForMaskedImageModeling")


def openmmlab() -> None:
    """Imports of mmpretrain and mmseg work without compiled operators."""
    from mimeval.engine.environment import setup_environment

    setup_environment()


def hf_dinov3(folder: Path, gated: bool = False) -> LibraryFile:
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=192, image_size=32, patch_size=8,
        num_register_tokens=4, use_gated_mlp=gated, hidden_act="silu" if gated else "gelu",
    )  # fmt: skip
    model = shaken(transformers.DINOv3ViTModel(config))
    model.save_pretrained(folder)

    def features(images: Tensor) -> Tensor:
        tokens = model(images).last_hidden_state
        return torch.cat([tokens[:, :1], tokens[:, 5:]], dim=1)

    return LibraryFile(folder / "model.safetensors", features)


def hf_dinov3_gated(folder: Path) -> LibraryFile:
    return hf_dinov3(folder, gated=True)


MM_VIT = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)


def mm_file(folder: Path, model: nn.Module, features: Features, config: str = "", **more: Any) -> LibraryFile:
    """A runner's file: the backbone in a model, other parts beside it, and the config as text."""
    state = {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {"head.fc.weight": torch.ones(7, 32), "head.fc.bias": torch.ones(7)}
    path = folder / "theirs.pth"
    meta = {"epoch": 3, "cfg": f"model = dict(backbone=dict({config}))\n"} if config else {"epoch": 3}
    torch.save({"state_dict": state, "meta": meta, "message_hub": {}}, path)
    return LibraryFile(path, features, **more)


def mmpretrain_vit(folder: Path, **arguments: Any) -> LibraryFile:
    openmmlab()
    from mmpretrain.models.backbones import VisionTransformer

    given = {"out_type": "raw", **arguments}
    model = shaken(VisionTransformer(arch=MM_VIT, img_size=32, patch_size=8, **given))
    config = "type='VisionTransformer', arch=dict(num_heads=4), img_size=32, patch_size=8"
    return mm_file(folder, model, lambda x: model(x)[0], config)


def mmpretrain_vit_pooled(folder: Path) -> LibraryFile:
    return mmpretrain_vit(folder, out_type="avg_featmap", final_norm=False, layer_scale_init_value=0.5)


def mmpretrain_mae(folder: Path) -> LibraryFile:
    """Pre-training, whose decoder is the neck; mmselfsup's has the same names."""
    openmmlab()
    from mmpretrain.models.necks import MAEPretrainDecoder
    from mmpretrain.models.selfsup import MAEViT

    model = shaken(MAEViT(arch=MM_VIT, img_size=32, patch_size=8, out_type="raw", mask_ratio=0.75))
    sizes = dict(num_patches=16, patch_size=8, embed_dim=32, decoder_embed_dim=16, decoder_depth=2, decoder_num_heads=2)
    neck = shaken(MAEPretrainDecoder(**sizes), 1).state_dict()
    made = mm_file(
        folder, model, lambda x: model(x, None)[0], "type='MAEViT', arch=dict(num_heads=4), img_size=32, patch_size=8"
    )
    state = {
        n: t for n, t in torch.load(made.path, weights_only=True)["state_dict"].items() if n.startswith("backbone.")
    }
    made.path = saved(folder, {**state, **{f"neck.{name}": tensor for name, tensor in neck.items()}})
    made.settings = dict(num_heads=4)
    return made


def mmpretrain_beit(folder: Path) -> LibraryFile:
    openmmlab()
    from mmpretrain.models.backbones import BEiTViT

    model = shaken(BEiTViT(arch=MM_VIT, img_size=32, patch_size=8))
    return mm_file(folder, model, lambda x: model(x)[0], other=None)


def mmpretrain_beit_shared(folder: Path) -> LibraryFile:
    openmmlab()
    from mmpretrain.models.backbones import BEiTViT

    model = BEiTViT(
        arch=MM_VIT,
        img_size=32,
        patch_size=8,
        use_shared_rel_pos_bias=True,
        use_rel_pos_bias=False,
        out_type="raw",
        final_norm=True,
    )
    shaken(model)
    return mm_file(folder, model, lambda x: model(x)[0], other=None)


def mmpretrain_beit2(folder: Path) -> LibraryFile:
    """Pre-training: the last block's tokens are normed by the neck, which has blocks for the class token besides."""
    openmmlab()
    from mmpretrain.models.necks import BEiTV2Neck
    from mmpretrain.models.selfsup import BEiTPretrainViT

    backbone = shaken(BEiTPretrainViT(arch=MM_VIT, img_size=32, patch_size=8, final_norm=False))
    neck = shaken(BEiTV2Neck(early_layers=2, backbone_arch=dict(MM_VIT, depth=3)), seed=1)
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    state |= {f"neck.{name}": tensor for name, tensor in neck.state_dict().items()}

    def features(images: Tensor) -> Tensor:
        return neck.norm(backbone(images, mask=None)[0])

    return LibraryFile(saved(folder, state), features, other=None)


MM_SWIN = dict(embed_dims=8, depths=[2, 2, 1, 1], num_heads=[1, 2, 2, 4])


def mmpretrain_swin(folder: Path) -> LibraryFile:
    openmmlab()
    from mmpretrain.models.backbones import SwinTransformer

    model = shaken(SwinTransformer(arch=MM_SWIN, img_size=64, patch_size=4, window_size=2))
    return mm_file(folder, model, lambda x: model(x)[0].mean((2, 3)), image=(64, 64), other=(128, 64))


def mmpretrain_simmim(folder: Path) -> LibraryFile:
    """Pre-training: a token for hidden patches in the backbone, a linear decoder as neck."""
    openmmlab()
    from mmpretrain.models.necks import SimMIMLinearDecoder
    from mmpretrain.models.selfsup import SimMIMSwinTransformer

    window = dict(block_cfgs=dict(window_size=2))
    model = SimMIMSwinTransformer(arch=MM_SWIN, img_size=64, stage_cfgs=window, out_indices=(3,))
    shaken(model)
    made = mm_file(folder, model, lambda x: model(x, None)[0].mean((2, 3)), image=(64, 64), other=(128, 64))
    neck = SimMIMLinearDecoder(in_channels=64, encoder_stride=32).state_dict()
    state = torch.load(made.path, weights_only=True)["state_dict"]
    made.path = saved(folder, {**state, **{f"neck.{name}": tensor for name, tensor in neck.items()}})
    return made


def mmseg_swin(folder: Path) -> LibraryFile:
    openmmlab()
    from mmseg.models.backbones import SwinTransformer

    sizes = {**MM_SWIN, "window_size": 2, "patch_size": 4, "pretrain_img_size": 64}
    model = shaken(SwinTransformer(**sizes))
    taps = dict(out_type="maps", tap_norm=True)
    return mm_file(folder, model, model, settings=taps, image=(64, 64), other=(120, 72))


def mmseg_vit(folder: Path) -> LibraryFile:
    openmmlab()
    from mmseg.models.backbones import VisionTransformer

    sizes = dict(img_size=(32, 32), patch_size=8, embed_dims=32, num_layers=3, num_heads=4, mlp_ratio=2)
    model = shaken(VisionTransformer(**sizes, norm_cfg=dict(type="LN", eps=1e-6), out_indices=(0, 2)))
    config = (
        "type='VisionTransformer', num_heads=4, img_size=(32, 32), patch_size=8, norm_cfg=dict(type='LN', eps=1e-6)"
    )
    return mm_file(folder, model, model, config, settings=dict(taps=(0, 2)))


def mmseg_mae(folder: Path, kind: str = "MAE") -> LibraryFile:
    openmmlab()
    import mmseg.models.backbones as backbones

    sizes = dict(img_size=(32, 32), patch_size=8, embed_dims=32, num_layers=3, num_heads=4, mlp_ratio=2)
    # The epsilon of all of mmseg's configs; the classes' own is 1e-5.
    norm = dict(type="LN", eps=1e-6)
    model = shaken(getattr(backbones, kind)(**sizes, out_indices=(0, 2), init_values=1.0, norm_cfg=norm))
    return mm_file(folder, model, model, settings=dict(taps=(0, 2)), other=None)


def mmseg_beit(folder: Path) -> LibraryFile:
    return mmseg_mae(folder, "BEiT")


# Maker of the file: the family that knows it.
MAKERS: dict[Callable[[Path], LibraryFile], str] = {
    timm_vit: "timm_vit",
    timm_dinov2: "timm_vit",
    timm_swiglu: "timm_vit",
    timm_patches_only: "timm_vit",
    timm_swin: "timm_swin",
    timm_eva02: "timm_eva02",
    timm_eva02_apart: "timm_eva02",
    timm_eva02_pooled: "timm_eva02",
    timm_dinov3: "timm_dinov3",
    timm_dinov3_biased: "timm_dinov3",
    official_swin: "swin",
    hf_vit: "hf_vit",
    hf_vit_classifier: "hf_vit",
    hf_vit_masked: "hf_vit",
    hf_vitmae: "hf_vitmae",
    hf_dinov2: "hf_dinov2",
    hf_dinov2_registers: "hf_dinov2",
    hf_dinov2_swiglu: "hf_dinov2",
    hf_dinov3: "hf_dinov3",
    hf_dinov3_gated: "hf_dinov3",
    hf_swin: "hf_swin",
    hf_swin_masked: "hf_swin",
    mmpretrain_vit: "mmpretrain_vit",
    mmpretrain_vit_pooled: "mmpretrain_vit",
    mmpretrain_mae: "mmpretrain_vit",
    mmpretrain_beit: "mmpretrain_beit",
    mmpretrain_beit_shared: "mmpretrain_beit",
    mmpretrain_beit2: "mmpretrain_beit2",
    mmpretrain_swin: "mmpretrain_swin",
    mmpretrain_simmim: "mmpretrain_swin",
    mmseg_vit: "mmseg_vit",
    mmseg_mae: "mmseg_mae",
    mmseg_beit: "mmseg_beit",
    mmseg_swin: "mmseg_swin",
}


def difference(ours: Sequence[Tensor], theirs: Tensor | Sequence[Tensor]) -> float:
    """The largest difference, absolute."""
    theirs = [theirs] if isinstance(theirs, Tensor) else list(theirs)
    assert [tensor.shape for tensor in ours] == [tensor.shape for tensor in theirs]
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
