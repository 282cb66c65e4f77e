import pytest
import torch

from mimeval.backbones.positions import (
    POSITION_WAYS,
    offset_bias,
    relative_bias,
    relative_index,
    relative_table,
    resample_bias_table,
    resample_offsets,
    resample_positions,
    sincos_position_embedding,
    spline_matrix,
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


@pytest.mark.parametrize("name", ["family_beit", "family_beit2", "family_data2vec_vision"])
def test_biases_are_resized_geometrically_as_by_beit(name):
    arrays, _ = golden(name)
    shared = torch.from_numpy(arrays["state/rel_pos_bias.relative_position_bias_table"])
    resized = [torch.from_numpy(array) for key, array in arrays.items() if key.startswith("out/resampled/")]
    assert resized
    for expected in resized:
        ours = resample_bias_table(shared, (4, 4), (6, 6), "geometric")
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("old", "new"), [((4, 4), (6, 3)), ((2, 5), (7, 7)), ((14, 14), (7, 7))])
def test_geometric_resizing_of_any_grid_keeps_constants_symmetry_and_axes(old, new):
    rows, columns = 2 * old[0] - 1, 2 * old[1] - 1
    constant = resample_offsets(torch.full((rows * columns, 1), 2.5), old, new, "geometric")
    torch.testing.assert_close(constant, torch.full((1, 2 * new[0] - 1, 2 * new[1] - 1), 2.5))
    table = torch.randn(rows, columns, 2)
    resized = resample_offsets(table.flatten(0, 1), old, new, "geometric")
    mirrored = resample_offsets(table.flip(0, 1).flatten(0, 1), old, new, "geometric")
    torch.testing.assert_close(resized.flip(1, 2), mirrored, atol=1e-5, rtol=0)
    # The middle, the offset 0, is where it was.
    torch.testing.assert_close(resized[:, new[0] - 1, new[1] - 1], table[old[0] - 1, old[1] - 1])


def test_ways_of_resizing_positions_differ_and_keep_the_grid_they_have():
    table = torch.randn(1, 16, 8)
    resized = {way: resample_positions(table, (4, 4), (6, 3), way) for way in POSITION_WAYS}
    assert {tensor.shape for tensor in resized.values()} == {(1, 18, 8)}
    assert len({tuple(tensor.flatten().tolist()) for tensor in resized.values()}) == len(POSITION_WAYS)
    assert all(torch.equal(resample_positions(table, (4, 4), (4, 4), way), table) for way in POSITION_WAYS)
    # DINO's offset moves the places that are sampled; without it, torch's own size does.
    moved = torch.nn.functional.interpolate(
        table.unflatten(1, (4, 4)).permute(0, 3, 1, 2), scale_factor=(6.1 / 4, 3.1 / 4), mode="bicubic"
    )
    assert torch.equal(resized["bicubic_offset"], moved.flatten(2).transpose(1, 2))


def test_rows_first_is_the_other_half_first():
    columns_first, rows_first = (
        sincos_position_embedding(16, (3, 5), cls_token=False, rows_first=order) for order in (False, True)
    )
    assert torch.equal(torch.cat([columns_first[..., 8:], columns_first[..., :8]], dim=-1), rows_first)


def test_a_resize_that_was_first_asked_for_in_inference_mode_can_be_trained_through():
    spline_matrix.cache_clear()
    table = torch.randn(7 * 7 + 3, 2, requires_grad=True)
    with torch.inference_mode():
        resample_bias_table(table, (4, 4), (6, 6), "geometric")
    resample_bias_table(table, (4, 4), (6, 6), "geometric").sum().backward()
    assert torch.isfinite(table.grad).all()
