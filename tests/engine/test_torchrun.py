"""tools/dist_*.sh: settings from the environment, what is wrong with them, several machines, one sentence for all processes."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from mimeval.checkpoints.state import read_file
from mimeval.cli.main import main
from mimeval.engine import torchrun
from mimeval.engine.torchrun import torchrun_settings
from mimeval.errors import UserError
from tests.cli.test_train import EVALUATION

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("NNODES", "NODE_RANK", "MASTER_ADDR", "PORT", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def taken():
    """A port that something listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return str(probe.getsockname()[1])


def test_settings_come_from_the_environment(monkeypatch):
    port = free_port()
    for name, value in dict(NNODES="2", NODE_RANK="0", MASTER_ADDR="host0", PORT=port).items():
        monkeypatch.setenv(name, value)
    settings, told = torchrun_settings(["4", "train", "a config.py", "--seed", "1"])
    assert settings[:5] == [
        "--nnodes=2",
        "--node_rank=0",
        "--master_addr=host0",
        f"--master_port={port}",
        "--nproc_per_node=4",
    ]
    assert settings[5:] == ["-m", "mimeval", "train", "a config.py", "--seed", "1", "--launcher", "pytorch"]
    assert told["MASTER_ADDR"] == "host0" and told["PORT"] == port and int(told["OMP_NUM_THREADS"]) >= 1


def test_one_machine_needs_no_port(monkeypatch):
    monkeypatch.setattr(torchrun, "usable_cores", lambda: 9)
    first, second = (torchrun_settings(["2", "train", "config.py"])[1] for _ in range(2))
    assert first["PORT"] != second["PORT"] and "29500" not in (first["PORT"], second["PORT"])
    assert first["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert torchrun_settings(["2", "train", "config.py"])[1]["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    "arguments, variables, says",
    [
        (["2"], {}, "too few arguments"),
        (["two", "train"], {}, "GPUS: expected an integer from 1 on, found 'two'"),
        (["0", "train"], {}, "GPUS: expected an integer from 1 on, found '0'"),
        (["2", "train"], {"NNODES": "x"}, "NNODES: expected an integer"),
        (["2", "train"], {"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "NODE_RANK: expected 0 to 1"),
        (["2", "train"], {"NNODES": "2"}, "MASTER_ADDR: expected the address of the first"),
        (["2", "train"], {"PORT": "https"}, "PORT: expected an integer"),
        (["2", "train"], {"PORT": "99999"}, "PORT: expected a free port, found 99999"),
    ],
)
def test_what_is_wrong_is_a_sentence(arguments, variables, says, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=says):
        torchrun_settings(arguments)


def launch(script, *arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.Popen(
        [f"tools/{script}", *arguments],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"} | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_port_in_use_is_a_sentence(config_file, data_root, taken):
    run = launch("dist_train.sh", str(config_file), "2", "--data", str(data_root), PORT=str(taken))
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (2, "")
    assert err == (
        f"mimeval: PORT: expected a free port, found {taken} in use, by another run perhaps; set PORT to another\n"
    )


def test_usage_is_a_line():
    for script in ("dist_train.sh", "dist_test.sh", "dist_transfer.sh"):
        run = launch(script)
        assert run.communicate(timeout=20)[1].startswith("usage: ") and run.returncode == 2


def test_two_machines_train_and_three_processes_evaluate(config_file, data_root, tmp_path, capsys):
    """Two launchers with a process each, as on two hosts."""
    options = [
        "--data",
        str(data_root),
        "--work-dir",
        str(tmp_path / "run"),
        "--cfg-options",
        "train_dataloader.batch_size=2",
    ]
    variables = dict(NNODES="2", MASTER_ADDR="127.0.0.1", PORT=free_port())
    nodes = [launch("dist_train.sh", str(config_file), "1", *options, NODE_RANK=str(n), **variables) for n in (1, 0)]
    (_, second), (_, first) = (node.communicate(timeout=200) for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], first + second
    assert "batch 4 = 2 x 2 processes x 1 accumulated" in first and second == ""
    checkpoint = tmp_path / "run" / "epoch_2.pth"
    assert read_file(checkpoint)["message_hub"]["runtime_info"]["images_seen"] == 16

    (tmp_path / "evaluation.py").write_text(EVALUATION.replace("batch_size=5", "batch_size=3"))
    test = [str(tmp_path / "evaluation.py"), str(checkpoint)]
    more = ["--data", str(data_root), "--work-dir", str(tmp_path / "test"), "--json"]
    out, err = launch("dist_test.sh", *test, "3", *more).communicate(timeout=200)
    assert main(["test", *test, *more]) == 0
    assert out == capsys.readouterr().out and "colour_error" in out, err


def test_an_error_of_all_processes_is_said_once(config_file, data_root, tmp_path):
    options = ["--data", str(data_root), "--work-dir", str(tmp_path / "run"), "--cfg-options", "model.size=9"]
    run = launch("dist_train.sh", str(config_file), "2", *options)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (2, "")
    said = [line for line in err.splitlines() if not line.startswith("learning rate")]
    assert len(said) == 1 and said[0].startswith("mimeval: config ") and "shapes" in said[0]
