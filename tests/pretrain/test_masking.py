import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.masking import BlockMasking, ParallelMasking, RandomMasking
from mimeval.pretrain.masks import Masks


def keys(batch: int, epoch: int = 0) -> torch.Tensor:
    return torch.tensor([[7, epoch, index] for index in range(batch)])


def test_random_masking_follows_the_noise():
    noise = torch.tensor([[0.4, 0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.3]])
    masks = RandomMasking(0.75).from_noise(noise, (2, 4))
    assert masks.ids_keep.tolist() == [[[1, 3]]]
    assert masks.mask.tolist() == [[[1, 0, 1, 0, 1, 1, 1, 1]]]
    assert masks.key_valid is None


@pytest.mark.parametrize(("grid", "ratio", "visible"), [((14, 14), 0.75, 49), ((14, 14), 0.6, 78), ((10, 10), 0.9, 9)])
def test_random_masking_truncates_as_the_official_code(grid, ratio, visible):
    masks = RandomMasking(ratio)(keys(3), grid)
    assert masks.ids_keep.shape == (3, 1, visible)
    assert (masks.mask.sum(-1) == grid[0] * grid[1] - visible).all()


def test_a_ratio_that_leaves_nothing_visible_is_refused():
    with pytest.raises(UserError, match="leaves none of 10 patches visible"):
        RandomMasking(0.95)(keys(1), (2, 5))


@pytest.mark.parametrize(
    ("grid", "parts"), [((14, 14), 4), ((4, 4), 4), ((8, 8), 2), ((14, 14), 5), ((5, 10), 7), ((3, 3), 9)]
)
def test_parts_partition_the_patches(grid, parts):
    patches = grid[0] * grid[1]
    masks = ParallelMasking(parts)(keys(6), grid)
    visible = 1 - masks.mask
    assert masks.mask.shape == (6, parts, patches)
    assert (visible.sum(1) == 1).all(), "every patch is visible in exactly one part"
    sizes = visible.sum(-1)
    assert sizes.max() - sizes.min() <= 1
    assert (masks.key_valid is None) == (patches % parts == 0)


def test_overlap_of_two_parts():
    masks = ParallelMasking(4)(keys(2), (14, 14))
    assert ((masks.mask[:, 0] * masks.mask[:, 3]).sum(-1) == 196 - 2 * 196 / 4).all()


@pytest.mark.parametrize("masking", [RandomMasking(0.75), ParallelMasking(4), ParallelMasking(5)])
def test_gather_and_restore_are_inverse(masking):
    patches = torch.randn(3, 16, 8)
    masks = masking(keys(3), (4, 4))
    visible = masks.gather(patches).reshape(3, masks.parts, -1, 8)
    candidates = torch.cat([visible, torch.full((3, masks.parts, 1, 8), 99.0)], dim=2)
    restored = candidates.gather(2, masks.ids_restore[..., None].expand(-1, -1, -1, 8))
    expected = torch.where(masks.mask[..., None] == 1, 99.0, patches[:, None])
    torch.testing.assert_close(restored, expected, rtol=0, atol=0)


def test_padding_is_marked_where_sizes_differ():
    masks = ParallelMasking(5)(keys(2), (4, 4))  # sizes 4, 3, 3, 3, 3
    assert masks.key_valid.sum(-1).tolist() == [[4, 3, 3, 3, 3]] * 2
    shown = [set(masks.ids_keep[0, k][masks.key_valid[0, k]].tolist()) for k in range(5)]
    assert set().union(*shown) == set(range(16))


def test_masks_depend_on_the_key_alone():
    masking = ParallelMasking(4)
    whole = masking(keys(8), (8, 8))
    part = masking(keys(8)[5:], (8, 8))
    assert torch.equal(whole.mask[5:], part.mask)
    assert not torch.equal(whole.mask, masking(keys(8, epoch=1), (8, 8)).mask)
    assert not torch.equal(whole.mask[0], whole.mask[1])


def test_random_masks_are_uniform_over_patches():
    hidden = RandomMasking(0.75)(keys(2000), (4, 4)).mask.mean((0, 1))
    # 2000 draws of a Bernoulli(0.75): 5 standard errors.
    assert (hidden - 0.75).abs().max() < 5 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(UserError, match="between 0 and 1"):
        RandomMasking(ratio)


def test_fewer_than_two_parts_are_refused():
    with pytest.raises(UserError, match="at least 2"):
        ParallelMasking(1)


@pytest.mark.parametrize("masking", [RandomMasking(0.75), ParallelMasking(3), ParallelMasking(5)])
def test_masks_on_a_finer_grid_hide_whole_cells(masking):
    masks = masking(keys(2), (2, 4))
    fine = masks.on((4, 12))
    pictures = masks.mask.unflatten(2, (2, 4)).repeat_interleave(2, 2).repeat_interleave(3, 3)
    assert torch.equal(fine.mask, pictures.flatten(2)) and fine.grid == (4, 12)
    assert fine.ids_keep.shape[-1] == masks.ids_keep.shape[-1] * 6
    assert (fine.key_valid is None) == (masks.key_valid is None)
    assert masks.on((2, 4)) is masks
    same = Masks.from_mask(pictures.flatten(2), (4, 12))
    for name in ("ids_keep", "ids_restore", "key_valid"):
        ours, other = getattr(fine, name), getattr(same, name)
        assert ours is other is None or torch.equal(ours, other), name


def test_masks_on_a_coarser_grid_are_averaged():
    mask = torch.tensor([[[1.0, 1, 0, 0, 1, 0, 0, 0]]])  # 2 x 4
    coarse = Masks.from_mask(mask, (2, 4)).on((1, 2))
    assert coarse.mask.tolist() == [[[0.75, 0.0]]]
    # No sequence of visible cells where one can be visible in part.
    assert coarse.ids_keep.shape == coarse.ids_restore.shape == (1, 1, 0)


