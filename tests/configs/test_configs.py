"""Every shipped config opens with what a reader needs, builds, and has the size that its papers state."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS

CONFIGS = Path(__file__).parents[2] / "configs"
RUNNABLE = sorted(
    path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.py") if path.parts[-2] not in ("_base_", "suites")
)
LABELS = ("published", "reproduced here", "reproduced there", "reproduced by", "not run")

# Folders whose models are small on purpose, or are those of other configs.
UNCOUNTED = ("demo/", "examples/", "bench/", "tokenizers/")
# Parameters in all, fixed position tables included. Pre-training and classification: counted on the official models. BEiT's
# and SimMIM's ViT-B have 86,530,984; the 12 x 768 more here are key biases, which no softmax can tell from none.
# Published: ViTDet-B 111 M, L 331 M, H 662 M (2203.16527); the older benchmark's ViT-B 118.67 M (MIMDet); UperNet with BEiT-B
# 163 M, L 441 M (unilm), with Swin-B 121 M, L 234 M (Swin, mmseg); ViT-S 22 M (DeiT; 22,050,664 in
# timm), with ViTDet and UperNet none: encoder, pyramid and heads were counted by hand from their widths.
PARAMETERS = {
    "mae_vitb.py": 111_907_840,
    "mae_vitl.py": 329_541_888,
    "mae_vits.py": 28_330_880,
    "mae_vith.py": 657_074_508,
    "emae_vitb.py": 111_907_840,
    "emae_vitl.py": 329_541_888,
    "emae_vith.py": 657_074_508,
    "simmim_vitb.py": 86_256_720 + 12 * 768,
    "simmim_swinb.py": 89_874_104,
    "simmim_swinb_100ep.py": 89_874_104,
    "simmim_swinl.py": 199_881_204,
    # MAE's encoder, a mask token, and a linear layer to 2 x 2 cells of 9 bins of 3 colours.
    "maskfeat_vitb.py": 85_798_656 + 768 + 769 * 108,
    # MAE's with a class for each centre in place of 768 pixels; the tokenizer is no part of the model.
    "clustermim_pixel_vitb.py": 111_907_840 + 513 * (50 - 768),
    "clustermim_pixel_vits.py": 28_330_880 + 257 * (50 - 768),
    "clustermim_feature_vitb.py": 111_907_840 + 513 * (1000 - 768),
    "clustermim_feature_vits.py": 28_330_880 + 257 * (1000 - 768),
    # Trainable parameters as counted on the official models, and fixed tables, in which Swin's have a class row more here.
    "localmim_vitb.py": 89_916_140 + 353_024,
    "localmim_vitl.py": 307_651_480 + 403_456,
    # The official code cannot build it. MAE's encoder with a norm for each of 4 levels in place of the last; 4 times a linear layer, a
    # mask token, a block, a norm and positions of 257 tokens, 256 wide; heads to 54 values, as ViT-L's.
    "localmim_vith.py": 630_764_800 + 3 * 2560 + 4 * (1281 * 256 + 256 + 789_760 + 512 + 257 * 256) + 333_720,
    "localmim_swinb.py": 87_761_872 + 88_256,
    "localmim_swinl.py": 196_450_028 + 88_256,
    "localmim_pixel_swinb.py": 88_641_592 + 88_256,
    # MTO adds none to its host.
    "mto_mae_vitb.py": 111_907_840,
    "mto_simmim_vitb.py": 86_256_720 + 12 * 768,
    # LocalMIM's with 50 classes in place of 27 values, from 64, 128, 256 and 256 features.
    "combined_vitb.py": 89_916_140 + 353_024 + (65 + 129 + 257 + 257) * (50 - 27),
    "transfer/knn_vitb.py": 85_798_656,
    "transfer/knn_vitl.py": 303_301_632,
    "transfer/knn_vits.py": 21_665_664,
    "transfer/knn_vith.py": 630_764_800,
    "transfer/linear_vitb.py": 86_567_656,
    "transfer/linear_vitl.py": 304_326_632,
    "transfer/linear_vits.py": 22_050_664,
    "transfer/linear_vith.py": 632_045_800,
    # Swin-B without a classifier, and with one.
    "transfer/knn_swinb.py": 86_743_224,
    "transfer/linear_swinb.py": 87_768_224,
    "transfer/finetune_vitb.py": 86_567_656,
    "transfer/finetune_vitl.py": 304_326_632,
    "transfer/finetune_vits.py": 22_050_664,
    "transfer/finetune_vith.py": 632_045_800,
    "transfer/finetune_localmim_vitb.py": 86_567_656,
    "transfer/finetune_localmim_vitb_100ep.py": 86_567_656,
    "transfer/finetune_localmim_vitl.py": 304_326_632,
    "transfer/finetune_localmim_swinb.py": 87_768_224,
    "transfer/finetune_localmim_swinb_hog.py": 87_768_224,
    "transfer/finetune_localmim_swinb_100ep.py": 87_768_224,
    "transfer/finetune_localmim_swinl.py": 196_794_556,
    "transfer/finetune_simmim_vitb.py": 86_530_984 + 12 * 768,
    "transfer/finetune_simmim_swinb.py": 87_768_224,
    "transfer/finetune_simmim_swinb_100ep.py": 87_768_224,
    "transfer/finetune_simmim_swinb_100ep_192.py": 87_768_224 - 18_048,
    "transfer/finetune_simmim_swinl.py": 196_794_556,
    "transfer/finetune_beit_vitb.py": 86_530_984 + 12 * 768,
    "transfer/maskrcnn_vitdet_vitb.py": 110_895_792,
    "transfer/maskrcnn_vitdet_vitl.py": 330_684_656,
    "transfer/maskrcnn_vitdet_vits.py": 44_502_096,
    "transfer/maskrcnn_vitdet_vith.py": 661_203_760,
    "transfer/maskrcnn_li2021_vitb.py": 118_674_952,
    "transfer/maskrcnn_li2021_vitb_25ep.py": 118_674_952,
    "transfer/maskrcnn_li2021_vitb_50ep.py": 118_674_952,
    "transfer/maskrcnn_swinb.py": 107_141_800,
    "transfer/upernet_vitb.py": 163_877_228,
    "transfer/upernet_vitl.py": 441_472_812,
    "transfer/upernet_vits.py": 41_997_644,
    "transfer/upernet_localmim_vitb.py": 163_877_228,
    "transfer/upernet_beit_vitb.py": 163_090_028,
    "transfer/upernet_swinb.py": 121_279_716,
    "transfer/upernet_localmim_swinb.py": 121_279_716,
    "transfer/upernet_swinl.py": 233_759_936,
}


@pytest.mark.parametrize("name", RUNNABLE)
def test_header_says_how_to_run_and_what_to_expect(name):
    header = ast.get_docstring(ast.parse((CONFIGS / name).read_text()))
    for line in ("COMMAND", "hardware", "sources", "expected"):
        assert re.search(rf"^{line} +\S", header, re.MULTILINE), f"{name} lacks a line '{line}'"
    expected = header[header.index("\nexpected") :]
    assert any(label in expected for label in LABELS), f"{name}: the expected figure has no label of {LABELS}"


def test_every_paper_scale_config_is_counted():
    assert set(PARAMETERS) == {name for name in RUNNABLE if not name.startswith(UNCOUNTED)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_models_have_the_papers_size(name):
    setup_environment()
    config = load_config(f"configs/{name}")
    with DefaultScope.overwrite_default_scope("mimeval"), torch.device("meta"):
        model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
