import json

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from mimeval.analysis.heterogeneity import LABEL, Curve, Heterogeneity, load_model, measure, summary
from mimeval.checkpoints.state import write_safetensors
from mimeval.cli.main import main
from mimeval.datasets.damaged import METAINFO
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.errors import UserError
from mimeval.pretrain.heterogeneity import HeterogeneityWatches
from mimeval.registry import MODELS
from tests.pretrain.test_mask_token import HOSTS, NOTHING, make

PREPROCESSOR = dict(type="mmengine.ImgDataPreprocessor", mean=[127.0] * 3, std=[64.0] * 3)
SITES = {"MAE": ["decoders.0"], "EMAE": ["decoders.0"], "SimMIM": ["encoder"], "LocalMIM": ["decoders.0", "decoders.1"]}


def batch(count: int, start: int = 0, damaged: tuple[int, ...] = ()) -> dict:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=random)[start : start + count]
    samples = [DataSample(metainfo={METAINFO: "broken"} if k in damaged else {}) for k in range(count)]
    return dict(inputs=list(images), data_samples=samples)


def model(host: str, mto: dict | None = None):
    return make(host, mto, data_preprocessor=PREPROCESSOR).eval()


@pytest.mark.parametrize("host", HOSTS)
def test_a_curve_for_each_run_of_blocks_with_mask_tokens(host):
    built = model(host)
    found = measure(built, [batch(4), batch(3, start=4)], seed=5)
    assert [curve.site for curve in found.curves] == SITES[host] and found.images == 7
    # In one go, by hand from the watches.
    inputs = built.data_preprocessor({"inputs": torch.stack(batch(7)["inputs"])})["inputs"]
    masks, watches = (
        built.masking(torch.tensor([[5, 0, i] for i in range(7)]), built.mask_grid),
        HeterogeneityWatches(0.1),
    )
    built.predict(inputs, masks, watches)
    for curve, seen in zip(found.curves, watches.curves, strict=True):
        each = torch.stack(seen).detach().unflatten(1, (7, -1)).mean(2)
        assert curve.values == pytest.approx(each.mean(1).tolist(), rel=1e-5)
        assert curve.errors == pytest.approx((each.std(1) / 7**0.5).tolist(), rel=1e-3)


def test_the_temperature_sharpens():
    cold, warm = (measure(model("MAE"), [batch(3)], t).curves[0].values for t in (0.05, 0.5))
    assert all(a < b for a, b in zip(cold, warm, strict=True))


def test_a_model_with_mto_is_measured_as_it_runs():
    plain, gated = (
        measure(model("MAE", mto), [batch(3)]).curves[0].values for mto in (None, NOTHING | dict(threshold=0.0))
    )
    assert plain[0] == gated[0] and plain[1] != gated[1]
    # Whatever its own temperature is.
    sharp = measure(model("MAE", NOTHING | dict(threshold=0.0, temperature=0.01)), [batch(3)]).curves[0].values
    assert sharp == gated


def test_damaged_images_are_left_out():
    built = model("MAE")
    found = measure(built, [batch(2), batch(3, start=2, damaged=(0, 1, 2))])
    assert (found.images, found.unreadable) == (2, 3) and found.curves == measure(built, [batch(2)]).curves
    assert "3 damaged images left out" in summary(found, "x")
    with pytest.raises(UserError, match="at least one image that can be read"):
        measure(built, [batch(2, damaged=(0, 1))])


def test_what_is_said():
    curves = [Curve("decoders.0", [0.9, 0.95, 0.5], [0.01, 0.02, 0.0]), Curve("decoders.1", [0.7, 0.6], [0.1, 0.0])]
    found = Heterogeneity(curves, 0.1, images=4, parts=2, seed=0)
    assert [curve.rises for curve in curves] == [[0], []]
    lines = summary(found, "x.pth").splitlines()
    assert LABEL in lines[0] and "4 images in 2 parts" in lines[1]
    assert lines[3].split() == ["0", "0.9000", "+-", "0.0100", "0.7000", "+-", "0.1000"]
    assert lines[5].split() == ["2", "0.5000", "+-", "0.0000"] and len(lines) == 6
    assert found.as_dict()["curves"][0] == dict(
        site="decoders.0", values=[0.9, 0.95, 0.5], errors=[0.01, 0.02, 0.0], rises=[0]
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    state = MODELS.build(load_config("demo/emae_demo").model).state_dict()
    path = tmp_path_factory.mktemp("checkpoint") / "emae.safetensors"
    write_safetensors(path, {name: value for name, value in state.items()}, {})
    return path


def test_a_checkpoint_on_a_folder(data, checkpoint, capsys):
    command = [
        "analyze",
        "heterogeneity",
        "demo/emae_demo",
        str(checkpoint),
        str(data),
        "--images",
        "20",
        "--jobs",
        "1",
    ]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["definition"], found["images"], found["parts"]) == (
        "token heterogeneity",
        LABEL,
        20,
        4,
    )
    (curve,) = found["curves"]
    assert len(curve["values"]) == 2 and all(0 < value <= 1 for value in curve["values"])
    assert main(command) == 0
    table = capsys.readouterr().out
    assert f"{curve['values'][1]:.4f} +- {curve['errors'][1]:.4f}" in table


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("transfer/finetune_vitb", "expected a pre-training config.*found ImageClassifier"),
        ("demo/clustermim_demo", "expected the very parameters of the model.*1 unexpected|of another shape"),
        ("mae_vits", "expected the very parameters of the model in .*mae_vits.py, decoders included, found .* missing"),
    ],
)
def test_another_config_is_refused(config, match, checkpoint):
    with pytest.raises(UserError, match=match):
        load_model(load_config(config), str(checkpoint))


def test_windows_are_refused(tmp_path):
    config = load_config("simmim_swinb")
    config.model.backbone.update(arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)), img_size=64, window_size=2)
    config.model.targets[0].patch_size = 8
    config.model.masking.unit = 8

    init_default_scope("mimeval")
    state = MODELS.build(config.model).state_dict()
    write_safetensors(tmp_path / "swin.safetensors", {k: v.contiguous() for k, v in state.items()}, {})
    with pytest.raises(UserError, match="not defined there"):
        load_model(config, str(tmp_path / "swin.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo/emae_demo", "gone.pth", "."), "gone.pth"),
        (("demo/finetune_demo", "CHECKPOINT", "."), "expected a pre-training config"),
        (("demo/emae_demo", "CHECKPOINT", "nowhere"), "nowhere"),
        (("demo/emae_demo", "CHECKPOINT", "DATA", "--images", "31"), "expected at most the 30 images"),
    ],
)
def test_bad_input_is_a_sentence(arguments, says, checkpoint, data, capsys):
    given = {"CHECKPOINT": str(checkpoint), "DATA": str(data)}
    assert main(["analyze", "heterogeneity", *(given.get(a, a) for a in arguments), "--jobs", "1"]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error and error.count("\n") == 1


def test_a_temperature_is_above_zero(capsys):
    assert main(["analyze", "heterogeneity", "demo/emae_demo", "x", "y", "--temperature", "0"]) == 2
    assert "expected a number above 0, found '0'" in capsys.readouterr().err
