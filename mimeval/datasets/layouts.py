"""What can be wrong with the data of a run, said with the name of the file: annotations, classes, samples."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from torch import Tensor

from mimeval.datasets.damaged import BLACK, METAINFO, UNLABELLED, Damage
from mimeval.datasets.loading import IGNORED, black_image, read_whole, without_labels
from mimeval.datasets.seeded import SeededDataset
from mimeval.datasets.transforms import why_unreadable
from mimeval.errors import DamagedSample, UserError
from mimeval.registry import DATASETS

COCO_KEYS = ("images", "annotations", "categories")
INSTANCE_KEYS = ("image_id", "category_id", "bbox", "segmentation")


class NamedSamples(Compose):
    """A dataset's pipeline whose every fault names the sample's files; labels of pixels must be of `classes` classes.

    A file that cannot be read is a DamagedSample; with `black` (evaluation) the sample goes on as a black image, or without labels,
    and its metainfo `damaged` says so.
    """

    def __init__(self, pipeline: Compose, classes: int, black: bool = False) -> None:
        super().__init__(pipeline.transforms)
        self.classes = classes
        self.black = black

    def __call__(self, data: dict) -> dict | None:
        """As the pipeline; raises UserError for whatever a transform raises."""
        image, label_map = data.get("img_path"), data.get("seg_map_path")
        files = f"image {image}" + (f" with label map {label_map}" if label_map else "")
        damaged: list[Damage] = []
        result: dict | None = data
        for transform in self.transforms:
            try:
                result = self._apply(transform, result, damaged)
            except UserError:
                raise
            except Exception as error:  # transforms raise anything at all for a sample that they do not understand
                raise UserError(
                    f"{files}: expected a sample that can be read, found {type(error).__name__}: "
                    f"{why_unreadable(error, '') or 'no reason given'}; replace or remove it"
                ) from error
            if result is None:
                return None
        assert result is not None  # pipelines have transforms, and each returned something
        sample = result.get("data_samples")
        if sample is not None and "gt_sem_seg" in sample:
            self._check_label_map(
                label_map, sample.gt_sem_seg.data, (tuple(result["inputs"].shape[-2:]), sample.ori_shape)
            )
        if damaged and sample is not None:
            sample.set_metainfo({METAINFO: tuple(tuple(damage) for damage in damaged)})
        return result

    def _apply(self, transform: Any, data: Any, damaged: list[Damage]) -> Any:
        try:
            return read_whole(transform, data)
        except DamagedSample as error:
            if not self.black:
                raise
            of_labels = error.file == data.get("seg_map_path")
            damaged.append(Damage(error.file, UNLABELLED if of_labels else BLACK, error.reason))
            return without_labels(data) if of_labels else black_image(transform, data)

    def _check_label_map(self, file: Any, labels: Tensor, sizes: tuple) -> None:
        # An evaluation compares at the image's original size, a training at that of the input.
        if labels.ndim != 3 or labels.shape[0] != 1 or tuple(labels.shape[-2:]) not in sizes:
            raise UserError(
                f"label map {file}: expected one channel of the image's size {sizes[1]}, found {tuple(labels.shape)}; "
                "replace it"
            )
        wrong = labels[(labels >= self.classes) & (labels != IGNORED)]
        if wrong.numel():
            raise UserError(
                f"label map {file}: expected labels of {self.classes} classes, found class {int(wrong.max())} "
                "(counted from 0); correct the file or the config's classes"
            )


def name_samples(dataset: Any) -> None:
    """Let every fault in a sample of a built dataset, however wrapped, name the sample's files.

    SeededDataset puts another sample in the place of a damaged one; without it, in evaluation, it is shown as a black image.
    """
    replaced = False
    while not hasattr(dataset, "pipeline") and hasattr(dataset, "dataset"):
        replaced |= isinstance(dataset, SeededDataset)
        dataset = dataset.dataset
    if type(getattr(dataset, "pipeline", None)) is Compose:
        dataset.pipeline = NamedSamples(dataset.pipeline, len(class_names(dataset)), black=not replaced)


def class_names(dataset: Any) -> tuple[str, ...]:
    """The classes of a built dataset; none where it has no labels."""
    return tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())


def check_same_classes(train: Any, evaluated: Any) -> None:
    """Raises UserError if two built datasets have classes and not the same: a label would mean two things."""
    ours, theirs = class_names(train), class_names(evaluated)
    if any(getattr(innermost(dataset), "numbered", False) for dataset in (train, evaluated)):
        # An annotation list with numbers for labels knows no names, and perhaps not the last classes.
        if ours and len(theirs) <= len(ours):
            return
    if ours and theirs and ours != theirs:
        where = [str(getattr(innermost(dataset), "folder", "the data")) for dataset in (train, evaluated)]
        odd = sorted(set(ours) ^ set(theirs))[:3]
        raise UserError(
            f"{where[1]}: expected the {len(ours)} classes of {where[0]}, found {len(theirs)} "
            f"({', '.join(odd) or 'in another order'} in one only); give both the same class folders"
        )


def check_class_count(model: Any, dataset: Any, source: str | None) -> None:
    """Raises UserError if the model's head tells apart fewer classes than a built dataset has."""
    names = class_names(dataset)
    head = getattr(model, "roi_head", model)
    for part in ("head", "decode_head", "bbox_head"):
        count = getattr(getattr(head, part, None), "num_classes", None)
        if names and isinstance(count, int) and count < len(names):
            raise UserError(
                f"config {source}: {part} has num_classes={count}, but {getattr(innermost(dataset), 'folder', 'the data')} "
                f"has {len(names)} classes; set num_classes={len(names)}"
            )


