"""No path of mmengine reaches full pickle once the safe loader is installed; a run's own checkpoint still resumes."""

import contextlib
import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub, MMLogger
from mmengine.model import BaseModel, initialize
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as theirs
from mmengine.visualization import Visualizer
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

from mimeval.checkpoints.safe_loader import install_safe_loader
from mimeval.checkpoints.state import read_file
from mimeval.errors import UserError


class Bomb:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f"open({self.marker!r}, 'w').close()",)


class TinyModel(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.linear = nn.Linear(3, 2)

    def forward(self, inputs, mode="tensor"):
        out = self.linear(torch.stack(inputs) if isinstance(inputs, list) else inputs)
        return {"loss": out.square().mean()} if mode == "loss" else out


class Numbers(Dataset):
    metainfo = {"classes": ("a", "b"), "palette": np.arange(3)}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"inputs": torch.full((3,), float(index))}


def runner(work_dir, epochs=2, **kwargs):
    name = f"{work_dir.name}-{epochs}-{len(kwargs)}-{np.random.default_rng().integers(1 << 60)}"
    torch.manual_seed(0)
    return Runner(
        TinyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2, num_workers=0, dataset=Numbers(), sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=4),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1), logger=dict(type="LoggerHook", interval=1)
        ),
        randomness=dict(seed=0),
        experiment_name=name,
        log_level="ERROR",
        **kwargs,
    )


@pytest.fixture(autouse=True)
def leave_no_scope():
    # A runner sets the default scope, the message hub and the logger of the whole process.
    with contextlib.ExitStack() as stack:
        for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
            # Empty at first: what an earlier test left would decide which initialiser `Pretrained` is.
            stack.enter_context(mock.patch.object(manager, "_instance_dict", type(manager._instance_dict)()))
        yield


@pytest.fixture
def safe_loader():
    with (
        mock.patch.object(CheckpointLoader, "_schemes", CheckpointLoader._schemes.copy()),
        mock.patch.object(theirs, "_safe_torch_load", theirs._safe_torch_load),
        mock.patch.object(theirs, "load_url", theirs.load_url),
    ):
        install_safe_loader()
        yield


@pytest.fixture
def bomb(tmp_path):
    path = tmp_path / "bomb.pth"
    content = {"state_dict": TinyModel().state_dict(), "meta": {"epoch": 1, "iter": 1}, "x": Bomb(tmp_path / "ran")}
    torch.save(content, path)
    return path


def test_the_fork_runs_a_malicious_pickle(bomb, tmp_path):
    # In a process of its own: in this one an earlier test may have made the loader safe.
    code = "import sys; from mmengine.runner import checkpoint; checkpoint._load_checkpoint(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(bomb)], check=True, capture_output=True)
    assert (tmp_path / "ran").exists()  # so the tests below would notice


PATHS = {
    "_load_checkpoint": lambda path, tmp: theirs._load_checkpoint(path),
    "_load_checkpoint_with_prefix": lambda path, tmp: theirs._load_checkpoint_with_prefix("linear", path),
    "load_checkpoint": lambda path, tmp: theirs.load_checkpoint(TinyModel(), path),
    "CheckpointLoader": lambda path, tmp: CheckpointLoader.load_checkpoint(path),
    "load_from_local by name": lambda path, tmp: theirs.load_from_local(path, "cpu"),
    "_safe_torch_load": lambda path, tmp: theirs._safe_torch_load(path),
    "_safe_torch_load of a buffer": lambda path, tmp: theirs._safe_torch_load(open(path, "rb")),
    "Runner.load_checkpoint": lambda path, tmp: runner(tmp / "w").load_checkpoint(path),
    "Runner.resume": lambda path, tmp: runner(tmp / "w").resume(path),
    "Runner(load_from)": lambda path, tmp: runner(tmp / "w", load_from=path).train(),
    "Runner(load_from, resume)": lambda path, tmp: runner(tmp / "w", load_from=path, resume=True).train(),
    "init_cfg of a model": lambda path, tmp: TinyModel(dict(type="Pretrained", checkpoint=path)).init_weights(),
    "PretrainedInit": lambda path, tmp: initialize(TinyModel(), dict(type="Pretrained", checkpoint=path)),
    "PretrainedInit with prefix": lambda path, tmp: initialize(
        TinyModel(), dict(type="Pretrained", checkpoint=path, prefix="linear")
    ),
}


