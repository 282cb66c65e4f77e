import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mimeval.errors import UserError
from mimeval.transfer.preprocess import ClassificationPreprocessor

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
MIXUP = dict(mixup_alpha=0.8, cutmix_alpha=1.0)


def batch(size=4, **metainfo):
    images = torch.randint(256, (size, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    samples = [DataSample(metainfo=metainfo).set_gt_label(k % 3) for k in range(size)]
    return {"inputs": images, "data_samples": samples}


def test_normalises_a_stacked_batch_and_a_list_alike():
    preprocessor = ClassificationPreprocessor(MEAN, STD)
    data = batch()
    stacked = preprocessor(data)["inputs"]
    listed = preprocessor({"inputs": list(data["inputs"]), "data_samples": data["data_samples"]})["inputs"]
    assert stacked.dtype == torch.float32 and torch.equal(stacked, listed)
    expected = (data["inputs"][1, 2].double() - 100) / 40
    torch.testing.assert_close(stacked[1, 2].double(), expected, rtol=1e-6, atol=1e-6)


def test_images_without_labels_or_samples_pass():
    preprocessor = ClassificationPreprocessor(MEAN, STD, num_classes=3, mixup=MIXUP)
    images = batch()["inputs"]
    assert preprocessor({"inputs": images})["data_samples"] is None
    unlabelled = preprocessor({"inputs": images, "data_samples": [DataSample() for _ in images]}, training=True)
    assert torch.equal(unlabelled["inputs"], preprocessor({"inputs": images})["inputs"])


def test_noise_is_pasted_in_training_only_and_before_mixing():
    noise = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    data = batch(erasing=[((1, 3), (4, 8), noise)])
    preprocessor = ClassificationPreprocessor(MEAN, STD, num_classes=3)
    erased, plain = preprocessor(data, training=True)["inputs"], preprocessor(data)["inputs"]
    for image in erased:
        assert torch.equal(image[:, 1:3, 4:8], torch.from_numpy(noise))
    mask = torch.ones(8, 8, dtype=bool)
    mask[1:3, 4:8] = False
    assert torch.equal(erased[:, :, mask], plain[:, :, mask])
    # Every image has the same noise there, so mixing any two leaves it if it comes after.
    np.random.seed(0)
    mixed = ClassificationPreprocessor(MEAN, STD, num_classes=3, mixup=MIXUP)(data, training=True)["inputs"]
    torch.testing.assert_close(mixed[:, :, 1:3, 4:8], erased[:, :, 1:3, 4:8])
    assert not torch.equal(mixed, erased)


def test_labels_stay_beside_the_scores():
    data = batch()
    np.random.seed(1)
    samples = ClassificationPreprocessor(MEAN, STD, num_classes=3, mixup=MIXUP)(data, training=True)["data_samples"]
    assert [sample.gt_label.item() for sample in samples] == [0, 1, 2, 0]
    assert all(sample.gt_score.shape == (3,) for sample in samples)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(mixup=MIXUP), "mixup needs num_classes"),
        (dict(num_classes=3, batch_augments=dict(augments=[])), "data_preprocessor.mixup"),
        (dict(num_classes=3, mixup=dict(alpha=0.8)), "alpha"),
        (dict(num_classes=3, mixup=dict(mixup_alpha=0.0, cutmix_alpha=0.0)), "above 0"),
        (dict(num_classes=3, mixup=dict(mixup_alpha=0.8, mode="half")), "mode"),
    ],
)
def test_settings_that_cannot_be_meant(settings, message):
    with pytest.raises(UserError, match=message):
        ClassificationPreprocessor(MEAN, STD, **settings)


def test_an_odd_batch_cannot_be_mixed():
    preprocessor = ClassificationPreprocessor(MEAN, STD, num_classes=3, mixup=MIXUP)
    with pytest.raises(UserError, match="even number of images per process, found 3"):
        preprocessor(batch(3), training=True)
    assert len(preprocessor(batch(3))["inputs"]) == 3
