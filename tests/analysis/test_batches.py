import pytest
from mmengine.config import Config

from mimeval.analysis.batches import INSTANCES, model_kind, random_batch
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.errors import UserError

KINDS = {
    "configs/mae_vitb.py": ("pretrain", 224),
    "configs/transfer/finetune_vitb.py": ("classifier", 224),
    "configs/transfer/maskrcnn_vitdet_vitb.py": ("detector", 1024),
    "configs/transfer/upernet_vitb.py": ("segmentor", 512),
    "configs/demo/detection_demo.py": ("detector", 32),
}


@pytest.fixture(autouse=True)
def environment():
    setup_environment()


@pytest.mark.parametrize("path", KINDS)
def test_a_batch_is_what_the_configs_model_trains_on(path):
    config = load_config(path)
    kind, side = KINDS[path]
    assert model_kind(config) == kind
    batch = random_batch(config, 2)
    assert [tuple(image.shape) for image in batch["inputs"]] == [(3, side, side)] * 2
    assert len(batch["data_samples"]) == 2
    assert tuple(random_batch(config, 1, size=64)["inputs"][0].shape) == (3, 64, 64)


def test_truth_is_of_the_configs_classes_and_lies_inside_the_image():
    (sample,) = random_batch(load_config("configs/demo/detection_demo.py"), 1, size=64)["data_samples"]
    truth = sample.gt_instances
    assert len(truth) == INSTANCES
    assert truth.labels.max() < 10
    boxes = truth.bboxes.tensor
    assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert truth.masks.masks.sum(axis=(1, 2)).min() > 0
    (sample,) = random_batch(load_config("configs/demo/segmentation_demo.py"), 1)["data_samples"]
    assert sample.gt_sem_seg.data.shape == (1, 32, 32)
    assert int(sample.gt_sem_seg.data.max()) <= 10


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(UserError, match="cannot be measured"):
        model_kind(load_config("configs/transfer/knn_vitb.py"))


def test_a_config_that_does_not_say_its_size_is_refused():
    config = Config(dict(model=dict(head=dict(num_classes=3), backbone=dict())))
    with pytest.raises(UserError, match="--size"):
        random_batch(config, 1)
