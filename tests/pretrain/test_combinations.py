"""Every choice of slots either trains a step or is refused in a sentence when it is built, never at step 1."""

from itertools import combinations, product

import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.model import MaskedImageModel

SIDE = 32
VIT = dict(type="mimeval.VisionTransformer", arch=dict(embed_dim=8, depth=2, num_heads=2), img_size=SIDE, patch_size=8)
SWIN = dict(
    type="mimeval.SwinTransformer",
    arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)),
    img_size=SIDE,
    window_size=2,
)
SMALL = dict(embed_dim=8, num_heads=2, depth=1)
# For each backbone its config and the side of the cells of each level, dense and (where patches merge first) sparse.
BACKBONES = {
    "ViT": (VIT, (8,), (8,)),
    "ViT, 2 taps": (dict(VIT, taps=(0, 1), tap_norm=True), (8, 8), (8, 8)),
    "ViT, shared bias": (dict(VIT, pos_embed="none", rel_pos="shared_bias", k_bias=False), (8,), (8,)),
    "ViT, windows": (dict(VIT, out_type="maps", window_size=2, rel_pos="decomposed"), (8,), (8,)),
    "Swin, maps": (SWIN, (4, 8), (8, 8)),
    "Swin, norm": (dict(SWIN, out_type="mean"), (8,), (8,)),
}
ENCODINGS = ("VisibleTokens", "SubstitutedTokens", "SparseWindows")
MASKINGS = {
    "Random": dict(type="mimeval.RandomMasking", ratio=0.75),
    "Random, 8 px": dict(type="mimeval.RandomMasking", ratio=0.5, unit=8),
    "Random, 16 px, shared": dict(type="mimeval.RandomMasking", ratio=0.5, unit=16, shared=True),
    "Parallel": dict(type="mimeval.ParallelMasking", parts=4, unit=8),
    "Parallel, uneven": dict(type="mimeval.ParallelMasking", parts=3, unit=8),
    "Parallel, shared": dict(type="mimeval.ParallelMasking", parts=4, unit=8, shared=True),
    "Block": dict(type="mimeval.BlockMasking", patches=6, min_patches=2),
}
DECODERS = {
    "MAE": dict(type="mimeval.MAEDecoder", **SMALL),
    "LocalMIM": dict(type="mimeval.LocalMIMDecoder", scale=2, **SMALL),
    "Linear": dict(type="mimeval.LinearDecoder"),
}
TARGETS = {
    "pixels": lambda side: dict(type="mimeval.PixelTarget", patch_size=side),
    "raw pixels": lambda side: dict(type="mimeval.PixelTarget", patch_size=side, norm_pix=False),
    "HOG": lambda side: dict(type="mimeval.HOGTarget", cell=side, nbins=4),
    "clusters": lambda side: dict(
        type="mimeval.ClusterTarget",
        tokenizer=dict(
            type="mimeval.ClusterTokenizer",
            vectors=dict(type="mimeval.PixelPatches", patch_size=side),
            num_centres=5,
        ),
        centres=None,
    ),
}
LOSSES = ("MaskedMSE", "MaskedL1", "MaskedCrossEntropy")
REGULARIZERS = {
    "none": [],
    "consistency": [dict(type="mimeval.SelfConsistency")],
    "consistency of classes": [dict(type="mimeval.SelfConsistency", of="probabilities")],
}
MASK_TOKENS = {
    "no MTO": None,
    "MTO": dict(
        type="mimeval.MaskTokenOptimization",
        w_spa=0.1,
        w_e=0.1,
        w_r=0.1,
        temperature=0.1,
        margin=0.01,
        early=0.25,
        threshold=0.95,
    ),
}
SLOTS = dict(
    backbone=tuple(BACKBONES),
    encoding=ENCODINGS,
    masking=tuple(MASKINGS),
    decoder=tuple(DECODERS),
    target=tuple(TARGETS),
    loss=LOSSES,
    regularizer=tuple(REGULARIZERS),
    mask_token=tuple(MASK_TOKENS),
)
PREPROCESSOR = dict(type="mmengine.ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def config(choice: dict[str, str]) -> dict:
    backbone, dense, sparse = BACKBONES[choice["backbone"]]
    sides = sparse if choice["encoding"] == "SparseWindows" else dense
    if choice["decoder"] == "LocalMIM":
        sides = [side // 2 for side in sides]
    return dict(
        backbone=backbone,
        masking=MASKINGS[choice["masking"]],
        encoding=dict(type=f"mimeval.{choice['encoding']}"),
        decoders=[DECODERS[choice["decoder"]]] * len(sides),
        targets=[TARGETS[choice["target"]](side) for side in sides],
        loss=dict(type=f"mimeval.{choice['loss']}"),
        regularizers=REGULARIZERS[choice["regularizer"]],
        mask_token=MASK_TOKENS[choice["mask_token"]],
        data_preprocessor=PREPROCESSOR,
    )


def train_one_step(model: MaskedImageModel) -> None:
    model.init_weights()
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    keys = torch.tensor([[0, 0, 0], [0, 0, 1]])
    inputs = model.data_preprocessor({"inputs": images})["inputs"]
    totals = []
    for half in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            totals.append(sum(model.loss(inputs, keys).values()))
        totals[-1].backward()
    torch.testing.assert_close(*totals, rtol=0.1, atol=0)
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or torch.isfinite(parameter.grad).all(), name
    assert any(parameter.grad.abs().max() > 0 for parameter in model.backbone.parameters() if parameter.requires_grad)
    if model.shown_level is not None:
        assert model.reconstruct(images, keys)["reconstruction"].shape == (2, model.masking.parts, 3, SIDE, SIDE)


# Why no model has both: what neither the other slots nor their settings can mend.
REFUSED = {
    # Windows and relative positions need every patch.
    ("ViT, shared bias", "VisibleTokens"),
    ("ViT, windows", "VisibleTokens"),
    ("Swin, maps", "VisibleTokens"),
    ("Swin, norm", "VisibleTokens"),
    # Sparse windows are Swin's, with every stage.
    ("ViT", "SparseWindows"),
    ("ViT, 2 taps", "SparseWindows"),
    ("ViT, shared bias", "SparseWindows"),
    ("ViT, windows", "SparseWindows"),
    ("Swin, norm", "SparseWindows"),
    # All images of a batch share a mask whose cells stay whole.
    ("SparseWindows", "Random"),
    ("SparseWindows", "Random, 8 px"),
    ("SparseWindows", "Parallel"),
    ("SparseWindows", "Parallel, uneven"),
    ("SparseWindows", "Block"),
    # Mask tokens are put in by the encoding or by the decoder.
    ("VisibleTokens", "Linear"),
    ("SparseWindows", "Linear"),
    ("SubstitutedTokens", "MAE"),
    ("SubstitutedTokens", "LocalMIM"),
    # ... so that a backbone that needs every patch goes with a linear decoder, or is a sparse Swin.
    ("ViT, shared bias", "MAE"),
    ("ViT, shared bias", "LocalMIM"),
    ("ViT, windows", "MAE"),
    ("ViT, windows", "LocalMIM"),
    ("Swin, norm", "MAE"),
    ("Swin, norm", "LocalMIM"),
    # Classes are compared by cross-entropy, values by distances.
    ("pixels", "MaskedCrossEntropy"),
    ("raw pixels", "MaskedCrossEntropy"),
    ("HOG", "MaskedCrossEntropy"),
    ("clusters", "MaskedMSE"),
    ("clusters", "MaskedL1"),
    ("pixels", "consistency of classes"),
    ("raw pixels", "consistency of classes"),
    ("HOG", "consistency of classes"),
    ("clusters", "consistency"),
    ("MaskedMSE", "consistency of classes"),
    ("MaskedL1", "consistency of classes"),
    ("MaskedCrossEntropy", "consistency"),
    # Agreement needs three parts.
    ("Random", "consistency"),
    ("Random, 8 px", "consistency"),
    ("Random, 16 px, shared", "consistency"),
    ("Block", "consistency"),
    ("Random", "consistency of classes"),
    ("Random, 8 px", "consistency of classes"),
    ("Random, 16 px, shared", "consistency of classes"),
    ("Block", "consistency of classes"),
    # Mask tokens are read in blocks where they meet all visible ones.
    ("ViT, windows", "MTO"),
    ("Swin, norm", "MTO"),
}
# ... and three, where each pair is found in some model: Swin's own windows, but not the decoders on sparse ones.
REFUSED_TOGETHER = {("Swin, maps", "SubstitutedTokens", "MTO")}


def pairs(choice: dict[str, str]) -> set[tuple[str, str]]:
    return set(combinations(choice.values(), 2))


def is_refused(choice: dict[str, str]) -> bool:
    return bool(pairs(choice) & REFUSED) or any(set(group) <= set(choice.values()) for group in REFUSED_TOGETHER)


def test_every_pair_of_slots_trains_a_step_or_is_refused():
    """All combinations are built; of those that can be, so many train that every pair of choices has been in one."""
    torch.manual_seed(0)
    trained: set[tuple[str, str]] = set()
    possible: set[tuple[str, str]] = set()
    every: set[tuple[str, str]] = set()
    for values in product(*SLOTS.values()):
        choice = dict(zip(SLOTS, values, strict=True))
        every |= pairs(choice)
        if is_refused(choice):
            continue
        model = MaskedImageModel(**config(choice))
        possible |= pairs(choice)
        if pairs(choice) - trained:
            train_one_step(model)
            trained |= pairs(choice)
    assert trained == possible == every - REFUSED


@pytest.mark.parametrize("group", sorted(REFUSED | REFUSED_TOGETHER), ids=" + ".join)
def test_what_is_refused_is_so_with_whatever_else(group):
    slots = {name: [value for value in values if value in group] or values for name, values in SLOTS.items()}
    for turn in range(max(map(len, SLOTS.values()))):
        choice = {name: values[turn % len(values)] for name, values in slots.items()}
        with pytest.raises(UserError) as caught:
            MaskedImageModel(**config(choice))
        sentence = str(caught.value)
        assert sentence.endswith(".") and len(sentence) > 60 and ":" in sentence, sentence


PLAIN = dict(
    zip(SLOTS, ("ViT", "VisibleTokens", "Random", "MAE", "pixels", "MaskedMSE", "none", "no MTO"), strict=True)
)
SIMMIM = dict(
    encoding="SubstitutedTokens", masking="Random, 8 px", decoder="Linear", target="raw pixels", loss="MaskedL1"
)
COMPILED = {
    "MAE": {},
    "EMAE": dict(masking="Parallel, uneven", regularizer="consistency"),
    "LocalMIM": dict(backbone="ViT, 2 taps", decoder="LocalMIM", target="HOG"),
    "ClusterMIM": dict(target="clusters", loss="MaskedCrossEntropy"),
    "SimMIM, ViT": dict(SIMMIM, backbone="ViT, shared bias"),
    "SimMIM, Swin": dict(SIMMIM, backbone="Swin, norm"),
    "MaskFeat": dict(encoding="SubstitutedTokens", masking="Block", decoder="Linear", target="HOG"),
    "MTO on MAE": dict(mask_token="MTO"),
    "MTO on SimMIM": dict(SIMMIM, backbone="ViT, shared bias", mask_token="MTO"),
    "combined": dict(
        backbone="ViT, 2 taps",
        masking="Parallel",
        decoder="LocalMIM",
        target="clusters",
        loss="MaskedCrossEntropy",
        regularizer="consistency of classes",
        mask_token="MTO",
    ),
}


@pytest.mark.parametrize("method", COMPILED)
def test_a_method_compiles(method):
    """As one graph; block-wise masks are drawn outside of it."""
    torch.manual_seed(0)
    torch.compiler.reset()
    model = MaskedImageModel(**config(PLAIN | COMPILED[method]))
    model.init_weights()
    images, keys = torch.randn(2, 3, SIDE, SIDE), torch.tensor([[0, 0, 0], [0, 0, 1]])
    compiled = torch.compile(model.loss, backend="eager", fullgraph=method != "MaskFeat")
    expected = model.loss(images, keys)
    assert all(torch.equal(loss, expected[name]) for name, loss in compiled(images, keys).items())
