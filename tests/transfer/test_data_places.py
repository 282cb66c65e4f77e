"""A task reads the same images from class folders below a root, and from a flat folder with a list that a data.yaml places."""

import shutil

import pytest

from mimeval.cli.main import main
from mimeval.transfer import results


def knn(data, out, *options):
    command = [
        "transfer",
        "--data",
        str(data),
        "--out",
        str(out),
        "--tasks",
        "knn",
        "--cfg-options",
        "knn.protocol.k=5",
    ]
    assert main([*command, *options]) == 0
    (record,) = results.read(out)
    return record


@pytest.fixture
def flat(data, tmp_path):
    """The demo's ImageFolder with its validation images in one folder, their labels in a list, and a data.yaml."""
    root = tmp_path / "elsewhere"
    shutil.copytree(data / "imagenet/train", root / "training_images")
    (root / "val").mkdir()
    lines = []
    for file in sorted((data / "imagenet/val").rglob("*.png")):
        shutil.copy(file, root / "val")
        lines.append(f"{file.name} {file.parent.name}")
    (tmp_path / "val.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text("imagenet: {root: elsewhere, train: training_images}")
    return tmp_path


def test_a_flat_folder_with_a_list_gives_the_same_figures(data, flat):
    usual = knn(data, flat / "usual")
    listed = knn(flat / "data.yaml", flat / "out", f"+knn.val_dataloader.dataset.ann_file={flat / 'val.txt'}")
    assert listed.metrics == usual.metrics and listed.images_seen == usual.images_seen == 40
    assert (flat / "out/random/knn/predictions/00.png").is_file()


def test_a_subset_of_the_classes_is_another_measurement(data, flat):
    (flat / "some.txt").write_text("7\n1\n0\n")
    splits = ("train_dataloader.dataset.dataset", "val_dataloader.dataset")
    options = [f"+knn.{split}.classes={flat / 'some.txt'}" for split in splits]
    record = knn(data, flat / "out", *options)
    some = [file for name in "710" for file in (data / "imagenet/train" / name).iterdir()]
    assert record.images_seen == len(some) < 40
    assert record.config_hash != knn(data, flat / "usual").config_hash
