"""Every method's own pre-training checkpoint, as the runner writes it, goes into every kind of downstream model."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mimeval.backbones import SwinTransformer
from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.formats import families_of
from mimeval.engine.config import load_config
from mimeval.registry import MODELS
from tests.checkpoints.three_models import features_in_three_models
from tests.configs.test_one_step import shrink

METHODS = [
    "mae_vitb",
    "emae_vitb",
    "simmim_vitb",
    "simmim_swinb",
    "maskfeat_vitb",
    "clustermim_pixel_vitb",
    "clustermim_feature_vitb",
    "localmim_vitb",
    "localmim_swinb",
    "localmim_pixel_swinb",
    "mto_mae_vitb",
    "mto_simmim_vitb",
    "combined_vitb",
]


@pytest.fixture(scope="module", params=METHODS)
def trained(request, tmp_path_factory):
    """The pre-training model of a shrunk config, every parameter moved off its start, and its checkpoint."""
    config = shrink(load_config(request.param))
    init_default_scope("mimeval")
    torch.manual_seed(3)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    path = tmp_path_factory.mktemp(request.param) / "epoch_1.pth"
    # What mmengine's runner writes.
    torch.save({"state_dict": model.state_dict(), "meta": {"cfg": config.pretty_text, "epoch": 1}}, path)
    return model, path


def last_block(backbone) -> torch.nn.Module:
    return backbone.layers[-1] if isinstance(backbone, SwinTransformer) else backbone.blocks[-1]


def before_the_norm(backbone, images) -> torch.Tensor:
    seen = []
    hook = last_block(backbone).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        backbone(images)
    hook.remove()
    return seen[0]


def test_the_backbone_comes_back_from_the_file_alone(trained):
    model, path = trained
    assert [family.name for family, _ in families_of(read_state(path))] == ["mimeval"]
    backbone = load_backbone(path)
    report = backbone.load_report
    assert report.fresh == {} and report.waived == {} and report.parameters == report.total_parameters
    assert not any(name.startswith("backbone.") and "norm" not in name for name in report.left_over)
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before_the_norm(backbone, images), before_the_norm(model.backbone, images))
    # The last block's tokens have the norm that pre-training gave them.
    norms = getattr(model.encoding, "tap_norms", None) or getattr(model.backbone, "tap_norms", None)
    assert torch.equal(backbone.norm.weight, model.backbone.norm.weight if norms is None else norms[-1].weight)
    assert ("taken for norm" in str(report)) == (norms is not None)


def test_features_are_the_same_in_classifier_detector_and_segmentor(trained):
    model, path = trained
    architecture = load_backbone(path).load_report.architecture
    images = torch.randn(1, 3, *model.image_size, generator=torch.Generator().manual_seed(1))
    features = features_in_three_models(path, architecture, images)
    expected = before_the_norm(model.backbone, images)
    assert all(torch.equal(found, expected) for found in features.values()), list(features)


def test_fine_tuning_on_the_mean_says_what_is_new(trained):
    model, path = trained
    if isinstance(model.backbone, SwinTransformer):
        # LocalMIM's norm of pooled features is new; SimMIM's and Swin's is the pre-trained one.
        fresh = load_backbone(path, norm_after_pool=True).load_report.fresh
        assert set(fresh) == (set() if model.backbone.out_type == "mean" else {"norm.weight", "norm.bias"})
    else:
        fresh = load_backbone(path, out_type="mean", taps=None).load_report.fresh
        assert set(fresh) == {"fc_norm.weight", "fc_norm.bias"}


@pytest.mark.parametrize("trained", ["simmim_vitb"], indirect=True)
def test_one_table_becomes_one_for_each_block(trained):
    model, path = trained
    own = load_backbone(path, rel_pos="bias")
    assert "the shared table of relative biases copied to 12 blocks" in own.load_report.transformations
    images = torch.randn(2, 3, *model.image_size)
    assert torch.equal(before_the_norm(own, images), before_the_norm(model.backbone, images))
    larger = load_backbone(path, rel_pos="bias", img_size=96, switches=["tables=geometric"])
    assert "relative biases (12) resampled 4x4 -> 6x6 geometric" in larger.load_report.transformations


@pytest.mark.parametrize("trained", ["simmim_swinb"], indirect=True)
@pytest.mark.parametrize("way", ["bicubic", "geometric"])
def test_windows_of_six_become_windows_of_seven(trained, way):
    _, path = trained
    swin = load_backbone(path, window_size=7, out_type="maps", switches=[f"tables={way}"])
    # At 64 pixels the last two stages have windows of their own size in both.
    assert f"tables of windows (4) resampled 6x6 -> 7x7 {way}" in swin.load_report.transformations
    assert [layer.blocks[0].window_size[0] for layer in swin.layers] == [7, 7, 4, 2]
    assert swin.load_report.parameters == swin.load_report.total_parameters
