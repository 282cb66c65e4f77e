"""The same file gives bit-identical features inside a classifier, a detector and a segmentor, whatever its family."""

import pytest
import torch

from mimeval.checkpoints import read_state
from mimeval.checkpoints.formats import recognise
from tests.checkpoints.families import FILES, family_file
from tests.checkpoints.three_models import features_in_three_models


@pytest.mark.parametrize("name", FILES)
def test_features_are_the_same_in_classifier_detector_and_segmentor(tmp_path, name):
    path = family_file(name, tmp_path)
    architecture = recognise(read_state(path)).architecture
    images = torch.randn(1, 3, *architecture.image_size, generator=torch.Generator().manual_seed(1))
    features = features_in_three_models(path, architecture, images)
    assert len({tensor.shape for tensor in features.values()}) == 1
    assert all(torch.equal(tensor, features["classifier"]) for tensor in features.values())
