"""Wrong input of every kind: one sentence that names the file or key, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.pretrain.tokenizers import write_tokenizer
from mimeval.registry import MODELS

DEMO = "configs/demo/emae_demo.py"
SHRUNK = ["train_cfg.max_epochs=1", "param_scheduler.0.warmup=0", "train_dataloader.batch_size=8"]
TASKS = [
    "knn.protocol.k=5",
    *(f"{task}.train_cfg.{key}=1" for task in ("detection", "segmentation") for key in ("max_iters", "val_interval")),
    *(f"{task}.param_scheduler.0.warmup=0" for task in ("detection", "segmentation")),
    # The whole set in one batch, so that the damaged sample is in it.
    *(f"{task}.train_dataloader.batch_size=40" for task in ("detection", "segmentation")),
]


class Calls:
    """A pickle that runs a command when it is read."""

    def __reduce__(self):
        return os.system, ("touch PWNED",)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    setup_environment()
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    """The demo backbone's state dict, and such as do not fit it."""
    setup_environment()
    base = dict(load_config("demo/knn_demo").model.backbone, frozen=False)

    def state(**changes):
        return {name: value.clone() for name, value in MODELS.build({**base, **changes}).state_dict().items()}

    good = state()
    return {
        "good": good,
        "wide": state(arch=dict(embed_dim=32, depth=4, num_heads=4)),
        "shallow": state(arch=dict(embed_dim=64, depth=2, num_heads=4)),
        "patch": state(patch_size=8),
        "strangers": {"conv1.weight": torch.zeros(3, 3)},
        "partly": {name: value for name, value in good.items() if "attn.proj" not in name},
        "infinite": {**good, "blocks.1.mlp.fc1.weight": torch.full((256, 64), float("nan"))},
        "sparse": {**good, "norm.weight": good["norm.weight"].to_sparse()},
    }


@pytest.fixture(scope="module")
def files(states, tmp_path_factory) -> Path:
    """A checkpoint file of every kind."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, state in states.items():
        torch.save({"model": state}, folder / f"{name}.pth")
    whole = (folder / "good.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.pth").write_bytes(whole[:200] + bytes(200) + whole[400:])
    (folder / "empty.pth").touch()
    (folder / "text.pth").write_text("no checkpoint")
    (folder / "folder.pth").mkdir()
    torch.save({"model": states["good"], "x": Calls()}, folder / "foreign.pth")
    torch.save([1, 2], folder / "list.pth")
    return folder


def fails(capsys, out: Path, arguments: list, *says: str, progress: bool = False) -> None:
    """The command line exits with 2 and says all of `says` in its one line (after its progress), and leaves nothing."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 or progress, lines
    assert lines[-1].startswith("mimeval: ")
    for words in says:
        assert words in lines[-1], lines[-1]
    assert not out.exists()


CHECKPOINTS = {
    "missing": "missing.pth",
    "empty": "empty.pth is empty (0 bytes)",
    "text": "text.pth is no checkpoint",
    "cut": "cut.pth is cut short",
    "damaged": "damaged.pth is damaged or no checkpoint: its pickle",
    "folder": "folder.pth: expected a",
    "foreign": "calls for posix.system",
    "list": "list.pth holds a list",
    "strangers": "none of its 1 tensors fits a backbone",
    "infinite": "not finite (NaN or infinite) in blocks.1.mlp.fc1.weight",
    "sparse": "found norm.weight sparse",
}
MISFITS = {
    "wide": "wide.pth: the checkpoint is ViT width 32",
    "shallow": "shallow.pth: the checkpoint is ViT width 64 depth 2",
    "partly": "partly.pth (family mae) does not fit the config's backbone: 8 of the backbone's 54 tensors missing",
}


