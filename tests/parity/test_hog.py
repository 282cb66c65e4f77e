"""Parity of HOG targets with LocalMIM's and MaskFeat's official layers (golden/localmim_hog, golden/maskfeat_hog)."""

import pytest
import torch

from mimeval.pretrain.targets.hog import HOGTarget
from tests.golden import golden
from tests.parity.record import close

# Maps of fine cells are stored sampled.
STEPS = {4: 5, 8: 3, 16: 1, 32: 1}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", [4, 8, 16, 32])
@pytest.mark.parametrize("nbins", [9, 18])
def test_localmim(nbins, cell, bias):
    arrays = {key: torch.from_numpy(value) for key, value in golden("localmim_hog")[0].items()}
    entry = f"hog{nbins}_cell{cell}" + "_bias" * bias
    target = HOGTarget(cell, nbins, bias=bias)
    assert torch.equal(target.kernels[:2], arrays["state/conv.weight"])
    if bias:
        target.load_state_dict({"gradient_bias": arrays[f"state/{entry}.conv.bias"]}, strict=True)
    maps = target(arrays["in/images"]).transpose(1, 2).unflatten(2, target.grid((224, 224)))
    step = STEPS[cell]
    quantity = "HOG" + ", with its bias" * bias
    close("LocalMIM", quantity, maps[:, :, ::step, ::step], arrays[f"out/{entry}"], 1e-5, name=entry)
    whole = maps[0].double().flatten(1)
    checks = torch.stack([whole.sum(1), whole.square().sum(1)])
    torch.testing.assert_close(checks, arrays[f"out/{entry}_checks"].double(), rtol=1e-5, atol=1e-5)


def test_maskfeat():
    arrays = {key: torch.from_numpy(value) for key, value in golden("maskfeat_hog")[0].items()}
    target = HOGTarget(cell=8, nbins=9, patch_size=16)
    assert target.dim == 108
    close("MaskFeat", "HOG of every cell", target.histograms(arrays["in/images"]), arrays["out/hog"], 1e-6)
    labels = target(arrays["in/images"])
    close("MaskFeat", "targets of every patch", labels, arrays["out/labels_all"], 1e-6)
    close("MaskFeat", "targets of hidden patches", labels[arrays["in/mask"].bool()], arrays["out/labels_masked"], 1e-6)
