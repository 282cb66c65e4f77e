"""A folder that timm.create_model('local-dir:FOLDER') or transformers' AutoModel.from_pretrained(FOLDER) loads as it is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mimeval.errors import UserError

from .convert import ConversionReport, convert, with_heads
from .formats import Recognised, other_shapes_blamed, recognise
from .formats.architecture import Swin, ViT
from .formats.huggingface import PROCESSOR
from .hf_config import hf_config
from .model_card import model_card
from .settings import backbone_settings
from .state import read_state
from .timm_config import timm_config

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
HF_MODELS = {"hf_vit": ("vit", "ViT"), "hf_swin": ("swin", "Swin"), "hf_dinov2": ("dinov2", "Dinov2")}
WITH_REGISTERS = ("dinov2_with_registers", "Dinov2WithRegisters")
# timm's architectures by what their arguments can say; all sizes are given besides.
TIMM_VIT, TIMM_SWIGLU, TIMM_SWIN = "vit_base_patch16_224", "vit_giant_patch14_dinov2", "swin_base_patch4_window7_224"
TIMM_EVA02 = "eva02_base_patch14_224"


def write_folder(
    src: str | os.PathLike,
    target: Path,
    group: str,
    force: bool,
    results: str | os.PathLike | None,
    image_size: int | None,
    num_heads: int | None,
    **reading: Any,
) -> list[str]:
    """Write the weights by `convert`, config and model card beside them; sentences for the report. UserError: see export."""
    _check_target(target, force)
    checkpoint = read_state(src, reading["trust_pickle"])
    found = recognise(checkpoint, reading["switches"])
    family = _family(found, group)
    known = found.architecture if num_heads is None else with_heads(src, found.architecture, num_heads)
    if backbone_settings(known, guess_heads=True) is None:
        raise UserError(
            f"{src}: {known}: config.json must state the sizes of images and of the MLP, which its shapes do not tell; get the whole file."
        )
    heads = _heads(src, known)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            folder = Path(name) / "folder"
            folder.mkdir()
            report = convert(src, folder / WEIGHTS, family, image_size, num_heads=num_heads, **reading)
            written = read_state(folder / WEIGHTS)
            mean, std = found.normalisation
            normalisation = list(mean), list(std)
            make = _timm_config if group == "timm" else _hf_config
            with other_shapes_blamed(src, found.family):
                configs = make(report, written.state, heads, normalisation)
            for file, content in configs.items():
                (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            card = model_card(report, found, normalisation, group, target.name, results)
            (folder / CARD).write_text(card, encoding="utf-8")
            _put(folder, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; nothing was left there.") from error
    return [*report.transformations, report.verification]


def _check_target(target: Path, force: bool) -> None:
    # A folder is replaced only where it is such a one.
    if not target.exists():
        return
    if not force or not target.is_dir():
        raise UserError(f"{target} exists; choose another name{' or give --force' if target.is_dir() else ''}.")
    others = sorted(entry.name for entry in target.iterdir() if entry.name not in (WEIGHTS, CONFIG, PROCESSOR, CARD))
    if others:
        raise UserError(
            f"{target} holds other files ({', '.join(others[:3])}); it is not replaced, choose another name."
        )


def _put(folder: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    os.chmod(folder, 0o755)
    os.replace(folder, target)


def _family(found: Recognised, group: str) -> str:
    # As an encoder: ViTMAE's class hides patches and shuffles the others.
    if group == "timm":
        return "timm"
    architecture = found.architecture
    if isinstance(architecture, Swin):
        return "hf_swin"
    return "hf_dinov2" if isinstance(architecture, ViT) and architecture.layer_scale else "hf_vit"


def _heads(src: str | os.PathLike, architecture: Any) -> int:
    if isinstance(architecture, Swin):
        return 0
    heads = getattr(architecture, "num_heads", None)
    if not heads:
        raise UserError(f"{src} does not say how many attention heads its encoder has; give --num-heads.")
    return heads


def _timm_config(
    report: ConversionReport, state: dict, heads: int, normalisation: tuple[list[float], list[float]]
) -> dict[str, Any]:
    a: Any = report.architecture
    usual = 1e-5 if isinstance(a, Swin) else 1e-6
    if a.norm_eps != usual:
        raise UserError(
            f"{report.source}: timm's config.json cannot say LayerNorm's epsilon; expected {usual:g}, which its models have, found "
            f"{a.norm_eps:g}; convert to timm and build the model with norm_layer instead."
        )
    height, width = a.image_size
    head = state.get("head.fc.weight" if isinstance(a, Swin) else "head.weight")
    classes = 0 if head is None else len(head)
    if isinstance(a, Swin):
        name, features = TIMM_SWIN, a.embed_dim * 2 ** (len(a.depths) - 1)
    else:
        plain = TIMM_SWIGLU if a.mlp == "swiglu" else TIMM_VIT
        name, features = TIMM_EVA02 if a.rel_pos == "rotary" else plain, a.embed_dim
    pretrained = dict(
        num_classes=classes,
        input_size=[3, height, width],
        fixed_input_size=True,
        interpolation="bicubic",
        crop_pct=0.875,
        mean=normalisation[0],
        std=normalisation[1],
        pool_size=None,
        first_conv="patch_embed.proj",
        classifier="head.fc" if isinstance(a, Swin) else "head",
        custom_load=False,
    )
    config = dict(
        architecture=name,
        num_classes=classes,
        num_features=features,
        model_args=timm_config(a, state, heads),
        pretrained_cfg=pretrained,
    )
    return {CONFIG: config}


def _hf_config(
    report: ConversionReport, state: dict, heads: int, normalisation: tuple[list[float], list[float]]
) -> dict[str, Any]:
    a: Any = report.architecture
    kind, name = WITH_REGISTERS if getattr(a, "registers", 0) else HF_MODELS[report.to]
    labels = state.get("classifier.weight")
    masked = any(key.startswith("decoder.") for key in state)
    task = "ForImageClassification" if labels is not None else "ForMaskedImageModeling" if masked else "Model"
    config: dict[str, Any] = dict(
        model_type=kind, architectures=[f"{name}{task}"], num_channels=3, hidden_act="gelu", qkv_bias=True
    )
    config |= hf_config(a, heads) | {"dtype": str(next(iter(state.values())).dtype).removeprefix("torch.")}
    if labels is not None:
        config["id2label"] = {str(number): f"LABEL_{number}" for number in range(len(labels))}
        config["label2id"] = {label: int(number) for number, label in config["id2label"].items()}
    if masked:
        config["encoder_stride"] = a.patch_size * (2 ** (len(a.depths) - 1) if isinstance(a, Swin) else 1)
    height, width = a.image_size
    processor = dict(
        image_processor_type="ViTImageProcessor",
        do_resize=True,
        size={"height": height, "width": width},
        resample=3,  # bicubic
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=normalisation[0],
        image_std=normalisation[1],
    )
    return {CONFIG: config, PROCESSOR: processor}