# Reading is tested with convert; these are what a transfer alone finds out, and that it reads in the same way.
@pytest.mark.parametrize(
    "name, says",
    [(name, CHECKPOINTS[name]) for name in ("missing", "empty", "foreign", "infinite")] + [*MISFITS.items()],
)
def test_transfer_of_a_wrong_checkpoint(name, says, files, data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["transfer", files / f"{name}.pth", "--data", data, "--out", out, "--tasks", "knn", "--no-random"]
    fails(capsys, out, command, says)
    assert not Path("PWNED").exists()


def test_transfer_of_patches_that_a_recipe_of_maps_does_not_have(files, data, tmp_path, capsys):
    command = [
        "transfer",
        files / "patch.pth",
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--tasks",
        "segmentation,knn",
    ]
    says = "the encoder's patches 8 (mimeval convert --patch-size 4 resizes them); leave it out (--tasks knn), or give a suite"
    fails(capsys, tmp_path / "out", command, says)


@pytest.mark.parametrize(
    "name, says",
    [*CHECKPOINTS.items(), ("partly", "expected a whole encoder, ViT width 64 depth 4 patch 4, found none")],
)
def test_convert_of_a_wrong_checkpoint(name, says, files, tmp_path, capsys):
    fails(capsys, tmp_path / "out", ["convert", files / f"{name}.pth", tmp_path / "out" / "x.safetensors"], says)
    assert not Path("PWNED").exists()


@pytest.mark.parametrize("name", ["foreign", "good"])
def test_resuming_and_testing_from_a_wrong_checkpoint(name, files, data, tmp_path, capsys):
    out, file = tmp_path / "out", files / f"{name}.pth"
    run = ["--data", data, "--work-dir", out]
    fails(capsys, out, ["train", DEMO, *run, "--resume", file, "--cfg-options", *SHRUNK], f"{name}.pth")
    if name == "good":  # a backbone is no whole model
        fails(
            capsys, out, ["test", "configs/demo/finetune_demo.py", file, *run], "good.pth: expected the very parameters"
        )


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["convert", "good.pth", "x.txt"], "x.txt: the extension"),
        (["convert", "good.pth", "good.pth"], "good.pth exists"),
        (["convert", "good.pth", "x.pth", "--image-size", "30"], "--image-size 30"),
        (["convert", "https://a.b/c.pth", "x.pth"], "https://a.b/c.pth: mimeval does not download"),
        (["convert", "good.pth", ""], "the argument after good.pth is empty"),
        (["convert", "good.pth", "x.pth", "--force", "--fast"], "--fast; see mimeval convert --help"),
        (
            ["bench", "step", "configs/demo/knn_demo.py"],
            "knn_demo.py: expected a model that is pre-trained, or a classifier",
        ),
        (["bench", "step", DEMO, "--batch", "0"], "--batch"),
        (["bench", "step", DEMO, "--precision", "fp8"], "not fp8"),
        (["tokenize", "fit", "configs/tokenizers/pixel.py"], "arguments are required: --out"),
        (["tokenize", "fit", "configs/tokenizers/pixel.py", "--out", "x.pth"], "x.pth: expected a file that ends in"),
        (["tokenize", "fit", "configs/tokenizers/pixel.py", "--out", "good.pth/x.safetensors"], "folder that can be"),
        (["tokenize", "fit", "configs/mae_vitb.py", "--out", "x.safetensors"], "is no key of a run and not read"),
        (
            ["analyze", "tcas", "good.pth", "."],
            "good.pth: expected a file that `mimeval tokenize fit` wrote, found another",
        ),
        (
            ["analyze", "tcas", "gone.safetensors", "."],
            "gone.safetensors: expected a file that `mimeval tokenize fit` wrote",
        ),
        (["analyze", "tcas", "good.pth", ".", "--bootstrap", "1"], "--bootstrap 1: expected 0 or at least 2"),
        (["analyze", "tcas", "good.pth", ".", "--images", "0"], "--images: expected an integer from 1 on"),
        (["report", "nowhere"], "nowhere: expected the folder"),
        (["report", "."], "has no results to report"),
        (
            ["data", "demo", "out", "--train", "12"],
            "--train 12: the first 12 images of seed 0 do not show all ten digits",
        ),
        (["data", "demo", "out", "--seed", "-3"], "argument --seed: expected an integer from 0 to 4294967295"),
        (["data", "demo", "out", "--size", "8"], "32 to 96 pixels, not 8"),
        (["data", "demo", "."], "exists and is no demo set"),
        (["data", "demo", "good.pth/below"], "good.pth/below could not be written"),
        (["data", "check", "."], "arguments are required: --layout"),
        (["data", "check", ".", "--layout", "voc"], "invalid choice: 'voc'"),
        (["data", "check", "gone", "--layout", "coco"], "gone: expected a folder with the layout coco"),
        (["data", "check", "good.pth", "--layout", "coco"], "or a data.yaml, found a file there"),
        (
            ["data", "check", ".", "--layout", "ade20k"],
            "expected images/training, images/validation, annotations/training",
        ),
        (["data", "check", ".", "--layout", "coco", "--accept", "cymk"], "--accept cymk: expected kinds of findings"),
        (["data", "check", ".", "--layout", "coco", "--classes", "3"], "--classes 3: expected --layout ade20k with it"),
        (["data", "check", ".", "--layout", "ade20k", "--classes", "0"], "--classes: expected an integer from 1 on"),
        (["data", "check", ".", "--layout", "coco", "--jobs", "0"], "--jobs: expected an integer from 1 on, found '0'"),
        (["data", "check", ".", "--layout", "coco", "--out", "."], "--out .: expected a file to write, found a folder"),
        (["data", "check", ".", "--layout", "coco", "--out", "a/b"], "--out a/b: expected a file to write, found no"),
    ],
)
def test_wrong_arguments(arguments, says, files, tmp_path, capsys, monkeypatch):
    shutil.copy(files / "good.pth", tmp_path)
    monkeypatch.chdir(tmp_path)
    fails(capsys, tmp_path / "out", arguments, says)
    assert os.listdir(tmp_path) == ["good.pth"]


