"""What is installed: a wheel with the configs that runs outside the checkout; launchers that start what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mimeval

ROOT = Path(mimeval.__file__).parents[1]
CHECKOUT = pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the checkout's setup.py and tools")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked outside the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("mimeval", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "checkpoints").mkdir()
    shutil.copy(ROOT / "checkpoints" / "zoo.yaml", source / "checkpoints")
    for name in ("setup.py", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w"]
    subprocess.run([*command, str(out), str(source)], check=True, capture_output=True, timeout=120)
    [file] = out.glob("*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(site)
    return file, site


def run(site, *command, **options):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *command], cwd=site, env=environment, capture_output=True, text=True, timeout=120, **options
    )


@CHECKOUT
def test_the_wheel_holds_code_configs_and_requirements(wheel):
    file, site = wheel
    assert file.name == f"mimeval-{mimeval.__version__}-py3-none-any.whl"
    for folder, inside in (("mimeval", "mimeval"), ("configs", "mimeval/configs")):
        expected = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")}
        assert expected <= {path.relative_to(site / inside) for path in (site / inside).rglob("*.py")}
    assert (site / "mimeval" / "checkpoints" / "zoo.yaml").is_file()
    assert not (site / "tests").exists()
    [info] = site.glob("*.dist-info")
    assert "mimeval = mimeval.cli.main:main" in (info / "entry_points.txt").read_text()
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert (info / "METADATA").read_text().count("Requires-Dist:") == len(pins)


@CHECKOUT
def test_an_installed_wheel_runs_and_finds_its_configs(wheel):
    _, site = wheel
    done = run(site, "-m", "mimeval", "--help")
    assert done.returncode == 0 and "train" in done.stdout
    code = (
        "import mimeval.engine.config as c\n"
        "print(c.load_config('configs/emae_vitl.py').filename)\n"
        "print(c.find_config('mae_vitb'))"
    )
    done = run(site, "-m", "mimeval", "zoo", "show", "mae_pretrain_vit_base")
    assert done.returncode == 0 and "md5 8cad7c" in done.stdout, done.stderr
    done = run(site, "-c", code)
    shipped = site.resolve() / "mimeval" / "configs"
    assert done.stdout.split() == [str(shipped / "emae_vitl.py"), str(shipped / "mae_vitb.py")], done.stderr


@CHECKOUT
def test_every_requirement_is_pinned_and_explained():
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                pin, _, marker = line.partition(";")
                package, version = re.fullmatch(r"([\w-]+)==([\w.]+)", pin.strip()).groups()
                assert f"| {package} {version} |" in explained or "<" in marker, line


def fake(folder: Path, name: str) -> Path:
    """A program that prints its arguments, one per line."""
    path = folder / name
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


@CHECKOUT
@pytest.mark.parametrize(
    "tool, given, wanted",
    [
        ("dist_train", ["my config.py", "8", "--work-dir", "a b"], ["8", "train", "my config.py", "--work-dir", "a b"]),
        ("dist_test", ["my config.py", "a.pth", "8", "--json"], ["8", "test", "my config.py", "a.pth", "--json"]),
        ("dist_transfer", ["8", "a.pth", "--out", "a b"], ["8", "transfer", "a.pth", "--out", "a b"]),
    ],
)
def test_launchers_start_torchrun(tool, given, wanted, tmp_path):
    environment = {**os.environ, "PYTHON": str(fake(tmp_path, "python"))}
    done = subprocess.run(
        [ROOT / "tools" / f"{tool}.sh", *given], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["-m", "mimeval.engine.torchrun", *wanted]


@CHECKOUT
def test_slurm_train_starts_srun(tmp_path):
    fake(tmp_path, "srun")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "GPUS": "16", "SRUN_ARGS": "--mem 0"}
    environment["PYTHON"] = "python"
    command = [ROOT / "tools" / "slurm_train.sh", "gpu", "job", "c.py", "--resume"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.splitlines())
    assert words.startswith("--partition gpu --job-name job --ntasks 16 --ntasks-per-node 8 --gres gpu:8 ")
    assert words.endswith("--mem 0 python -m mimeval train c.py --launcher slurm --resume")


@CHECKOUT
@pytest.mark.parametrize("script", ["dist_train.sh", "slurm_train.sh"])
def test_launchers_say_how_they_are_used(script):
    done = subprocess.run([ROOT / "tools" / script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
