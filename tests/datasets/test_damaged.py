"""Damaged files: the next sample takes their place by a rule of the index alone, and the main process names each once."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from mimeval.datasets import ImageFolder, KeyedSampler, SampleKey, SeededDataset, damaged
from mimeval.datasets.damaged import BLACK, UNLABELLED, DamageLog, damaged_files, summarised
from mimeval.datasets.seeded import seeded
from mimeval.errors import DamagedSample, UserError
from tests.datasets.planted import cut, save

PIPELINE = [
    dict(type="LoadRGB"),
    dict(type="RandomResizedCrop", size=8),
    dict(type="RandomFlip"),
    dict(type="PackImages"),
]
BROKEN = (2, 3, 11)


@pytest.fixture
def dataset(tmp_path):
    """Twelve images of two classes, of which numbers 2, 3 and 11 (the last) are cut short."""
    for number in range(12):
        file = save(tmp_path / f"train/{'ab'[number // 6]}/{number:02}.png", number)
        if number in BROKEN:
            cut(file)
    with DefaultScope.overwrite_default_scope("mimeval"):
        return SeededDataset(ImageFolder("train", data_root=str(tmp_path), pipeline=PIPELINE))


def name(sample):
    return int(Path(sample.img_path).stem)


def test_the_next_sample_that_can_be_read_takes_the_place(dataset):
    places = {}
    for index in range(12):
        sample = dataset[SampleKey(0, 0, index)]["data_samples"]
        places[index] = name(sample)
        assert sample.sample_key == (0, 0, index) and sample.gt_label.item() == name(sample) // 6
    assert places == {index: {2: 4, 3: 4, 11: 0}.get(index, index) for index in range(12)}


def test_it_is_augmented_by_the_key_that_was_drawn(dataset):
    replaced = dataset[SampleKey(5, 1, 3)]["inputs"]
    with seeded(SampleKey(5, 1, 3)):
        assert torch.equal(replaced, dataset.dataset[4]["inputs"])
    assert not torch.equal(replaced, dataset[SampleKey(5, 1, 4)]["inputs"])


def test_the_sample_says_which_files_were_damaged(dataset, tmp_path):
    found = dataset[SampleKey(0, 0, 2)]["data_samples"].damaged
    files = [str(tmp_path / f"train/a/{number:02}.png") for number in (2, 3)]
    assert [entry[0] for entry in found] == files
    assert {entry[1] for entry in found} == {f"replaced by {tmp_path / 'train/a/04.png'}"}
    assert all("truncated" in entry[2] for entry in found)
    assert "damaged" not in dataset[SampleKey(0, 0, 4)]["data_samples"].metainfo_keys()


def test_a_plain_index_is_replaced_too(dataset):
    assert name(dataset[2]["data_samples"]) == 4 and dataset[2]["data_samples"].damaged


def batches(dataset, workers, skip=0):
    keyed = KeyedSampler(dataset, seed=3, infinite=True)
    keyed.skip(4 * skip)
    loader = DataLoader(dataset, 4, sampler=keyed, num_workers=workers, collate_fn=pseudo_collate)
    return list(itertools.islice(loader, 6 - skip))


def test_workers_and_resumes_do_not_change_batches(dataset):
    one, two, resumed = batches(dataset, 0), batches(dataset, 2), batches(dataset, 2, skip=2)
    met = set()
    for left, right in itertools.chain(zip(one, two, strict=True), zip(one[2:], resumed, strict=True)):
        for x, y in zip(left["inputs"], right["inputs"], strict=True):
            assert torch.equal(x, y)
        for x, y in zip(left["data_samples"], right["data_samples"], strict=True):
            assert x.metainfo == y.metainfo and x.gt_label == y.gt_label
            met |= {entry[0] for entry in x.metainfo.get("damaged", ())}
    assert {int(Path(file).stem) for file in met} == set(BROKEN)


class Gone:
    """A dataset on a disk that is gone."""

    def __init__(self, size):
        self.size = size
        self.tried = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.tried += 1
        raise DamagedSample(f"image {index}.png: expected a file that can be read, found none; replace it")


@pytest.mark.parametrize("size, tried", [(7, 7), (100_000, damaged.MOST_IN_A_ROW)])
def test_a_disk_that_is_gone_ends_the_run(size, tried):
    gone = Gone(size)
    with pytest.raises(UserError, match=f"no sample can be read, {tried} tried in a row, .*: image 5.png") as caught:
        SeededDataset(gone)[SampleKey(0, 0, 5)]
    assert gone.tried == tried and not isinstance(caught.value, DamagedSample)


def sample(*files):
    found = DataSample()
    found.set_metainfo({"damaged": tuple((file, "replaced by x", "cut\tshort\n") for file in files)})
    return found


def test_each_file_is_written_down_once_by_all_processes_and_resumes(tmp_path):
    log, other = DamageLog(tmp_path / "run"), DamageLog(tmp_path / "run")
    assert [entry.file for entry in log.note([sample("a"), DataSample(), sample("b", "a")])] == ["a", "b"]
    assert log.note([sample("a")]) == [] and set(log.met) == {"a", "b"}
    assert [entry.file for entry in other.note([sample("b")])] == ["b"]  # it cannot know
    resumed = DamageLog(tmp_path / "run")
    assert [entry.file for entry in resumed.note([sample("a"), sample("c")])] == ["c"]
    assert set(resumed.met) == {"a", "c"} and set(resumed.named) == {"a", "b", "c"}
    assert list(damaged_files(tmp_path / "run")) == ["a", "b", "c"]
    assert (tmp_path / "run/damaged.txt").read_text().splitlines()[0] == "a\treplaced by x\tcut short"


def test_without_damage_no_file_is_written(tmp_path):
    assert DamageLog(tmp_path).note([DataSample()]) == [] and damaged_files(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_strict_data_end_the_run_at_the_first(tmp_path):
    with pytest.raises(
        UserError, match="^a: expected a file that can be read, as --strict-data asks, found it damaged"
    ):
        DamageLog(tmp_path, strict=True).note([DataSample(), sample("a")])
    assert damaged_files(tmp_path) == {}


@pytest.mark.parametrize(
    "met, says",
    [
        ({"a": "replaced by b"}, "1 damaged image was replaced (names in w/damaged.txt)"),
        ({"a": "replaced by b", "c": "replaced by b"}, "2 damaged images were replaced (names in w/damaged.txt)"),
        ({"a": BLACK}, "1 damaged image was evaluated as black or without labels (names in w/damaged.txt)"),
        (
            {"a": BLACK, "c": UNLABELLED, "d": "replaced by b"},
            "1 damaged image was replaced, 2 damaged images were evaluated as black or without labels (names in w/damaged.txt)",
        ),
    ],
)
def test_the_last_line(met, says):
    assert summarised(met, Path("w/damaged.txt")) == says


def test_many_processes_write_whole_lines(tmp_path):
    import multiprocessing

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=functools.partial(_write, tmp_path, rank)) for rank in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = (tmp_path / "damaged.txt").read_text().splitlines()
    assert sorted(lines) == sorted(
        f"{rank}-{number}\treplaced by x\tcut short" for rank in range(4) for number in range(200)
    )


def _write(folder, rank):
    log = DamageLog(folder)
    for number in range(200):
        log.note([sample(f"{rank}-{number}")])