CONFIGS = {
    "a syntax error": ("model = dict(", "c.py: expected Python text, found a syntax error in line 1"),
    "no base": ("_base_ = './gone.py'", "gone.py, found nothing there; correct _base_"),
    "a base that is computed": ("_base_ = [str(1)]", "c.py: expected _base_ to be a file name"),
    "a base that is itself": ("_base_ = './c.py'", "leads back to"),
    "an error": ("x = 1 / 0", "c.py: expected a config that can be read, found ZeroDivisionError"),
    "a dead key": ("train_dataloder = dict()", "key 'train_dataloder' is no key of a run"),
    "no model": ("data_root = 'data/'", "c.py: expected a model to run, found none"),
    "no text": ("a = '\0'", "c.py: expected Python text"),
}


@pytest.mark.parametrize("text, says", CONFIGS.values(), ids=CONFIGS.keys())
def test_wrong_configs(text, says, tmp_path, capsys):
    (tmp_path / "c.py").write_text(text)
    fails(capsys, tmp_path / "out", ["train", tmp_path / "c.py", "--work-dir", tmp_path / "out"], says)


@pytest.mark.parametrize("name", ["configs/gone.py", "configs/demo", "README.md"])
def test_what_is_no_config(name, tmp_path, capsys):
    says = {"configs/gone.py": "found nothing there", "configs/demo": "found a folder", "README.md": "found .md"}[name]
    fails(capsys, tmp_path / "out", ["train", name, "--work-dir", tmp_path / "out"], f"config {name}", says)