@pytest.mark.parametrize("way", PATHS)
def test_no_path_runs_a_malicious_pickle(safe_loader, bomb, tmp_path, way):
    with pytest.raises(UserError):
        PATHS[way](str(bomb), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_our_initialiser_does_not_run_a_malicious_pickle(bomb, tmp_path):
    with DefaultScope.overwrite_default_scope("mimeval"), pytest.raises(UserError, match="exec"):
        initialize(TinyModel(), dict(type="Pretrained", checkpoint=str(bomb)))
    assert not (tmp_path / "ran").exists()


def test_auto_resume_does_not_run_a_malicious_pickle(safe_loader, bomb, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "last_checkpoint").write_text(str(bomb))
    with pytest.raises(UserError):
        runner(tmp_path / "w", resume=True).train()
    assert not (tmp_path / "ran").exists()


def test_every_registered_scheme_is_ours(safe_loader, monkeypatch, bomb, tmp_path):
    def no_network(*_, **__):
        raise AssertionError("went to the network")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    assert {loader.__module__ for loader in CheckpointLoader._schemes.values()} == {"mimeval.checkpoints.safe_loader"}
    addresses = ["http://a/b.pth", "https://a/b.pth", "pavi://m", "s3://b/m", "x:s3://b/m", "petrel://b/m"]
    addresses += ["modelzoo://resnet50", "torchvision://resnet50", "open-mmlab://resnet50", "mmcls://vgg11"]
    for address in [*addresses, "openmmlab://resnet50"]:
        with pytest.raises(UserError, match="does not download"):
            CheckpointLoader.load_checkpoint(address)
    # Called by name, past the registry: a name that leads to a file here, and one that leads to the network.
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "open_mmlab.json").write_text(json.dumps({"bomb": str(bomb)}))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError):
        theirs.load_from_openmmlab("open-mmlab://bomb")
    with pytest.raises(UserError):
        theirs.load_from_http("https://example.org/x.pth")
    assert not (tmp_path / "ran").exists()


def test_resume_does_not_execute_the_config_text_of_a_checkpoint(safe_loader, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "text.pth"
    model = TinyModel()
    meta = {"epoch": 0, "iter": 0, "config": f"open({str(marker)!r}, 'w').close()"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    torch.save(
        {
            "state_dict": model.state_dict(),
            "meta": meta,
            "optimizer": optimizer.state_dict(),
            "param_schedulers": [],
            "message_hub": {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}},
        },
        path,
    )
    resumed = runner(tmp_path / "w", load_from=str(path), resume=True)
    resumed.train()
    assert resumed.epoch == 2 and not marker.exists()
    # What the runner does with it when it is left in, weights_only or not.
    with mock.patch.object(CheckpointLoader, "_schemes", {"": lambda name, map_location=None: torch.load(name)}):
        runner(tmp_path / "w", load_from=str(path), resume=True).train()
    assert marker.exists()


def test_a_runs_checkpoint_is_read_without_pickle_and_resumes(safe_loader, tmp_path):
    whole = runner(tmp_path / "whole", epochs=2)
    whole.train()
    content = read_file(tmp_path / "whole" / "epoch_1.pth")
    assert {"state_dict", "optimizer", "param_schedulers", "message_hub", "meta"} <= content.keys()
    loss = content["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(loss, HistoryBuffer) and len(loss.data[0]) == 2
    assert np.array_equal(content["meta"]["dataset_meta"]["palette"], np.arange(3))

    # A second run: other initial weights, then everything from the file.
    second = runner(tmp_path / "second", epochs=2, load_from=str(tmp_path / "whole" / "epoch_1.pth"), resume=True)
    nn.init.zeros_(second.model.linear.weight)
    second.train()
    assert (second.epoch, second.iter) == (whole.epoch, whole.iter) == (2, 4)
    assert torch.equal(second.model.linear.weight, whole.model.linear.weight)
    assert second.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()
    steps = [state["step"].item() for state in second.optim_wrapper.optimizer.state.values()]
    assert steps == [4.0, 4.0]
    assert len(second.message_hub.get_scalar("train/loss").data[0]) == 4


def test_mmengine_loads_safetensors_too(safe_loader, tmp_path):
    model = TinyModel()
    save_file(model.state_dict(), tmp_path / "x.safetensors")
    other = TinyModel()
    theirs.load_checkpoint(other, str(tmp_path / "x.safetensors"), strict=True)
    assert torch.equal(other.linear.weight, model.linear.weight)
