"""The backbone of one checkpoint inside a classifier, a detector and a segmentor, each OpenMMLab's own, loaded by its init_cfg."""

from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mimeval.backbones import SwinTransformer
from mimeval.checkpoints.settings import backbone_settings
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS


def features_in_three_models(path, architecture, images, **arguments: Any) -> dict[str, torch.Tensor]:
    """Output of the last block, before any norm, by model; arguments: of the backbone, e.g. num_heads in `arch`."""
    setup_environment()
    init_default_scope("mimeval")
    settings = backbone_settings(architecture, guess_heads=True)
    settings.update(arguments, init_cfg=dict(type="mimeval.Pretrained", checkpoint=str(path)))
    maps = dict(settings, out_type="maps")
    width = MODELS.build(maps).out_channels[-1]
    features = {}
    for name, model in (
        ("classifier", classifier(settings, width)),
        ("detector", detector(maps, architecture.patch_size)),
        ("segmentor", segmentor(maps, width)),
    ):
        model = MODELS.build(ConfigDict(model))
        model.init_weights()
        model.eval()
        last = model.backbone.layers[-1] if isinstance(model.backbone, SwinTransformer) else model.backbone.blocks[-1]
        seen = []
        last.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        with torch.inference_mode():
            model.extract_feat(images)
        features[name] = seen[0]
    return features


def classifier(backbone: dict, width: int) -> dict:
    """mmpretrain's, on the mean of the patches."""
    backbone = dict(backbone, out_type="mean" if backbone["out_type"] == "maps" else backbone["out_type"])
    neck = dict(type="mimeval.ProbeNeck", tokens="mean") if backbone["out_type"] == "tokens" else None
    head = dict(type="LinearClsHead", num_classes=3, in_channels=width)
    return dict(_scope_="mmpretrain", type="ImageClassifier", backbone=backbone, neck=neck, head=head)


def detector(backbone: dict, patch: int) -> dict:
    """mmdetection's Mask R-CNN with the demo's heads, windows as the checkpoint has them."""
    model = load_config("demo/detection_demo").model.to_dict()
    widths = MODELS.build(backbone).out_channels
    if len(widths) > 1:
        model["neck"] = dict(type="FPN", in_channels=list(widths), out_channels=48, num_outs=len(widths))
    else:
        scales = [4, 2, 1]
        model["neck"] = dict(type="mimeval.SimpleFeaturePyramid", in_channels=widths[0], out_channels=48, scales=scales)
        model["neck"]["num_outs"] = 3
    return dict(model, backbone=backbone)


def segmentor(backbone: dict, width: int) -> dict:
    """mmsegmentation's, with a convolutional head on the last map."""
    head = dict(type="FCNHead", in_channels=width, in_index=-1, channels=8, num_classes=3)
    head.update(norm_cfg=dict(type="BN"), num_convs=1, concat_input=False)
    preprocessor = dict(type="SegDataPreProcessor", size=(32, 32))
    return dict(
        _scope_="mmseg", type="EncoderDecoder", data_preprocessor=preprocessor, backbone=backbone, decode_head=head
    )