def innermost(dataset: Any) -> Any:
    """The dataset inside all wrappers."""
    while getattr(dataset, "dataset", None) is not None:
        dataset = dataset.dataset
    return dataset


def build_checked(cfg: Mapping[str, Any]) -> Any:
    """A dataset of a config, without its pipeline, of which every file is there.

    Raises:
        UserError: a folder, an annotation file, an image or a label map is missing, empty or not what it should be.
    """
    inner = inner_config(cfg)
    if str(inner.get("ann_file") or "").endswith(".json"):
        check_coco(Path(inner.get("data_root") or "", inner["ann_file"]), loads_masks(inner))
    with explained(cfg):
        dataset = DATASETS.build(dict(inner, pipeline=[], lazy_init=False))
    # An ImageFolder without a list has just seen its files.
    if str(inner.get("type")).rpartition(".")[2] != "ImageFolder" or inner.get("ann_file"):
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            for path in (info.get("img_path"), info.get("seg_map_path")):
                if path and not os.path.isfile(path):
                    raise UserError(f"{path}: expected a file that the annotations call for, found nothing; restore it")
    return dataset


@contextmanager
def explained(cfg: Any) -> Iterator[None]:
    """Around the building of a dataset: look for the fault in its files first, whatever was raised."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each library fails in its own way over a file that it does not understand
        inner = inner_config(cfg)
        root = Path(inner.get("data_root") or "")
        if str(inner.get("ann_file") or "").endswith(".json"):
            check_coco(root / inner["ann_file"], loads_masks(inner))
        if "at least one array" in str(error):  # mmengine, over no sample at all
            places = [str(root / place) for place in (inner.get("data_prefix") or {}).values()]
            raise UserError(
                f"data {' and '.join(places) or root}: expected samples with the classes of the config, found none; "
                "check the files' suffixes, the classes and filter_cfg"
            ) from error
        raise


def inner_config(cfg: Any) -> Mapping[str, Any]:
    """The dataset's config inside all wrappers' configs."""
    while isinstance(cfg, Mapping) and isinstance(cfg.get("dataset"), Mapping):
        cfg = cfg["dataset"]
    return cfg if isinstance(cfg, Mapping) else {}


def loads_masks(inner: Mapping[str, Any]) -> bool:
    """Whether the pipeline of a dataset's config reads masks; without a pipeline nobody knows, and they are asked for."""
    steps = [step for step in inner.get("pipeline") or () if isinstance(step, Mapping)]
    wanted = [step.get("with_mask", str(step.get("type")).endswith("LoadInstances")) for step in steps]
    return any(wanted) or not steps


def check_coco(file: Path, masks: bool = True) -> None:
    """Raises UserError if a file is not COCO's JSON of instances with boxes and, if asked for, masks."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"annotations {file}: expected a COCO file, found nothing; check the data folder") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"annotations {file}: expected JSON, found a file that is none or is cut short ({error}); "
            "copy or download it again"
        ) from error
    keys = list(content) if isinstance(content, dict) else []
    missing = [key for key in COCO_KEYS if not isinstance((content if keys else {}).get(key), list)]
    if missing:
        raise UserError(
            f"annotations {file}: expected COCO's lists {', '.join(COCO_KEYS)}, found no {' and no '.join(missing)}; "
            "give a file of COCO's instances"
        )
    if not content["images"] or not content["annotations"]:
        raise UserError(f"annotations {file}: expected images with annotations, found none; give another file")
    expected = INSTANCE_KEYS if masks else INSTANCE_KEYS[:-1]
    for place, entry in enumerate(content["annotations"]):
        lacking = [key for key in expected if not isinstance(entry, dict) or key not in entry]
        if lacking:
            boxes_only = " or train on boxes only (docs/protocols.md)" if lacking == ["segmentation"] else ""
            raise UserError(
                f"annotations {file}: expected {', '.join(expected)} in each annotation, "
                f"found number {place} without {lacking[0]}; correct it{boxes_only}"
            )