def test_grids_that_do_not_fit_are_refused():
    masks = RandomMasking(0.5)(keys(1), (4, 4))
    with pytest.raises(UserError, match="4 x 4 cells, which cannot be taken to 6 x 6"):
        masks.on((6, 6))


def test_masks_of_a_given_mask_have_ids_in_raster_order():
    mask = torch.tensor([[[1.0, 0, 1, 0, 0, 1], [0, 1, 1, 1, 1, 1]]])
    masks = Masks.from_mask(mask, (2, 3))
    assert masks.ids_keep[0, 0].tolist() == [1, 3, 4]
    assert masks.ids_restore[0, 0].tolist() == [3, 0, 3, 1, 2, 3]
    assert masks.key_valid.tolist() == [[[True, True, True], [True, False, False]]]
    assert masks.ids_keep[0, 1, 0] == 0 and masks.ids_restore[0, 1].tolist() == [0, 3, 3, 3, 3, 3]
    assert Masks.from_mask(mask[:, :1], (2, 3)).key_valid is None


def test_a_unit_makes_cells_of_several_patches():
    masking = RandomMasking(0.6, unit=32)
    assert masking.cells((192, 224), 4) == (6, 7)
    assert masking(keys(2), (6, 7)).on((48, 56)).mask.sum().item() == 2 * (42 - int(42 * 0.4)) * 64


@pytest.mark.parametrize(("unit", "patch", "size"), [(24, 16, (192, 192)), (32, 16, (208, 192)), (8, 16, (192, 192))])
def test_units_that_do_not_fit_are_refused(unit, patch, size):
    with pytest.raises(UserError, match=f"RandomMasking.unit is {unit} pixels.*patch size {patch}"):
        RandomMasking(0.5, unit=unit).cells(size, patch)


@pytest.mark.parametrize("masking", [RandomMasking(0.75, shared=True), ParallelMasking(4, shared=True)])
def test_a_shared_mask_is_the_first_images_own(masking):
    masks = masking(keys(3), (4, 4))
    assert torch.equal(masks.mask, masks.mask[:1].expand(3, -1, -1))
    assert torch.equal(masks.ids_keep, masks.ids_keep[:1].expand(3, -1, -1))
    masking.shared = False
    assert torch.equal(masking(keys(3), (4, 4)).mask[:1], masks.mask[:1])


def test_masks_that_cannot_be_drawn_are_refused_when_the_grid_is_known():
    with pytest.raises(UserError, match="leaves none of 16 patches visible"):
        RandomMasking(0.95).cells((32, 32), 8)
    with pytest.raises(UserError, match="parts is 20, but an image has only 16"):
        ParallelMasking(20).cells((32, 32), 8)
    with pytest.raises(UserError, match="patches 75 leaves none of 16"):
        BlockMasking().cells((32, 32), 8)


@pytest.mark.parametrize(
    ("grid", "settings"),
    [
        ((14, 14), dict()),
        ((14, 14), dict(patches=78, min_patches=15)),
        ((7, 7), dict(patches=20, min_patches=4, aspect=(0.5, 2.0))),
        ((6, 20), dict(patches=50, min_patches=5, max_patches=12)),
        ((14, 14), dict(patches=5, min_patches=1)),
    ],
)
def test_block_masks_keep_their_bounds(grid, settings):
    masking = BlockMasking(**settings)
    masks = masking(keys(200), grid)
    counts = masks.mask.sum((1, 2))
    assert masks.mask.shape == (200, 1, grid[0] * grid[1]) and set(masks.mask.unique().tolist()) == {0.0, 1.0}
    assert counts.max() <= masking.patches and counts.min() > 0
    assert counts.mean() > 0.9 * masking.patches
    visible = (1 - masks.mask).sum(-1)
    valid = torch.ones_like(masks.ids_keep, dtype=torch.bool) if masks.key_valid is None else masks.key_valid
    assert torch.equal(valid.sum(-1), visible.long())
    shown = torch.zeros_like(masks.mask).scatter_add_(2, masks.ids_keep, valid.float())
    assert torch.equal(shown, 1 - masks.mask)


def test_one_block_has_the_area_and_the_aspect_that_it_may():
    masking = BlockMasking(patches=60, min_patches=60, max_patches=60)
    seen = set()
    for index in range(300):
        mask = torch.from_numpy(masking.one([1, 2, index], (14, 14))).reshape(14, 14)
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
        # A rounded rectangle of 60: the first one fits, unless it would hide more than 60.
        if height * width == int(mask.sum()):
            assert 50 <= height * width <= 60 and 0.25 < height / width < 4
            seen.add((height, width))
    assert {(height, width) for height, width in seen if height > width}
    assert {(height, width) for height, width in seen if height < width}


def test_block_masks_depend_on_the_key_alone():
    masking = BlockMasking()
    whole = masking(keys(6), (14, 14))
    assert torch.equal(masking(keys(6)[4:], (14, 14)).mask, whole.mask[4:])
    assert not torch.equal(masking(keys(6, epoch=1), (14, 14)).mask, whole.mask)
    assert len({tuple(mask.tolist()) for mask in whole.mask[:, 0]}) == 6


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(patches=10, min_patches=16), "min_patches must lie between 1 and patches"),
        (dict(min_patches=0), "min_patches"),
        (dict(aspect=(2.0, 0.5)), "aspect must be two rising"),
        (dict(aspect=(0.0, 2.0)), "aspect"),
    ],
)
def test_impossible_blocks_are_refused(settings, match):
    with pytest.raises(UserError, match=match):
        BlockMasking(**settings)