@pytest.mark.parametrize(
    "option, says",
    [
        ("train_cfg.max_epoch=1", "did you mean train_cfg.max_epochs?"),
        ("train_cfg.max_epochs=many", "expected a number as in the config (1), found 'many'"),
        ("nothing", "expected key=value"),
        ("model.decoders.3.depth=1", "'model.decoders' is a list of 1, found item '3'"),
        ("model.type=Masked", "type='Masked' is no model that mimeval knows"),
        ("param_scheduler.0.type=Cosine", "type='Cosine' is no parameter scheduler that mimeval knows"),
        ("+optim_wrapper.optimizer.foo=1", "unexpected keyword argument 'foo'"),
        ("optim_wrapper=None", "found no optim_wrapper"),
        ("optim_wrapper.accumulative_counts=0", "accumulative_counts: expected an integer from 1 on, found 0"),
        ("train_dataloader.batch_size=64", "expected at least a batch of 64 samples, found 40"),
        ("data_root=gone", "gone: expected a folder with imagenet/"),
        ("train_dataloader.dataset.dataset.folder=gone", "gone: expected a folder of images, found nothing"),
        ("model.backbone.init_cfg.checkpoint=gone.pth", "has no key 'model.backbone.init_cfg'"),
    ],
)
def test_wrong_options(option, says, data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["train", DEMO, "--data", data, "--work-dir", out, "--cfg-options", *SHRUNK, option]
    fails(capsys, out, command, says)


@pytest.mark.parametrize(
    "option, says",
    [
        ("model.targets.0.patch_size=8", "predicts a grid of 8 x 8 cells, but targets.0 (PixelTarget) has 4 x 4"),
        ("model.masking.parts=1000", "ParallelMasking.parts is 1000"),
    ],
)
def test_what_only_the_first_step_finds_out(option, says, data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["train", DEMO, "--data", data, "--work-dir", out, "--cfg-options", *SHRUNK, option]
    fails(capsys, out, command, says, progress=True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Files of centres for patches of 4 px: `good`, and `hollow` with an empty one."""
    folder = tmp_path_factory.mktemp("tokens")
    config = load_config("demo/clustermim_demo").model.targets[0].tokenizer.to_dict()
    for name, first_count in (("good", 1), ("hollow", 0)):
        counts = torch.arange(first_count, 32 + first_count)
        described = {"kind": "pixels", "patch_size": 4}
        write_tokenizer(folder / f"{name}.safetensors", torch.randn(32, 48), counts, config, described, {})
    return folder


@pytest.mark.parametrize(
    "name, option, says",
    [
        ("gone", "", "gone.safetensors: expected a file that `mimeval tokenize fit` wrote, found nothing; fit one"),
        ("hollow", "", "found 1 of 32 centres empty (the first: 0); fit fewer, or set allow_empty=True"),
        ("good", "tokenizer.num_centres=33", "expected 33 centres of 48 values as in the config, found 32 of 48"),
        ("good", "tokenizer.distance=dot", "expected centres for distance dot as in the config, found some for"),
        ("good", "tokenizer.vectors.patch_size=8", "8 x 8 cells, but targets.0 (ClusterTarget) has 4 x 4"),
        ("good", "tokenizer.vectors.patch_size=5", "patches is 5 pixels, which does not divide the image of 32 x 32"),
    ],
)
def test_tokens_that_do_not_fit(name, option, says, tokens, data, tmp_path, capsys):
    out = tmp_path / "out"
    options = [f"model.targets.0.centres={tokens / name}.safetensors"] + [f"model.targets.0.{option}"] * bool(option)
    command = ["train", "configs/demo/clustermim_demo.py", "--data", data, "--work-dir", out]
    fails(capsys, out, [*command, "--cfg-options", *SHRUNK, *options], says, progress=True)


@pytest.mark.parametrize(
    "option, says",
    [
        ("tokenizer.num_centres=100000", "expected at least 100000 different patches in the first batch"),
        ("tokenizer.num_centres=1", "num_centres must be at least 2, found 1"),
        ("tokenizer.vectors.patch_size=5", "patches is 5 pixels, which does not divide the image of 32 x 32"),
        ("tokenizer.distance=l2", "tokenizer.distance must be one of euclid, cosine, dot, found 'l2'"),
        ("train_dataloader.dataset.dataset.folder=gone", "gone: expected a folder of images, found nothing"),
    ],
)
def test_tokens_that_cannot_be_fitted(option, says, data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["tokenize", "fit", "demo/tokens_demo", "--data", data, "--out", out / "x.safetensors", "--cfg-options"]
    fails(capsys, out, [*command, option], says, progress=True)


def first(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


def edited(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rewritten(file: Path, text: str = "no image") -> None:
    file.unlink()
    file.write_text(text)


COCO, MASKS = "coco/annotations/instances_train2017.json", "ade20k/annotations/training"
DAMAGE = {
    "no root": ("knn", shutil.rmtree, "expected a folder with imagenet/"),
    "no classes": ("knn", lambda d: shutil.rmtree(d / "imagenet/train"), "imagenet/train, found nothing there"),
    "a class in one": ("knn", lambda d: shutil.rmtree(d / "imagenet/val/4"), "imagenet/val: expected the 10 classes"),
    "half an image": ("knn", lambda d: cut(first(d, "imagenet/val/5/*")), "imagenet/val/5/", "--strict-data"),
    "no json": ("detection", lambda d: (d / COCO).write_text("no json"), f"{COCO}: expected JSON"),
    "no categories": ("detection", lambda d: edited(d / COCO, lambda c: c.pop("categories")), "found no categories"),
    "no box": ("detection", lambda d: edited(d / COCO, lambda c: c["annotations"][0].pop("bbox")), "without bbox"),
    "other names": (
        "detection",
        lambda d: edited(d / COCO, lambda c: [k.update(name="x" + k["name"]) for k in c["categories"]]),
        "expected samples with the classes of the config, found none",
    ),
    "image missing": ("detection", lambda d: first(d, "coco/train2017/*").unlink(), "coco/train2017/train_000000.png"),
    "image of text": (
        "detection",
        lambda d: rewritten(first(d, "coco/train2017/*")),
        "train2017/train_000000.png",
        "--strict-data",
    ),
    "mask missing": ("segmentation", lambda d: first(d, f"{MASKS}/*").unlink(), f"{MASKS}/train_000000.png"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_data(name, data, tmp_path, capsys):
    task, damage, says, *flags = DAMAGE[name]
    copy, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data, copy)
    damage(copy)
    command = ["transfer", "--data", copy, "--out", out, "--tasks", task, *flags, "--cfg-options", *TASKS]
    fails(capsys, out, command, says, progress=True)


DATA_FILES = {
    "no file": (None, "gone.yaml: expected a folder with imagenet/, coco/ or ade20k/ in it, or a data.yaml"),
    "no YAML": ("imagenet: [", "data.yaml: expected YAML"),
    "an unknown key": ("imagnet: .", "did you mean imagenet?"),
    "no folder": ("imagenet: gone", "imagenet: expected the folder"),
    "another layout": ("coco: .", "data.yaml: expected it to say where imagenet/train lies"),
}


@pytest.mark.parametrize("verb", ["train", "test", "transfer"])
@pytest.mark.parametrize("text, says", DATA_FILES.values(), ids=DATA_FILES.keys())
def test_wrong_data_files(text, says, verb, files, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / ("gone.yaml" if text is None else "data.yaml")
    if text is not None:
        file.write_text(text)
    commands = {
        "train": ["train", DEMO, "--work-dir", out],
        "test": ["test", "configs/demo/finetune_demo.py", files / "good.pth", "--work-dir", out],
        "transfer": ["transfer", "--tasks", "knn", "--out", out],
    }
    fails(capsys, out, [*commands[verb], "--data", file], says)


LISTS = {
    "no list": (None, "classes", "list.txt, found nothing there"),
    "an empty list": ("", "classes", "expected a line per entry, found an empty file"),
    "no folder": ("0\nfly\n", "classes", "expected a folder for class 'fly' of class list"),
    "a class twice": ("0\n0\n", "classes", "expected every class once, found '0' twice"),
    "no label": ("train_000000.png", "ann_file", "expected 'relative/path label' in each line"),
    "an image that is gone": ("gone.png 3\n", "ann_file", "gone.png: expected a file that the annotations call for"),
}


@pytest.mark.parametrize("text, key, says", LISTS.values(), ids=LISTS.keys())
def test_wrong_lists_of_classes_and_images(text, key, says, data, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "list.txt"
    if text is not None:
        file.write_text(text)
    option = f"+knn.train_dataloader.dataset.dataset.{key}={file}"
    command = ["transfer", "--data", data, "--out", out, "--tasks", "knn", "--cfg-options", "knn.protocol.k=5", option]
    fails(capsys, out, command, says)


@pytest.mark.parametrize("place", ["/proc/mimeval", "file/below"])
def test_folders_that_cannot_be_written(place, files, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    repository = Path(__file__).parents[2]
    run = ["--data", data, "--work-dir", place, "--cfg-options", *SHRUNK]
    fails(capsys, Path(place), ["train", repository / DEMO, *run], f"--work-dir {place}")
    command = ["transfer", "--data", data, "--out", place, "--tasks", "knn", "--cfg-options", "knn.protocol.k=5"]
    fails(capsys, Path(place), command, f"--out {place}")
    fails(capsys, Path(place), ["convert", files / "good.pth", f"{place}/x.pth"], f"{place}/x.pth cannot be written")


def test_a_training_is_not_begun_over_an_earlier_one(data, tmp_path, capsys):
    command = ["train", DEMO, "--data", str(data), "--work-dir", str(tmp_path / "out"), "--cfg-options", *SHRUNK]
    assert main(command) == 0
    before = (tmp_path / "out" / "epoch_1.pth").read_bytes()
    capsys.readouterr()
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "found epoch_1.pth; add --resume" in err and err.count("\n") == 1
    assert (tmp_path / "out" / "epoch_1.pth").read_bytes() == before


def test_a_line_of_progress_is_taken_away_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("\r\033[Kmimeval: mimeval has no verb 'trian'")


def command_line(*arguments) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, "-m", "mimeval", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_process_says_nothing_but_the_sentence(data, tmp_path):
    copy, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data, copy)
    (copy / COCO).write_text("no json")
    process = command_line("transfer", "--data", copy, "--out", out, "--tasks", "detection", "--cfg-options", *TASKS)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and stdout == "" and not out.exists()
    assert stderr.count("\n") == 1 and stderr.startswith(f"mimeval: annotations {copy / COCO}: expected JSON")


def test_an_interrupted_training_is_gone_on_with(data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["train", DEMO, "--data", data, "--work-dir", out, "--resume", "--cfg-options"]
    options = ["param_scheduler.0.warmup=0", "train_dataloader.batch_size=40"]
    process = command_line(*command, *options, "train_cfg.max_epochs=1000")
    deadline = time.monotonic() + 60
    while not (out / "last_checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    begins = [line.split()[0] for line in stderr.splitlines()]
    assert begins[0] == "learning" and set(begins[1:-1]) == {"epoch"}, stderr
    saved = re.match(r"mimeval: stopped by SIGINT: iteration (\d+) is saved in ", stderr.splitlines()[-1])
    assert saved and not list(out.glob(".*.tmp"))
    epochs = int(saved[1]) + 1  # of one iteration each
    assert main([*map(str, command), *options, f"train_cfg.max_epochs={epochs}"]) == 0
    assert "for 1 steps" in capsys.readouterr().err
