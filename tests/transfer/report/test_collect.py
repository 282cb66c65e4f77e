import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

import mimeval
from mimeval.errors import UserError
from mimeval.transfer.report.collect import MOST_PREDICTIONS, collect, normalised_pixels
from mimeval.transfer.results import RESULTS
from tests.transfer.report.folders import picture, record, results, scalars


def test_no_folder_a_file_and_no_results_are_said(tmp_path):
    with pytest.raises(UserError, match="nothing"):
        collect(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="found a file"):
        collect(tmp_path / "file")
    with pytest.raises(UserError, match=r"results\.jsonl is missing or empty"):
        collect(tmp_path)
    (tmp_path / RESULTS).write_text("\n")
    with pytest.raises(UserError, match=r"results\.jsonl is missing or empty"):
        collect(tmp_path)


def test_a_results_file_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    results(tmp_path, [record()])

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError, match=r"results\.jsonl cannot be read: Permission denied"):
        collect(tmp_path)


def test_a_malformed_line_is_named(tmp_path):
    results(tmp_path, [record()])
    with (tmp_path / RESULTS).open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(UserError, match="line 2"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("value", "high"),
        ("value", None),
        ("seed", True),
        ("wall_s", "1"),
        ("init", 3),
        ("note", None),
        ("metrics", [1]),
        ("metrics", {"top1": "x"}),
        ("hardware", "gpu"),
        ("checkpoint", "x.pth"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path, name, value):
    lines = [json.dumps(asdict(record())), json.dumps(asdict(record("linear")) | {name: value})]
    (tmp_path / RESULTS).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"record 2: {name} must be"):
        collect(tmp_path)


def test_a_value_that_is_not_finite_is_refused(tmp_path):
    (tmp_path / RESULTS).write_text(json.dumps(asdict(record(value=float("nan")))) + "\n")
    with pytest.raises(UserError, match="value must be a finite number"):
        collect(tmp_path)


def test_a_torn_last_line_becomes_a_note(tmp_path):
    results(tmp_path, [record()])
    with (tmp_path / RESULTS).open("a") as stream:
        stream.write('{"task": "lin')
    found = collect(tmp_path)
    assert len(found.records) == 1
    assert any("cut short" in note for note in found.notes)


def test_seeds_of_other_settings_are_superseded_not_averaged(tmp_path):
    old = [record("linear", value=1.0, seed=s, config_hash="old") for s in (0, 1)]
    new = [
        record("linear", value=9.0, seed=0, config_hash="new"),
        record("linear", value=8.0, seed=0, config_hash="new"),
    ]
    found = collect(results(tmp_path, [*old, *new, record("knn", value=5.0, config_hash="old")]))
    assert [(r.task, r.value) for r in found.records] == [("linear", 8.0), ("knn", 5.0)]
    assert len(found.superseded) == 3
    assert any("3 of 5 records" in note for note in found.notes)


def test_curves_of_all_seeds_and_pictures_are_found(tmp_path):
    results(tmp_path, [record("linear", seed=0), record("linear", seed=1), record("detection")])
    for seed, name in enumerate(("linear", "linear-seed1")):
        scalars(tmp_path / "random" / name, 3, lambda step, seed=seed: {"loss": seed})
    for number in range(MOST_PREDICTIONS + 5):
        picture(tmp_path / "random" / "detection" / "predictions" / f"{number:02d}.png")
    linear, detection = collect(tmp_path).artifacts
    assert [run.values["loss"][0][1] for run in linear.runs] == [0, 1]
    gallery = detection.predictions
    assert gallery.total == MOST_PREDICTIONS + 5 and len(gallery.pictures) == MOST_PREDICTIONS
    assert (gallery.pictures[0].name, gallery.pictures[-1].name) == ("00", f"{MOST_PREDICTIONS + 4:02d}")
    assert (gallery.pictures[0].width, gallery.pictures[0].height) == (12, 8)


def test_a_broken_picture_is_left_out_and_said(tmp_path):
    results(tmp_path, [record("detection")])
    good = picture(tmp_path / "random" / "detection" / "predictions" / "00.png")
    good.with_name("01.png").write_bytes(good.read_bytes()[:-20])
    good.with_name("02.png").write_text("no picture")
    found = collect(tmp_path)
    assert [p.name for p in found.artifacts[0].predictions.pictures] == ["00"]
    assert sum("no whole PNG" in note for note in found.notes) == 2


def test_pictures_outside_the_folder_are_not_embedded(tmp_path):
    picture(tmp_path / "secret" / "predictions" / "00.png")
    found = collect(results(tmp_path / "run", [record("detection", artifacts="../secret")]))
    assert found.artifacts == []
    assert any("outside the results folder" in note for note in found.notes)


def test_pretraining_curves_and_reconstructions_belong_together(tmp_path):
    results(tmp_path, [record()])
    for epoch in (2, 10, 9):
        picture(tmp_path / "pretrain" / "reconstructions" / f"epoch_{epoch}.png")
    scalars(tmp_path / "pretrain", 4, lambda step: {"loss_reconstruction": 1.0 / step})
    (run,) = collect(tmp_path).pretraining
    assert [p.title for p in run.reconstructions.pictures] == ["epoch 2", "epoch 9", "epoch 10"]
    assert run.curves is not None and len(run.curves.values["loss_reconstruction"]) == 4


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("dict(type='PixelTarget', norm_pix=True)", True),
        ("dict(norm_pix=False, type='mimeval.PixelTarget')", False),
        ("dict(type='PixelTarget', patch_size=8)", True),
        ("dict(type='HOGTarget')", None),
    ],
)
def test_whether_targets_are_normalised_is_read_from_the_config(tmp_path, target, expected):
    path = tmp_path / "20261121_120000" / "vis_data" / "config.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"model = dict(\n    targets=[\n        {target},\n    ], type='MaskedImageModel')\n")
    assert normalised_pixels(tmp_path) is expected


def test_without_a_config_nothing_is_claimed(tmp_path):
    assert normalised_pixels(tmp_path) is None


def test_an_absent_norm_pix_means_what_it_means_to_pixel_target():
    # Read, not imported: these tests need no torch.
    source = Path(mimeval.__file__).parent / "pretrain" / "targets" / "pixel.py"
    target = next(
        n for n in ast.parse(source.read_text()).body if isinstance(n, ast.ClassDef) and n.name == "PixelTarget"
    )
    init = next(n for n in target.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    defaults = dict(zip([a.arg for a in init.args.args][-len(init.args.defaults) :], init.args.defaults, strict=True))
    assert ast.literal_eval(defaults["norm_pix"]) is True
