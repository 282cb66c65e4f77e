"""A shrunk copy of every trained config takes a step in fp32 and one in bf16 through the real runner, data and optimiser."""

from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mimeval.datasets.demo import CLASSES, DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare

CONFIGS = [
    "mae_vitb",
    "mae_vitl",
    "mae_vits",
    "mae_vith",
    "emae_vitb",
    "emae_vitl",
    "emae_vith",
    "simmim_vitb",
    "simmim_swinb",
    "simmim_swinb_100ep",
    "simmim_swinl",
    "maskfeat_vitb",
    "clustermim_pixel_vitb",
    "clustermim_pixel_vits",
    "clustermim_feature_vitb",
    "clustermim_feature_vits",
    "localmim_vitb",
    "localmim_vitl",
    "localmim_vith",
    "localmim_swinb",
    "localmim_swinl",
    "localmim_pixel_swinb",
    "mto_mae_vitb",
    "mto_simmim_vitb",
    "combined_vitb",
    "transfer/linear_vitb",
    "transfer/linear_swinb",
    "transfer/finetune_vitb",
    "transfer/finetune_vith",
    "transfer/finetune_localmim_swinb",
    "transfer/finetune_simmim_vitb",
    "transfer/finetune_simmim_swinb_100ep_192",
    "transfer/finetune_simmim_swinl",
    "transfer/finetune_beit_vitb",
    "transfer/maskrcnn_vitdet_vits",
    "transfer/maskrcnn_vitdet_vitb",
    "transfer/maskrcnn_vitdet_vitl",
    "transfer/maskrcnn_vitdet_vith",
    "transfer/maskrcnn_li2021_vitb",
    "transfer/maskrcnn_li2021_vitb_25ep",
    "transfer/maskrcnn_li2021_vitb_50ep",
    "transfer/maskrcnn_swinb",
    "transfer/upernet_vits",
    "transfer/upernet_vitb",
    "transfer/upernet_vitl",
    "transfer/upernet_localmim_vitb",
    "transfer/upernet_beit_vitb",
    "transfer/upernet_localmim_swinb",
    "transfer/upernet_swinb",
    "transfer/upernet_swinl",
]
# Widths, image sizes and sample counts that make a model small, whatever they belong to.
SMALLER = {1024: 64, 768: 24, 384: 24, 512: 32, 256: 16, 224: 32, 2048: 64}


