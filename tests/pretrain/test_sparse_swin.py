"""Sparse windows equal dense ones; groups hold every token once; what cannot be encoded is refused."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.errors import UserError
from mimeval.pretrain.masking import ParallelMasking, RandomMasking
from mimeval.pretrain.sparse_swin import Cells, SparseWindows, group_windows, pack
from tests.pretrain.dense_windows import dense_encode

ARCH = dict(embed_dim=8, depths=(2, 2, 2, 1), num_heads=(1, 2, 4, 8))


def build(image_size: int, window_size: int, **kwargs):
    torch.manual_seed(0)
    backbone = SwinTransformer(ARCH, img_size=image_size, window_size=window_size, norm_eps=1e-6, **kwargs)
    return backbone, SparseWindows(backbone)


def draw(masking, image_size: int, batch: int = 2):
    keys = torch.stack([torch.tensor([0, 0, index]) for index in range(batch)])
    return masking(keys, masking.cells((image_size, image_size), 4))


def run(encode, backbone, encoding, images, masks, weights):
    """The levels, and the gradient of every parameter, of the levels' sum under these weights."""
    levels = encode(backbone, images, masks)
    sum((level * weight).sum() for level, weight in zip(levels, weights, strict=True)).backward()
    gradients = {}
    for name, parameter in [*backbone.named_parameters(), *encoding.named_parameters()]:
        gradients[name], parameter.grad = parameter.grad, None
    return levels, gradients


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(
    "image_size, window_size, masking",
    [
        (224, 7, RandomMasking(0.75, unit=32, shared=True)),
        (224, 14, RandomMasking(0.75, unit=32, shared=True)),
        (192, 6, RandomMasking(0.6, unit=32, shared=True)),
        # 16 cells in 3 parts: one of them is longer.
        (128, 4, ParallelMasking(3, unit=32, shared=True)),
        # The map is no multiple of the window, and cells are larger than they need to be.
        (192, 5, RandomMasking(0.5, unit=64, shared=True)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else None,
)
def test_sparse_equals_dense(image_size, window_size, masking, dtype, tolerance):
    backbone, encoding = build(image_size, window_size)
    if dtype == torch.float64:
        # Far from the start, where every mistake is large; in float32 rounding would be, too.
        for parameter in [*backbone.parameters(), *encoding.parameters()]:
            torch.nn.init.normal_(parameter, float(parameter.ndim == 1), 0.3)
    backbone, encoding = backbone.to(dtype), encoding.to(dtype)
    masks = draw(masking, image_size)
    encoding.check(masking, masks.grid)
    images = torch.randn(2, 3, image_size, image_size, dtype=dtype)
    weights = [
        torch.randn(2 * masks.parts, masks.on(grid).ids_keep.shape[2], width, dtype=dtype)
        for grid, width in zip(encoding.level_grids, encoding.level_dims, strict=True)
    ]
    sparse, gradients = run(encoding, backbone, encoding, images, masks, weights)
    dense, expected = run(partial(dense_encode, encoding), backbone, encoding, images, masks, weights)
    for level, reference in zip(sparse, dense, strict=True):
        assert level.shape == reference.shape
        assert (level - reference).abs().max() <= tolerance * reference.abs().max()
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).abs().max() <= tolerance * gradient.abs().max(), name


def test_bins_are_as_full_as_they_can_be():
    random = np.random.default_rng(0)
    for _ in range(50):
        counts = random.integers(1, 12, size=random.integers(1, 9)).tolist()
        capacity = max(counts) + int(random.integers(0, 5))
        left, bins = list(range(len(counts))), pack(counts, capacity)
        for items in bins:
            best = max(
                total
                for size in range(1, len(left) + 1)
                for chosen in combinations(left, size)
                if (total := sum(counts[item] for item in chosen)) <= capacity
            )
            assert sum(counts[item] for item in items) == best
            left = [item for item in left if item not in items]
        assert not left and sorted(item for items in bins for item in items) == list(range(len(counts)))


@pytest.mark.parametrize("shift", [(0, 0), (3, 3), (3, 0)])
def test_groups_hold_every_token_once_and_windows_whole(shift):
    random = np.random.default_rng(0)
    places = np.stack(np.divmod(random.permutation(28 * 28)[:200], 28), axis=-1)
    groups = group_windows(places, (7, 7), shift)
    count, size = groups.offset.shape[:2]
    assert torch.equal(groups.take[groups.put], torch.arange(200))
    assert len(groups.put.unique()) == 200 and groups.put.max() < count * size
    # A shifted window ends at the border: window 0 has what lies before the first full one.
    window = [
        tuple((place + (7 - step) % 7) // 7 for place, step in zip(at, shift, strict=True)) for at in places.tolist()
    ]
    tokens = groups.take.view(count, size).tolist()
    used = torch.zeros(count * size, dtype=torch.bool).index_fill(0, groups.put, True).view(count, size).tolist()
    together = 0
    for group in range(count):
        for q in range(size):
            assert (groups.bias[group, 0, q] == 0).any()  # no empty row, which softmax would make NaN
            for k in range(size):
                attends = groups.bias[group, 0, q, k].item() == 0
                a, b = tokens[group][q], tokens[group][k]
                assert attends == (
                    window[a] == window[b] if used[group][q] and used[group][k] else used[group][q] == used[group][k]
                )
                if attends and used[group][q]:
                    together += 1
                    dy, dx = places[a] - places[b] + 6
                    assert groups.offset[group, q, k] == dy * 13 + dx
    assert together == sum(window.count(at) for at in window)


def test_hidden_pixels_do_not_matter():
    backbone, encoding = build(224, 7)
    masks = draw(RandomMasking(0.75, unit=32, shared=True), 224)
    images = torch.randn(2, 3, 224, 224)
    changed = images.clone()
    hidden = masks.mask[:1].view(1, 1, 7, 7).repeat_interleave(32, 2).repeat_interleave(32, 3).bool()
    changed[hidden.expand_as(changed)] = 9.0
    for level, same in zip(encoding(backbone, images, masks), encoding(backbone, changed, masks), strict=True):
        assert torch.equal(level, same)


def test_checkpointing_changes_nothing():
    masks = draw(RandomMasking(0.75, unit=32, shared=True), 224)
    images = torch.randn(2, 3, 224, 224)
    gradients = []
    for checkpointing in (False, True):
        backbone, encoding = build(224, 7, grad_checkpointing=checkpointing)
        sum(level.square().sum() for level in encoding(backbone, images, masks)).backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


def test_what_cannot_be_encoded_is_refused():
    with pytest.raises(UserError, match="encoding SparseWindows needs a SwinTransformer"):
        SparseWindows(VisionTransformer(dict(embed_dim=8, depth=1, num_heads=1)))
    with pytest.raises(UserError, match="every stage as a tap"):
        SparseWindows(SwinTransformer(ARCH, taps=(1, 2)))
    _, encoding = build(224, 7)
    alone = RandomMasking(unit=32)
    with pytest.raises(UserError, match="set shared=True in RandomMasking"):
        encoding.check(alone, alone.cells((224, 224), 4))
    fine = RandomMasking(unit=16, shared=True)
    with pytest.raises(UserError, match="7 x 7 tokens, found 14 x 14 cells: set RandomMasking.unit .* 32 pixels"):
        encoding.check(fine, fine.cells((224, 224), 4))


def test_misplaced_tokens_are_right_where_a_cell_is_one_token():
    corners = np.argwhere(np.random.default_rng(0).random((7, 7)) < 0.3)
    single, many = Cells(corners, (7, 7), (7, 7)), Cells(corners, (28, 28), (7, 7))
    assert np.array_equal(single.misplaced(), single.places())
    # 16 tokens of a cell of 4 x 4 are taken for 16 tokens in a row of the map.
    start = int(corners[0] @ (7, 1)) * 16
    assert many.misplaced()[:16].tolist() == [list(divmod(start + i, 28)) for i in range(16)]
    assert not np.array_equal(many.misplaced(), many.places())


def test_misplaced_changes_latents_after_the_first_stage():
    masks, images = draw(RandomMasking(0.75, unit=32, shared=True), 224), torch.randn(2, 3, 224, 224)
    backbone, encoding = build(224, 7)
    right = encoding(backbone, images, masks)
    encoding.misplaced = True
    wrong = encoding(backbone, images, masks)
    assert torch.equal(right[0], wrong[0])
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(right[1:], wrong[1:], strict=True))
