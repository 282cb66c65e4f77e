"""`--data data.yaml`: every path of a config stands where the file says."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mimeval.engine.config import load_config, set_data_root
from mimeval.engine.runner import RUN_KEYS
from mimeval.errors import UserError
from mimeval.transfer.checks import check_data
from tests.datasets import planted

TASKS = ("knn", "linear", "finetune", "detection", "segmentation")


@pytest.fixture
def file(tmp_path):
    """The three layouts in three places, COCO's validation images and one annotation file in further ones."""
    (tmp_path / "big").mkdir()
    planted.imagenet(tmp_path / "ilsvrc")
    planted.coco(tmp_path / "big/coco_2017")
    planted.ade20k(tmp_path / "ADEChallengeData2016")
    (tmp_path / "big/coco_2017/val2017").rename(tmp_path / "val2017")
    (tmp_path / "big/coco_2017/annotations/instances_val2017.json").rename(tmp_path / "val.json")
    path = tmp_path / "data.yaml"
    path.write_text(
        "imagenet: ilsvrc\nade20k: ADEChallengeData2016\n"
        "coco:\n  root: big/coco_2017\n  val2017: ../../val2017\n  annotations/instances_val2017.json: ../../val.json\n"
    )
    return path


@pytest.mark.parametrize("config", [*(f"demo/{task}_demo" for task in TASKS), "mae_vitb", "transfer/upernet_vitb"])
def test_every_path_of_the_shipped_configs_is_moved(config, file, tmp_path):
    cfg = load_config(config, data=str(file), known_keys=RUN_KEYS)
    text = cfg._cfg_dict.to_dict()
    assert cfg.data_root == str(file)

    def strings(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from strings(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from strings(item)
        elif isinstance(value, str):
            yield value

    used = {part: list(strings(text[part])) for part in text if part.endswith(("dataloader", "evaluator"))}
    assert not [
        value
        for values in used.values()
        for value in values
        if value.startswith(("data/", "imagenet/", "coco/", "ade"))
    ]
    assert any(value.startswith(str(tmp_path)) for values in used.values() for value in values)


def test_detection_reads_what_the_file_says(file, tmp_path):
    cfg = load_config("demo/detection_demo", data=str(file), known_keys=RUN_KEYS)
    assert cfg.val_dataloader.dataset.ann_file == cfg.val_evaluator.ann_file == str(tmp_path / "val.json")
    assert cfg.val_dataloader.dataset.data_prefix.img == str(tmp_path / "val2017")
    train = cfg.train_dataloader.dataset.dataset
    assert train.data_prefix.img == str(tmp_path / "big/coco_2017/train2017") and train.data_root == ""
    for dataset in (train, cfg.val_dataloader.dataset):
        dataset.metainfo = dict(classes=("dog", "tree"))
    check_data([cfg])


def test_the_data_are_found_and_built(file, tmp_path):
    known = RUN_KEYS | {"protocol"}
    check_data([load_config("demo/knn_demo", data=str(file), known_keys=known)])
    options = [
        f"{dataset}.{setting}"
        for dataset in ("train_dataloader.dataset.dataset", "val_dataloader.dataset")
        for setting in ("metainfo={'classes':('sky','building','pole')}", "img_suffix=.jpg")
    ]
    cfg = load_config("demo/segmentation_demo", options, str(file), known)
    check_data([cfg])
    gone = tmp_path / "ADEChallengeData2016/annotations/training/ADE_train_00000002.png"
    gone.unlink()
    with pytest.raises(UserError, match=f"{gone}: expected a file that the annotations call for, found nothing"):
        check_data([cfg])


def test_datasets_with_a_root_of_their_own_and_lists(file, tmp_path):
    (tmp_path / "ilsvrc/meta").mkdir()
    (tmp_path / "ilsvrc/meta/val.txt").write_text("a.JPEG 0")
    cfg = Config(
        dict(
            data_root="data/",
            val_dataloader=dict(
                dataset=dict(
                    data_root="data/imagenet/", folder="val", ann_file="meta/val.txt", classes=["train", "val"],
                    pipeline=[dict(type="X", path="data/coco/train2017", name="train")],
                )
            ),
            custom_hooks=[dict(type="Y", folder="train", file="data/imagenet/meta")],
        )
    )  # fmt: skip
    set_data_root(cfg, str(file))
    dataset = cfg.val_dataloader.dataset
    assert dataset.folder == str(tmp_path / "ilsvrc/val") and dataset.ann_file == str(tmp_path / "ilsvrc/meta/val.txt")
    assert dataset.classes == ["train", "val"]
    assert dataset.pipeline == [dict(type="X", path=str(tmp_path / "big/coco_2017/train2017"), name="train")]
    assert cfg.custom_hooks == [dict(type="Y", folder="train", file=str(tmp_path / "ilsvrc/meta"))]


def test_a_layout_that_the_file_leaves_out_is_asked_for(file):
    file.write_text("imagenet: ilsvrc")
    load_config("demo/knn_demo", data=str(file))
    with pytest.raises(UserError, match="data.yaml: expected it to say where ade20k/images/training lies, .* add it"):
        load_config("demo/segmentation_demo", data=str(file))


def test_what_was_placed_by_a_file_is_not_moved_again(file, tmp_path):
    cfg = load_config("demo/knn_demo", data=str(file))
    for root in (str(tmp_path), str(file)):
        with pytest.raises(UserError, match="expected a config with a folder for its data_root, found .*data.yaml"):
            set_data_root(cfg, root)


@pytest.mark.parametrize("name", ["gone.yaml", "other.txt", "gone"])
def test_what_is_neither_is_refused(name, tmp_path):
    (tmp_path / "other.txt").touch()
    with pytest.raises(UserError, match="expected a folder with imagenet/, coco/ or ade20k/ in it, or a data.yaml"):
        load_config("demo/knn_demo", data=str(tmp_path / name))
