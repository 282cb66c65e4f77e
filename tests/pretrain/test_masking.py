import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.masking import ParallelMasking, RandomMasking


def keys(batch: int, epoch: int = 0) -> torch.Tensor:
    return torch.tensor([[7, epoch, index] for index in range(batch)])


def test_random_masking_follows_the_noise():
    noise = torch.tensor([[0.4, 0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.3]])
    masks = RandomMasking(0.75).from_noise(noise)
    assert masks.ids_keep.tolist() == [[[1, 3]]]
    assert masks.mask.tolist() == [[[1, 0, 1, 0, 1, 1, 1, 1]]]
    assert masks.key_valid is None


@pytest.mark.parametrize(("patches", "ratio", "visible"), [(196, 0.75, 49), (196, 0.6, 78), (100, 0.9, 9)])
def test_random_masking_truncates_as_the_official_code(patches, ratio, visible):
    masks = RandomMasking(ratio)(keys(3), patches)
    assert masks.ids_keep.shape == (3, 1, visible)
    assert (masks.mask.sum(-1) == patches - visible).all()


def test_a_ratio_that_leaves_nothing_visible_is_refused():
    with pytest.raises(UserError, match="leaves none of 10 patches visible"):
        RandomMasking(0.95)(keys(1), 10)


@pytest.mark.parametrize(("patches", "parts"), [(196, 4), (16, 4), (64, 2), (196, 5), (50, 7), (9, 9)])
def test_parts_partition_the_patches(patches, parts):
    masks = ParallelMasking(parts)(keys(6), patches)
    visible = 1 - masks.mask
    assert masks.mask.shape == (6, parts, patches)
    assert (visible.sum(1) == 1).all(), "every patch is visible in exactly one part"
    sizes = visible.sum(-1)
    assert sizes.max() - sizes.min() <= 1
    assert (masks.key_valid is None) == (patches % parts == 0)


def test_overlap_of_two_parts():
    masks = ParallelMasking(4)(keys(2), 196)
    assert ((masks.mask[:, 0] * masks.mask[:, 3]).sum(-1) == 196 - 2 * 196 / 4).all()


@pytest.mark.parametrize("masking", [RandomMasking(0.75), ParallelMasking(4), ParallelMasking(5)])
def test_gather_and_restore_are_inverse(masking):
    patches = torch.randn(3, 16, 8)
    masks = masking(keys(3), 16)
    visible = masks.gather(patches).reshape(3, masks.parts, -1, 8)
    candidates = torch.cat([visible, torch.full((3, masks.parts, 1, 8), 99.0)], dim=2)
    restored = candidates.gather(2, masks.ids_restore[..., None].expand(-1, -1, -1, 8))
    expected = torch.where(masks.mask[..., None] == 1, 99.0, patches[:, None])
    torch.testing.assert_close(restored, expected, rtol=0, atol=0)


def test_padding_is_marked_where_sizes_differ():
    masks = ParallelMasking(5)(keys(2), 16)  # sizes 4, 3, 3, 3, 3
    assert masks.key_valid.sum(-1).tolist() == [[4, 3, 3, 3, 3]] * 2
    shown = [set(masks.ids_keep[0, k][masks.key_valid[0, k]].tolist()) for k in range(5)]
    assert set().union(*shown) == set(range(16))


def test_masks_depend_on_the_key_alone():
    masking = ParallelMasking(4)
    whole = masking(keys(8), 64)
    part = masking(keys(8)[5:], 64)
    assert torch.equal(whole.mask[5:], part.mask)
    assert not torch.equal(whole.mask, masking(keys(8, epoch=1), 64).mask)
    assert not torch.equal(whole.mask[0], whole.mask[1])


def test_random_masks_are_uniform_over_patches():
    hidden = RandomMasking(0.75)(keys(2000), 16).mask.mean((0, 1))
    # 2000 draws of a Bernoulli(0.75): 5 standard errors.
    assert (hidden - 0.75).abs().max() < 5 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(UserError, match="between 0 and 1"):
        RandomMasking(ratio)


def test_fewer_than_two_parts_are_refused():
    with pytest.raises(UserError, match="at least 2"):
        ParallelMasking(1)
