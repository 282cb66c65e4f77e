from pathlib import Path

import pytest

from mimeval.errors import UserError
from mimeval.transfer.plan import Request, plan, resolve_rows
from mimeval.transfer.suite import transfer


def request(tmp_path, **changes):
    settings = {"checkpoints": [], "suite": "configs/suites/demo.py", "out": tmp_path / "out", "data": str(tmp_path)}
    return Request(**{**settings, **changes})


def jobs_of(wanted):
    return list(plan(wanted, resolve_rows(wanted)))


def test_tasks_in_the_suites_order_and_rows_within_a_task(tmp_path, checkpoint):
    jobs = jobs_of(request(tmp_path, checkpoints=[str(checkpoint)], tasks=["linear", "knn"], seeds=[0, 1]))
    assert [(job.task, job.seed, job.row.init) for job in jobs] == [
        (task, seed, init) for task in ("knn", "linear") for seed in (0, 1) for init in ("random", "tiny")
    ]
    assert len({job.artifacts for job in jobs}) == 8
    assert jobs[0].artifacts == "random/knn"


def test_a_checkpoint_is_loaded_strictly_and_random_loads_nothing(tmp_path, checkpoint):
    random, row = jobs_of(
        request(tmp_path, checkpoints=[str(checkpoint)], tasks=["finetune"], waive=["missing:norm.*"])
    )
    assert "init_cfg" not in random.cfg.model.backbone
    init = row.cfg.model.backbone.init_cfg
    assert (init.type, init.checkpoint, init.waive) == ("mimeval.Pretrained", str(checkpoint), ["missing:norm.*"])
    assert random.config_hash == row.config_hash
    assert random.key != row.key


@pytest.mark.parametrize("suite", ["configs/suites/demo.py", "configs/suites/standard.py"])
def test_suites_have_all_five_tasks(tmp_path, suite):
    jobs = jobs_of(request(tmp_path, suite=suite))
    assert sorted(job.task for job in jobs) == ["detection", "finetune", "knn", "linear", "segmentation"]
    assert all(job.cfg.protocol.task == job.task for job in jobs)
    assert len({job.name for job in jobs}) == 5


def test_options_belong_to_a_task_and_change_its_hash(tmp_path):
    plain, changed = (
        jobs_of(request(tmp_path, tasks=["knn"], options=options))[0] for options in ([], ["knn.protocol.k=3"])
    )
    assert changed.cfg.protocol.k == 3
    assert changed.config_hash != plain.config_hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": ["protocol.k=3"]}, "TASK.key=value"),
        ({"options": ["knn.protocol.kk=3"]}, "kk"),
        ({"tasks": ["knn", "pose"]}, "'pose'"),
        ({"suite": "configs/demo/knn_demo.py"}, "is it a suite"),
        ({"suite": "configs/suites/nothing.py"}, "nothing.py"),
        ({"random": False}, "no checkpoint"),
        ({"init_names": ["a"]}, "1 names for 0 checkpoints"),
        ({"notes": ["b=x"]}, "ROW=TEXT"),
        ({"checkpoints": ["missing.pth"]}, "missing.pth"),
        ({"checkpoints": ["a/x.pth", "b/x.pth"]}, "'x'"),
        ({"checkpoints": ["a/random.pth"]}, "'random'"),
    ],
)
def test_requests_that_cannot_be_meant(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        jobs_of(request(tmp_path, **changes))


def suite_file(tmp_path, text):
    (tmp_path / "suite.py").write_text(text)
    return str(tmp_path / "suite.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks = dict(pose=dict(config='x.py'))", "pose"),
        ("tasks = dict(knn=dict(config='{knn}'))\nseed = 1", "'seed'"),
        ("tasks = dict(linear=dict(config='{knn}'))", "no config of task 'linear'"),
        ("tasks = dict(knn=dict(path='{knn}'))", "config="),
    ],
)
def test_suites_that_are_wrong(tmp_path, text, words):
    knn = Path(__file__).parents[2] / "configs" / "demo" / "knn_demo.py"
    with pytest.raises(UserError, match=words):
        jobs_of(request(tmp_path, suite=suite_file(tmp_path, text.replace("{knn}", str(knn)))))


def refused(wanted, words):
    with pytest.raises(UserError, match=words):
        transfer(wanted)
    assert not (wanted.out / "results.jsonl").exists()


def test_nothing_runs_if_a_checkpoint_does_not_fit(tmp_path, data, checkpoint):
    wrong = tmp_path / "wrong.pth"
    import torch

    state = torch.load(checkpoint, weights_only=True)["model"]
    torch.save({"model": {name: value for name, value in state.items() if "blocks.1.mlp" not in name}}, wrong)
    refused(request(tmp_path, checkpoints=[str(checkpoint), str(wrong)], data=str(data)), "blocks.1.mlp")
    assert not (tmp_path / "out").exists()


def test_nothing_runs_without_the_data(tmp_path, data):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "imagenet").symlink_to(data / "imagenet")
    refused(request(tmp_path, data=str(tmp_path / "half")), "data of detection")
    refused(request(tmp_path, data=str(tmp_path / "none")), "none")


def test_a_folder_with_something_in_it_needs_resume(tmp_path, data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    refused(request(tmp_path, data=str(data)), "--resume")
    refused(request(tmp_path, data=str(data), out=tmp_path / "out" / "file"), "found a file")


def test_a_head_of_another_size_than_the_data_is_refused(tmp_path, data):
    with pytest.raises(UserError, match="model.head.num_classes is 7, but the training images have 10 classes"):
        transfer(request(tmp_path, data=str(data), tasks=["linear"], options=["linear.model.head.num_classes=7"]))


def test_the_command_lines_three_words_for_a_waiver(tmp_path, checkpoint, monkeypatch):
    from mimeval.cli.main import main

    seen = []
    monkeypatch.setattr("mimeval.transfer.suite.transfer", lambda request: seen.append(request.waive) or [])
    command = ["transfer", str(checkpoint), "--out", str(tmp_path / "out"), "--waive", "shape:norm.*"]
    assert main([*command, "--allow-missing", "a.*", "b", "--allow-unexpected", "c"]) == 0
    assert seen == [["shape:norm.*", "missing:a.*", "missing:b", "unexpected:c"]]
