"""A run from a config to its files: trained, logged, resumed, tested, and explained where it cannot begin."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config

from mimeval.checkpoints.state import read_file
from mimeval.engine.config import load_config
from mimeval.engine.runner import RUN_KEYS, as_test, build_runner, prepare
from mimeval.errors import UserError
from tests.engine.ranks import in_ranks


@pytest.fixture
def start(config_file, data_root, tmp_path):
    """Builds a run of the tiny config; keyword arguments are those of `prepare`."""

    def build(*options, work_dir="run", **choices):
        cfg = load_config(config_file, options, str(data_root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


def weights(runner):
    model = getattr(runner.model, "module", runner.model)
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_leaves_checkpoints_scalars_and_its_config(start, tmp_path, capfd):
    runner = start(work_dir="run")
    before = weights(runner)
    runner.train()
    assert not equal(before, weights(runner))

    folder = tmp_path / "run"
    saved = read_file(folder / "epoch_2.pth")
    assert equal(saved["state_dict"], weights(runner))
    assert saved["meta"]["seed"] == 3 and saved["message_hub"]["runtime_info"]["images_seen"] == 16
    assert Config.fromfile(folder / "config.py").optim_wrapper.optimizer.lr == pytest.approx(1e-2 * 4 / 256)

    [scalars] = folder.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "loss_colour", "lr", "grad_norm", "images_per_s", "peak_bytes"} <= rows[0].keys()
    assert rows[0]["lr"] == pytest.approx(0.5 * 1e-2 * 4 / 256) and rows[0]["peak_bytes"] > 10**7
    assert list(folder.glob("*/vis_data/events.out.tfevents.*"))

    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("learning rate 0.0001563 = base_lr 0.01 x 4 / 256")
    assert "epoch 1/2  step 1/4  loss " in err.splitlines()[1]
    assert len(err.splitlines()) == 3 and "trained TinyReconstructor for 4 steps" in err.splitlines()[2]


def test_the_config_that_a_run_leaves_repeats_it(start, tmp_path):
    first = start(work_dir="first")
    first.train()
    # The config of a resumed run, too, is that of the whole run.
    start(work_dir="first", resume=str(tmp_path / "first" / "epoch_1.pth")).train()
    cfg = load_config(tmp_path / "first" / "config.py", known_keys=RUN_KEYS)
    prepare(cfg, work_dir=str(tmp_path / "second"))
    second = build_runner(cfg)
    second.train()
    assert equal(weights(first), weights(second))


@pytest.mark.parametrize("loop", ["epochs", "iterations"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(start, loop):
    options = {
        "epochs": lambda length: [f"train_cfg.max_epochs={length}"],
        "iterations": lambda length: [
            f"train_cfg={{'type':'IterBasedTrainLoop','max_iters':{length + 2},'val_interval':100}}",
            "+train_dataloader.sampler.infinite=True",
        ],
    }[loop]
    whole = start(*options(3), work_dir="whole")
    whole.train()
    start(*options(1), work_dir="parts").train()
    rest = start(*options(3), work_dir="parts", resume="auto")
    rest.train()
    assert rest.iter == whole.iter and equal(weights(whole), weights(rest))
    assert rest.message_hub.get_info("images_seen") == whole.message_hub.get_info("images_seen")
    assert rest.model.seen == whole.model.seen[-len(rest.model.seen) :] and len(rest.model.seen) < len(whole.model.seen)


def test_workers_do_not_change_a_run(start):
    alone, helped = start(work_dir="alone"), start("train_dataloader.num_workers=2", work_dir="helped")
    alone.train()
    helped.train()
    assert equal(weights(alone), weights(helped))


def test_two_processes_train_what_one_does(start, tmp_path):
    one = start(work_dir="one")
    one.train()

    def work():
        model = start("train_dataloader.batch_size=2", work_dir="two", launcher="pytorch").train().module
        return {name: value.numpy() for name, value in model.state_dict().items()}, model.seen

    (trained, first), (_, second) = in_ranks(work)
    for name, value in weights(one).items():
        assert torch.allclose(torch.from_numpy(trained[name]), value, atol=1e-7)
    assert sorted(first + second) == sorted(one.model.seen)
    again = load_config(tmp_path / "two" / "config.py", known_keys=RUN_KEYS)
    assert again.model_wrapper_cfg.device_ids is None and "device_ids" in again.model_wrapper_cfg
    assert sorted(path.name for path in (tmp_path / "two").glob("epoch_*.pth")) == ["epoch_1.pth", "epoch_2.pth"]


def test_a_trained_model_is_tested_without_its_training_data(start, config_file, data_root, tmp_path):
    trained = start()
    trained.train()
    options = [
        "+val_dataloader={'batch_size':5,'sampler':{'type':'DefaultSampler','shuffle':False},'dataset':"
        f"{{'type':'ImageFolder','folder':'{data_root}/imagenet/train',"
        "'pipeline':[{'type':'LoadRGB'},{'type':'ResizeCenterCrop','size':8},{'type':'PackImages'}]}}",
        "+val_evaluator={'type':'ColourError'}",
        "+val_cfg={}",
        "train_dataloader.dataset.dataset.folder=missing",
    ]
    cfg = load_config(config_file, options, known_keys=RUN_KEYS)
    prepare(cfg, work_dir=str(tmp_path / "test"))
    as_test(cfg, str(tmp_path / "run" / "epoch_2.pth"))
    runner = build_runner(cfg)
    metrics = runner.test()
    assert equal(weights(runner), weights(trained))
    images = torch.stack([data["inputs"] for data in runner.test_dataloader.dataset])
    expected = (runner.model(images) - images.float().mean((2, 3)) / 255).abs().mean().item()
    assert metrics == {"colour_error": pytest.approx(expected, rel=1e-5)}


def test_precision_and_seed_reach_the_run(start):
    runner = start(precision="bf16", seed=11)
    assert runner.seed == 11
    assert runner.build_optim_wrapper(runner.optim_wrapper).precision == "bf16"


def test_amp_means_bf16_on_a_cpu():
    cfg = Config(dict(optim_wrapper=dict(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")))
    prepare(cfg, amp=True)
    assert cfg.optim_wrapper == dict(type="AutocastOptimWrapper", precision="bf16")
    with pytest.raises(UserError, match="--amp --precision fp32"):
        prepare(cfg, amp=True, precision="fp32")


@pytest.mark.parametrize(
    "options, says",
    [
        (["model.type=TinyRecontructor"], "type='TinyRecontructor' is no model .* did you mean TinyReconstructor"),
        (["+model.depth=3"], "wrong argument: .*'depth'"),
        (["model.size=[1]"], "cannot be run .TypeError"),
        (["train_dataloader.dataset.dataset.folder=nowhere"], "nowhere: expected a folder of images, found nothing"),
        (["train_dataloader.dataset.dataset.pipeline.1.type=Crop"], "type='Crop' is no transform"),
        (["train_cfg.max_epochs=1.5"], "max_epochs"),
        (["optim_wrapper.optimizer.type=AdmW"], "type='AdmW' is no optimizer .* did you mean AdamW"),
        (["param_scheduler.0.start_factor=7"], "config .*tiny.py"),
        (["+custom_hooks=[{'type':'ReconstructionHok'}]"], "did you mean ReconstructionHook"),
    ],
)
def test_a_run_that_cannot_begin_is_explained_and_leaves_nothing(start, tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        start(*options, work_dir="runs/bad").train()
    assert not (tmp_path / "runs").exists()


def test_an_image_that_is_none_stops_the_run_by_name(start, data_root):
    (data_root / "imagenet" / "train" / "cat" / "0.png").write_text("no image")
    with pytest.raises(UserError, match=r"cat/0.png: expected a file that can be read"):
        start(strict_data=True).train()


def test_only_matching_checkpoints_are_resumed(start, tmp_path):
    start().train()
    ours = str(tmp_path / "run" / "epoch_2.pth")
    with pytest.raises(UserError, match="made with seed 3, this run has seed 4; add --seed 3"):
        start(work_dir="other", resume=ours, seed=4).train()
    with pytest.raises(UserError, match="expected the very parameters of TinyReconstructor .*layer.weight"):
        start("model.size=4", "train_dataloader.dataset.dataset.pipeline.1.size=4", work_dir="b", resume=ours).train()
    torch.save({"state_dict": read_file(ours)["state_dict"]}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="weights alone cannot be resumed"):
        start(work_dir="c", resume=str(tmp_path / "weights.pth")).train()
    with pytest.raises(UserError, match="--resume .*gone.pth: expected a checkpoint file, found none"):
        start(work_dir="d", resume=str(tmp_path / "gone.pth"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run", "tiny.py", "weights.pth"]


def test_resuming_where_nothing_is_begins_anew(start):
    runner = start(resume="auto")
    runner.train()
    assert runner.iter == 4


def test_keys_that_no_run_has_are_refused():
    with pytest.raises(UserError, match="'fp16' is no key of a run"):
        build_runner(Config(dict(model=dict(), fp16=dict(loss_scale=512.0))))


def test_runs_of_one_process_do_not_share_scalars(start):
    first, second = start(work_dir="first"), start(work_dir="second")
    assert first.message_hub is not second.message_hub and first.logger is not second.logger


def test_the_launcher_wants_its_environment(start, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--launcher pytorch: .* tools/dist_train.sh"):
        start(launcher="pytorch")
    with pytest.raises(UserError, match="--launcher slurm: .* no SLURM_PROCID"):
        start(launcher="slurm")
