import dataclasses
import json

import pytest
from mmengine.config import Config

from mimeval.engine import provenance
from mimeval.errors import UserError
from mimeval.transfer import results


def record(**changes):
    return results.Record(
        **{
            "task": "knn",
            "init": "random",
            "metric": "top-1 accuracy",
            "value": 16.5,
            "metrics": {"top1": 16.5},
            "seed": 0,
            "protocol": "p",
            "protocol_version": 1,
            "features": {"tokens": "mean"},
            "selection": "last epoch",
            "config_hash": "ab",
            "checkpoint": None,
            "note": "",
            "artifacts": "random/knn",
            "git": None,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "wall_s": 1.0,
            "peak_bytes": 1,
            "images_seen": 1,
            **changes,
        }
    )


def test_records_come_back_as_they_were_written(tmp_path):
    written = [record(), record(init="a", checkpoint={"sha256": "12"}, value=20.0)]
    for one in written:
        results.append(tmp_path, one)
    assert results.read(tmp_path) == written
    assert "torch" in written[0].versions
    assert results.read(tmp_path / "empty") == []


def test_a_torn_last_line_is_left_out_and_overwritten(tmp_path):
    results.append(tmp_path, record())
    path = tmp_path / results.RESULTS
    path.write_bytes(path.read_bytes() + b'{"task": "lin')
    with pytest.warns(UserWarning, match="cut short"):
        assert results.read(tmp_path) == [record()]
    results.append(tmp_path, record(task="linear"))
    assert [one.task for one in results.read(tmp_path)] == ["knn", "linear"]


@pytest.mark.parametrize("line", ["no json", "[1]", '{"task": "knn"}'])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    results.append(tmp_path, record())
    with (tmp_path / results.RESULTS).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UserError, match="line 2"):
        results.read(tmp_path)


def test_figures_that_are_no_numbers_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        results.append(tmp_path, record(value=float("nan")))
    assert results.read(tmp_path) == []


def test_what_measures_the_same_has_the_same_key():
    same = [record(), record(value=3.0, wall_s=9.0, note="n")]
    assert same[0].key == same[1].key
    others = [{"seed": 1}, {"config_hash": "x"}, {"task": "linear"}, {"init": "a"}, {"protocol_version": 2}]
    others += [{"checkpoint": {"sha256": "1"}}, {"checkpoint": {"sha256": "1", "adapted": ["layer scale"]}}]
    assert len({record(**change).key for change in others} | {same[0].key}) == len(others) + 1


def test_config_hash_depends_on_settings_not_on_places():
    def settings(root="data/", seed=0, k=20, workers=0):
        loader = {
            "num_workers": workers,
            "dataset": {"data_root": root, "pipeline": [{"type": "LoadRGB"}]},
            "ann_file": root + "a.json",
        }
        return Config(
            {
                "data_root": root,
                "work_dir": root + "x",
                "randomness": {"seed": seed},
                "protocol": {"k": k},
                "loader": loader,
            }
        )

    assert results.config_hash(settings()) == results.config_hash(settings(root="/elsewhere/", seed=3, workers=8))
    assert results.config_hash(settings()) != results.config_hash(settings(k=10))
    assert len(results.config_hash(settings())) == 16


def test_a_record_is_one_line_of_json(tmp_path):
    results.append(tmp_path, record(note="two\nlines"))
    lines = (tmp_path / results.RESULTS).read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == dataclasses.asdict(record(note="two\nlines"))
