import statistics

import pytest

from mimeval.transfer.report.table import build_table, signed
from tests.transfer.report.folders import record


def column(table, task, measure=None):
    return next(i for i, c in enumerate(table.columns) if c.task == task and measure in (None, c.measure))


def test_the_five_tasks_have_columns_even_if_one_was_run():
    table = build_table([record("linear", value=20.0)])
    assert [(c.task, c.measure) for c in table.columns] == [
        ("knn", "top-1"),
        ("linear", "top-1"),
        ("finetune", "top-1"),
        ("detection", "box AP"),
        ("detection", "mask AP"),
        ("segmentation", "mIoU"),
    ]
    assert [cell.value_text for cell in table.cells["random"]] == ["not run", "20.0", *["not run"] * 4]


def test_random_comes_first_and_the_others_keep_their_order():
    table = build_table([record(init=name) for name in ("zeta", "alpha", "random", "mid")])
    assert table.rows == ["random", "zeta", "alpha", "mid"]


def test_seeds_give_mean_sample_deviation_and_count():
    values = [61.0, 64.0, 62.5]
    table = build_table([record("linear", value=v, seed=s) for s, v in enumerate(values)])
    cell = table.cells["random"][column(table, "linear")]
    assert cell.mean == pytest.approx(statistics.fmean(values))
    assert cell.spread == pytest.approx(statistics.stdev(values))
    assert (cell.value_text, cell.spread_text, cell.count_text) == ("62.5", "± 1.5", "n = 3")


def test_one_run_has_no_spread_and_its_difference_is_not_judged():
    table = build_table([record(value=10.0), record(init="mae", value=30.0)])
    cell = table.cells["mae"][0]
    assert cell.spread is None and cell.spread_text == "" and cell.clear is None
    assert cell.difference_text == "+20.0"


@pytest.mark.parametrize(("values", "clear"), [((12.0, 13.0, 14.0), True), ((10.2, 11.2, 12.2), False)])
def test_a_difference_is_clear_if_it_exceeds_both_spreads_together(values, clear):
    # Both rows have a deviation of 1, together 1.41; the means differ by 2.0 and by 0.2.
    random = [record("linear", value=v, seed=s) for s, v in enumerate((10.0, 11.0, 12.0))]
    other = [record("linear", "mae", v, s) for s, v in enumerate(values)]
    table = build_table([*random, *other])
    assert table.cells["mae"][column(table, "linear")].clear is clear


def test_best_is_the_highest_as_printed_and_needs_a_rival():
    table = build_table([record(value=30.04), record(init="a", value=30.01), record(init="b", value=29.9)])
    assert [table.cells[row][0].best for row in ("random", "a", "b")] == [True, True, False]
    assert not build_table([record()]).cells["random"][0].best


def test_mask_ap_is_read_from_the_metrics():
    table = build_table([record("detection", value=18.0)])
    texts = [table.cells["random"][column(table, "detection", name)].value_text for name in ("box AP", "mask AP")]
    assert texts == ["18.0", "9.0"]


def test_a_missing_mask_ap_is_not_invented():
    table = build_table([record("detection", value=18.0, metrics={"bbox_mAP": 18.0})])
    assert table.cells["random"][column(table, "detection", "mask AP")].values == []


def test_versions_of_a_protocol_never_share_a_column():
    table = build_table([record(value=10.0), record(init="mae", value=30.0, protocol_version=2)])
    knn = [i for i, c in enumerate(table.columns) if c.task == "knn"]
    assert [table.columns[i].protocol_text for i in knn] == ["knn_mae_demo v1", "knn_mae_demo v2"]
    assert [table.cells["mae"][i].value_text for i in knn] == ["not run", "30.0"]
    assert table.cells["mae"][knn[1]].difference is None  # random was measured by another version


def test_a_task_of_a_later_part_gets_a_column_of_its_own():
    table = build_table([record("attentive", value=55.0)])
    assert table.columns[-1].title == "attentive"
    assert table.cells["random"][-1].value_text == "55.0"


def test_notes_on_a_whole_row_stand_once_and_others_at_their_cell():
    table = build_table(
        [
            record("knn", "live", note="too short"),
            record("linear", "live", note="too short"),
            record("knn", "mae"),
            record("linear", "mae", note="other data"),
        ]
    )
    assert table.footnotes == ["too short", "other data"]
    assert table.row_marks == {"live": [1], "mae": []}
    assert table.cells["mae"][column(table, "linear")].marks == [2]
    assert all(cell.marks == [] for cell in table.cells["live"])


def test_a_waiver_is_a_note():
    loaded = {"path": "x.pth", "sha256": "0", "waived": {"missing:norm.*": ["norm.weight"]}}
    (text,) = build_table([record(init="x", checkpoint=loaded)]).footnotes
    assert "missing:norm.*" in text


def test_signs():
    assert [signed(v) for v in (3.24, -0.4, 0.04, -0.04)] == ["+3.2", "−0.4", "0.0", "0.0"]
