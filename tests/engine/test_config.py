"""Configs: found, read, moved to other data, and overridden by keys that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mimeval.engine import config as configs
from mimeval.engine.config import apply_options, find_config, load_config, set_data_root
from mimeval.errors import UserError

KEYS = {"model", "train_dataloader", "val_evaluator", "data_root", "base_lr"}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / f"{name}.py"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder that stands for the shipped configs."""
    folder = tmp_path / "shipped"
    (folder / "demo").mkdir(parents=True)
    write(folder / "demo", mae_demo="a = 1")
    monkeypatch.setattr(configs, "config_folders", lambda: [folder])
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("name", ["demo/mae_demo", "demo/mae_demo.py", "configs/demo/mae_demo.py"])
def test_shipped_configs_are_found_by_name(shipped, name):
    assert find_config(name) == shipped / "demo" / "mae_demo.py"


def test_a_file_that_is_there_comes_first(shipped, tmp_path):
    (tmp_path / "demo").mkdir()
    here = write(tmp_path / "demo", mae_demo="a = 2")
    assert find_config("demo/mae_demo.py") == here


def test_a_missing_config_suggests_near_names(shipped):
    with pytest.raises(UserError, match=r"demo/mea_demo.py: .* near names: configs/demo/mae_demo.py"):
        find_config("demo/mea_demo.py")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"expected a .py, .json or .yaml file, found .pth"):
        find_config(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "text, says",
    [
        ("a = (1", "run.py: expected Python text, found a syntax error in line 1"),
        ("_base_ = './nowhere.py'", "run.py: expected its _base_ file .*nowhere.py"),
        ("a = 1 / 0", "found ZeroDivisionError"),
    ],
)
def test_a_config_that_cannot_be_read_is_explained(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        load_config(write(tmp_path, run=text))


def test_a_syntax_error_in_a_base_names_the_base(tmp_path):
    with pytest.raises(UserError, match="base.py: expected Python text"):
        load_config(write(tmp_path, base="a = ", run="_base_ = ['base.py']"))


def test_a_dead_key_is_refused_and_a_near_one_suggested(tmp_path):
    path = write(tmp_path, run="modle = dict(type='A')\nmodel = dict(type='B')")
    with pytest.raises(UserError, match="'modle' .* did you mean model"):
        load_config(path, known_keys=KEYS)


def test_variables_do_their_work_and_go(tmp_path):
    path = write(
        tmp_path, base="size = 8\nwidth = 4", run="_base_ = 'base.py'\nmodel = dict(a=_base_.size, b={{_base_.width}})"
    )
    cfg = load_config(path, known_keys=KEYS)
    assert cfg.model == dict(a=8, b=4) and "size" not in cfg and "width" not in cfg


def test_setting_a_bases_variable_in_a_child_is_refused_because_it_changes_nothing(tmp_path):
    path = write(tmp_path, base="size = 8\nmodel = dict(a=size)", run="_base_ = 'base.py'\nsize = 16")
    with pytest.raises(UserError, match="run.py: key 'size' .* has no effect"):
        load_config(path, known_keys=KEYS)


def test_without_known_keys_everything_is_kept(tmp_path):
    assert load_config(write(tmp_path, suite="tasks = dict(knn=1)")).tasks.knn == 1


def test_data_root_moves_everything_that_lies_below_it(tmp_path):
    text = """
data_root = 'data/'
model = dict(name='data/is not a path')
train_dataloader = dict(dataset=dict(data_root=data_root, parts=[
    dict(ann=data_root + 'coco/a.json'), ('x', data_root)]))
val_evaluator = [dict(ann_file=data_root + 'coco/b.json', other='database')]
"""
    cfg = load_config(write(tmp_path, run=text), data=str(tmp_path), known_keys=KEYS)
    new = f"{tmp_path}/"
    assert cfg.data_root == new and cfg.model.name == "data/is not a path"
    assert cfg.train_dataloader.dataset == dict(data_root=new, parts=[dict(ann=new + "coco/a.json"), ("x", new)])
    assert cfg.val_evaluator == [dict(ann_file=new + "coco/b.json", other="database")]


def test_data_needs_a_folder_and_a_data_root(tmp_path):
    with pytest.raises(UserError, match="no data_root"):
        set_data_root(Config(dict(a=1)), str(tmp_path))
    with pytest.raises(UserError, match="found no folder there"):
        set_data_root(Config(dict(data_root="data/")), str(tmp_path / "missing"))


@pytest.fixture
def cfg():
    return Config(
        dict(
            lr=1e-3,
            epochs=10,
            flag=True,
            name="base",
            nothing=None,
            betas=(0.9, 0.95),
            model=dict(backbone=dict(arch="tiny", taps=[1, 2]), heads=[dict(dim=4), dict(dim=8)]),
        )
    )


@pytest.mark.parametrize(
    "option, path, value",
    [
        ("lr=1", ("lr",), 1),
        ("lr=3e-4", ("lr",), 3e-4),
        ("epochs=0.5", ("epochs",), 0.5),
        ("flag=false", ("flag",), False),
        ("name=12", ("name",), "12"),
        ("name='a, b'", ("name",), "a, b"),
        ("name=None", ("name",), None),
        ("nothing=my file/a,b.pth", ("nothing",), "my file/a,b.pth"),
        ("nothing=cls,mean", ("nothing",), ["cls", "mean"]),
        ("nothing=1,2", ("nothing",), [1, 2]),
        ("betas=(0.9,0.999)", ("betas",), (0.9, 0.999)),
        ("betas=[0.9, 0.999]", ("betas",), [0.9, 0.999]),
        ("model.backbone.arch=small", ("model", "backbone", "arch"), "small"),
        ("model.heads.1.dim=16", ("model", "heads", 1, "dim"), 16),
        ("model.backbone={'arch':'x'}", ("model", "backbone", "arch"), "x"),
        ("model.backbone=None", ("model", "backbone"), None),
        ("+model.backbone.drop_path_rate=0.1", ("model", "backbone", "drop_path_rate"), 0.1),
        ("+a.b.c=[x, y]", ("a", "b", "c"), ["x", "y"]),
    ],
)
def test_options(cfg, option, path, value):
    apply_options(cfg, [option])
    found = cfg
    for part in path:
        found = found[part]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "option, says",
    [
        ("lr", "expected key=value"),
        ("=3", "expected key=value"),
        ("model..a=3", "expected key=value"),
        ("lrr=1", "no key 'lrr'; did you mean lr"),
        (
            "model.backbone.arhc=x",
            r"no key 'model.backbone.arhc'; did you mean model.backbone.arch\?; .*\+model.backbone",
        ),
        ("model.backbon.arch=x", "no key 'model.backbon'; did you mean model.backbone"),
        ("zzz=1", "keys there: betas, epochs"),
        ("lr.base=1", "'lr' is 0.001 in the config, which has no key 'base'"),
        ("model.heads.2.dim=1", "'model.heads' is a list of 2, found item '2'"),
        ("model.heads.x=1", "'model.heads' is a list of 2, found item 'x'"),
        ("lr=fast", r"expected a number as in the config \(0.001\), found 'fast'"),
        ("lr=True", "expected a number"),
        ("flag=1", "expected True or False"),
        ("model=3", "expected a dict"),
        ("betas=0.9", "expected a list"),
        ("nothing=[a,(b]", "expected balanced brackets"),
    ],
)
def test_options_that_cannot_be_meant(cfg, option, says):
    before = cfg.to_dict()
    with pytest.raises(UserError, match=says):
        apply_options(cfg, [option])
    assert cfg.to_dict() == before