def smaller(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: smaller(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(smaller(item) for item in value)
    return SMALLER.get(value, value) if type(value) is int else value


def fit_dense(model: Any, pipeline: list) -> None:
    """Neck, heads and image sizes of a detector or segmentor that fit the narrow backbone."""
    is_swin = "depths" in model.backbone.arch
    widths = [8, 16, 32, 64] if is_swin else [24] * 4
    neck = model.get("neck") or []
    for part in neck if isinstance(neck, list) else [neck]:
        if "embed_dim" in part:
            part.embed_dim = widths[0]
        elif "in_channels" in part:
            part.in_channels = widths if isinstance(part.in_channels, list) else widths[0]
        if "num_groups" in (part.get("norm_cfg") or {}):
            part.norm_cfg.num_groups = 4
    if "decode_head" in model:
        model.decode_head.in_channels, model.auxiliary_head.in_channels = widths, widths[2]
    for step in pipeline:  # Swin's multi-scale crops
        for branch in step.get("transforms", ()):
            for transform in branch:
                if "scales" in transform:
                    transform.scales = [(40, 96), (48, 96)]
                elif "crop_size" in transform:
                    transform.crop_size = (24, 40)


def fit_pretraining(config: Config, original_patch: int) -> None:
    """Images, masks and targets of a pre-training config that fit each other on small images."""
    model = config.model
    for target in model.targets:
        if target.get("patch_size") == 14:
            target.patch_size = 16
        if type(target.get("cell")) is float:
            # Cells are shares of a patch, which has 16 pixels from here on.
            target.cell = target.cell * 16 / original_patch
        if "centres" in target:
            target.centres = None
            if "backbone" in target.tokenizer.vectors:
                target.tokenizer.vectors.backbone.arch = dict(embed_dim=24, depth=2, num_heads=2)
    if model.masking.type == "BlockMasking":
        model.masking.update(patches=6, min_patches=2)
    if "depths" in model.backbone.arch or "encoding" in model or "mask_token" in model:
        # A grid of at least 2 x 2 cells of 32 pixels.
        model.backbone.img_size = 64
        for step in config.train_dataloader.dataset.dataset.pipeline:
            if step.type == "RandomResizedCrop":
                step.size = 64


def shrink(config: Config) -> Config:
    """The config with a narrow backbone of the same depth, small images, and the demo set in place of the real ones."""
    depth = {"large": 24, "huge": 32}.get(config.model.backbone.get("arch"), 12)
    small = Config(smaller(config._cfg_dict.to_dict()), filename=config.filename)
    backbone = small.model.backbone
    backbone.pop("init_cfg", None)
    backbone.arch = dict(embed_dim=24, depth=depth, num_heads=2)
    backbone.img_size = 64 if backbone.get("window_size") else 32
    original_patch = backbone.get("patch_size", 16)
    if backbone.get("patch_size") == 14:
        backbone.patch_size = 16
    if backbone.type.endswith("SwinTransformer"):
        backbone.pop("arch")
        backbone.update(arch=dict(embed_dim=8, depths=(2, 2, 6, 2), num_heads=(1, 2, 2, 2)), img_size=32)
    if small.model.get("type") == "MaskedImageModel":
        fit_pretraining(small, original_patch)
    if small.model.get("type") == "ImageClassifier":
        small.model.head.in_channels = 64 if "depths" in backbone.arch else 24
    if "neck" in small.model or "decode_head" in small.model:
        fit_dense(small.model, small.train_dataloader.dataset.dataset.pipeline)
    loader = small.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
    dataset = loader.dataset.dataset
    dataset.indices = 4
    if dataset.type == "CocoDataset":
        dataset.update(metainfo=dict(classes=CLASSES), filter_cfg=dict(min_size=0))
    if dataset.type == "ADE20KDataset":
        dataset.img_suffix = ".png"
    by_epoch = small.train_cfg.get("type") != "IterBasedTrainLoop"
    small.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1) if by_epoch else dict(by_epoch=False, max_iters=2)
    small.val_dataloader = small.val_cfg = small.val_evaluator = None
    small.optim_wrapper.accumulative_counts = 1
    small.param_scheduler = []
    return small


class Start(Hook):
    """Keeps the weights that training begins with."""

    def before_train(self, runner) -> None:
        self.weights = {name: p.detach().clone() for name, p in runner.model.named_parameters()}


class Precisions(Hook):
    """The first step in fp32, the second in bf16, whatever the config says."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        runner.optim_wrapper.precision = ("fp32", "bf16")[len(self.done)]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.done.append(runner.optim_wrapper.precision)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shrunk_copy_trains(name, data, tmp_path):
    config = shrink(load_config(name, data=str(data), known_keys=RUN_KEYS | {"protocol"}))
    config.pop("protocol", None)
    prepare(config, work_dir=str(tmp_path / "run"))
    runner = build_runner(config)
    start, precisions = Start(), Precisions()
    runner.register_hook(start)
    runner.register_hook(precisions)
    runner.train()
    assert precisions.done == ["fp32", "bf16"]
    for parameter_name, parameter in runner.model.named_parameters():
        assert torch.isfinite(parameter).all(), parameter_name
    frozen = {name for name, p in runner.model.named_parameters() if torch.equal(p, start.weights[name])}
    assert frozen < set(start.weights)
    assert {name for name, p in runner.model.named_parameters() if not p.requires_grad} <= frozen
