"""What is found out before hours are spent: whether each checkpoint fits each backbone, and whether the data is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mimeval.checkpoints.load import load_backbone
from mimeval.datasets.layouts import build_checked, check_same_classes, inner_config
from mimeval.engine.faults import blame_config
from mimeval.errors import UserError
from mimeval.quiet import without_prints
from mimeval.registry import MODELS

LOADERS = ("train_dataloader", "val_dataloader")


def check_checkpoints(cfgs: Iterable[Config]) -> None:
    """Loads each checkpoint into each backbone that it is meant for, strictly, and throws the result away.

    Raises:
        UserError: a backbone cannot be built, its probe misreads its tokens, or a checkpoint does not fit one.
    """
    init_default_scope("mimeval")
    done = set()
    for cfg in cfgs:
        backbone = cfg.model.backbone.to_dict()
        identity = json.dumps(backbone, sort_keys=True, default=repr)
        init = backbone.pop("init_cfg", None)
        if init is None or identity in done:
            continue
        done.add(identity)
        with blame_config(cfg.filename):
            model = MODELS.build(backbone)
        _check_neck(cfg, model)
        load_backbone(model, init["checkpoint"], init["waive"], init["trust_pickle"], init.get("switches", ()))


def _check_neck(cfg: Config, backbone: Any) -> None:
    """A probe that takes the first patch for a class token, or a class token for a patch, runs and is wrong."""
    neck = cfg.model.get("neck") or {}
    if (
        not str(neck.get("type")).endswith("ProbeNeck")
        or neck.get("tokens") == "pooled"
        or not hasattr(backbone, "cls_token")
    ):
        return
    has_token = backbone.cls_token is not None
    if neck.get("class_token", True) != has_token:
        raise UserError(
            f"config {cfg.filename}: the backbone has {'a' if has_token else 'no'} class token, but model.neck.class_token is "
            f"{not has_token}; set model.neck.class_token={has_token}{'' if has_token else ' and model.neck.tokens=mean'}."
        )


def check_data(cfgs: Iterable[Config]) -> None:
    """Looks for every folder, annotation file and sample that the tasks read.

    Raises:
        UserError: one is missing or empty, or the two splits of a task have other classes.
    """
    init_default_scope("mimeval")
    built: dict[str, Any] = {}
    for cfg in cfgs:
        splits = []
        for loader in LOADERS:
            for key, path in _places(cfg[loader].dataset):
                hint = "give the folder that contains imagenet/, coco/ and ade20k/, or a data.yaml, with --data"
                where = f"data of {cfg.protocol.task} ({loader}, {key})"
                if not path.exists():
                    raise UserError(f"{where}: expected {path}, found nothing there; {hint}.")
                if path.is_dir() and not any(path.iterdir()):
                    raise UserError(f"{where}: expected files in {path}, found an empty folder; {hint}.")
            identity = repr(inner_config(cfg[loader].dataset))
            if identity not in built:
                with blame_config(cfg.filename), without_prints():
                    built[identity] = build_checked(cfg[loader].dataset)
            splits.append(built[identity])
        check_same_classes(*splits)
        _check_head(cfg, splits[0])


def _check_head(cfg: Config, dataset: Any) -> None:
    """A classification head has one output for each class of its data: 1000 outputs for 10 classes train, but mean nothing."""
    outputs = (cfg.model.get("head") or {}).get("num_classes")
    classes = dataset.metainfo.get("classes")
    if outputs and classes and outputs != len(classes):
        task = cfg.protocol.task
        keys = " ".join(
            f"{task}.{key}={len(classes)}" for key in ("model.head.num_classes", "model.data_preprocessor.num_classes")
        )
        raise UserError(
            f"config {cfg.filename}: model.head.num_classes is {outputs}, but the training images have {len(classes)} classes; "
            f"add --cfg-options {keys}."
        )


def _places(dataset: Any) -> Iterator[tuple[str, Path]]:
    """Paths in a dataset's config: ours (folder, ann_file, classes), mmdet's and mmseg's (ann_file, data_prefix), below its data_root."""
    dataset = inner_config(dataset)
    root = Path(dataset.get("data_root") or "")
    for key in ("folder", "ann_file", "classes"):
        if isinstance(dataset.get(key), str) and dataset[key]:
            yield key, root / dataset[key]
    for key, prefix in (dataset.get("data_prefix") or {}).items():
        yield f"data_prefix.{key}", root / prefix
