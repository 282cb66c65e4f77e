import torch

from mimeval.backbones.positions import (
    offset_bias,
    relative_bias,
    relative_index,
    relative_table,
    resample_bias_table,
    resample_positions,
    sincos_position_embedding,
)
from tests.golden import golden


def test_sincos_of_a_grid_that_is_not_square():
    table = sincos_position_embedding(16, (3, 5), cls_token=False)[0].unflatten(0, (3, 5))
    # The first half of the channels tells the column, the second half the row.
    assert torch.equal(table[0, :, :8], table[2, :, :8]) and torch.equal(table[:, 0, 8:], table[:, 4, 8:])
    assert torch.equal(table[2, 0, 8:], table[0, 2, :8]) and not torch.equal(table[0, 1], table[1, 0])
    assert not sincos_position_embedding(16, (3, 5))[0, 0].any()


def test_the_same_grid_returns_the_table_itself():
    table = torch.randn(1, 15, 8)
    assert resample_positions(table, (3, 5), (3, 5)) is table
    assert resample_positions(table, (3, 5), (5, 3)).shape == (1, 15, 8)
    assert not torch.equal(resample_positions(table, (3, 5), (5, 3)), table)


def test_resampling_keeps_what_is_constant_and_the_order_of_axes():
    rows = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1)
    resampled = resample_positions(rows, (4, 4), (4, 8)).unflatten(1, (4, 8))[0, ..., 0]
    torch.testing.assert_close(resampled, torch.arange(4.0)[:, None].expand(4, 8))


def test_offsets_run_from_query_to_key():
    table = torch.arange(7.0)[:, None]
    assert relative_table(table, 4)[..., 0].tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]


def test_a_table_of_another_length_is_interpolated_linearly():
    offsets = relative_table(torch.arange(7.0)[:, None], 6)[:, 0, 0]
    # 7 -> 11 rows, corners not aligned: row i lies at (i + 0.5) * 7 / 11 - 0.5, held within the table.
    torch.testing.assert_close(offsets, torch.tensor([(i + 0.5) * 7 / 11 - 0.5 for i in range(5, 11)]).clamp(0, 6))


def test_relative_index_is_beits():
    assert relative_index((4, 4)).tolist() == golden("beit_facts")[1]["rel_pos_index_4x4_with_class_token"]


def test_relative_index_of_a_grid_that_is_not_square():
    index = relative_index((2, 3))
    assert index.shape == (7, 7) and index[1:, 1:].unique().numel() == 3 * 5 and index.max() == 3 * 5 + 2
    # One row down is a whole row of the table, one column right a single step.
    assert (index[4, 1] - index[1, 1], index[2, 1] - index[1, 1]) == (5, 1)


def test_a_resized_bias_keeps_its_class_rows():
    table = torch.randn(7 * 7 + 3, 2)
    resized = resample_bias_table(table, (4, 4), (6, 3))
    assert resized.shape == (11 * 5 + 3, 2) and torch.equal(resized[-3:], table[-3:])
    bias = relative_bias(table, relative_index((4, 4)), (4, 4), (6, 3))
    assert bias.shape == (1, 2, 19, 19)
    assert torch.equal(bias[0, :, 0, 0], table[-1]) and torch.equal(bias[0, :, 0, 5], table[-3])
    assert torch.equal(bias[0, :, 5, 0], table[-2])


def test_a_constant_bias_stays_constant_when_resized():
    table = torch.full((7 * 7 + 3, 1), 2.5)
    torch.testing.assert_close(resample_bias_table(table, (4, 4), (7, 5)), torch.full((13 * 9 + 3, 1), 2.5))


def test_a_resized_bias_keeps_its_axes():
    by_row = torch.arange(7.0).repeat_interleave(7)
    resized = resample_bias_table(torch.cat([by_row, torch.zeros(3)])[:, None], (4, 4), (4, 6))[:-3, 0].view(7, 11)
    torch.testing.assert_close(resized, torch.arange(7.0)[:, None].expand(7, 11))


def test_a_bias_without_a_class_token_is_beits_without_its_row():
    table = torch.randn(5 * 7 + 3, 2)
    expected = relative_bias(table, relative_index((3, 4)), (3, 4), (3, 4))[..., 1:, 1:]
    assert torch.equal(offset_bias(table[:-3], (3, 4), (3, 4)), expected)
    expected = relative_bias(table, relative_index((3, 4)), (3, 4), (5, 2))[..., 1:, 1:]
    assert torch.equal(offset_bias(table[:-3], (3, 4), (5, 2)), expected)
