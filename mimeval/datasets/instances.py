"""Boxes and masks of instances, and large-scale jitter with detectron2's arithmetic (2012.07177; data/transforms/augmentation_impl.py).

mmdet's RandomResize, RandomCrop and FilterAnnotations differ: no antialiasing, two offsets where detectron2 draws one, other boxes
from a cut mask, and another image in the place of one that is left without objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mimeval.errors import UserError
from mimeval.registry import TRANSFORMS

KEYS = ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks")
SMALLEST = 1e-5  # pixels: a box that is not wider and higher than this is none


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """mmdet's LoadAnnotations without crowds, which detectron2 does not train on.

    Masks stay polygons where all of an image's are (COCO), cut and rasterised as polygons like detectron2's, and are bitmaps
    otherwise (run-length encodings). with_mask=False: boxes only. Raises UserError naming the image if masks are missing.
    """

    def __init__(self, with_mask: bool = True) -> None:
        self.with_mask = with_mask
        settings = dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=with_mask)
        self.polygons, self.bitmaps = (
            TRANSFORMS.build(dict(settings, poly2mask=poly2mask)) for poly2mask in (False, True)
        )

    def transform(self, results: dict) -> dict:
        """instances -> gt_bboxes, gt_bboxes_labels, gt_ignore_flags and, if wanted, gt_masks."""
        results["instances"] = [one for one in results["instances"] if not one["ignore_flag"]]
        if self.with_mask and any("mask" not in one for one in results["instances"]):
            raise UserError(
                f"image {results['img_path']}: expected a segmentation for each object, found boxes only; set with_mask=False "
                "in the pipelines, model.roi_head.mask_head=None and val_evaluator.metric=['bbox']"
            )
        are_polygons = all(isinstance(one.get("mask"), list) for one in results["instances"])
        return (self.polygons if are_polygons else self.bitmaps)(results)


@TRANSFORMS.register_module()
class ResizeScale(BaseTransform):
    """Fit the image into `size` (height, width) times a factor drawn from `scale`: jitter 0.1 to 2.0 in ViTDet; bilinear."""

    def __init__(self, size: Sequence[int], scale: Sequence[float] = (0.1, 2.0)) -> None:
        self.size = tuple(size)
        self.low, self.high = scale

    def transform(self, results: dict) -> dict:
        """img: [H, W, 3] uint8 of any size, with its boxes and masks -> all of them resized."""
        height, width = results["img"].shape[:2]
        target = np.multiply(self.size, np.random.uniform(self.low, self.high))
        factor = min(target[0] / height, target[1] / width)
        rows, columns = (max(int(n), 1) for n in np.round(np.multiply((height, width), factor)))
        # Pillow, which averages where it makes smaller; OpenCV would leave out pixels.
        image = Image.fromarray(results["img"]).resize((columns, rows), Image.Resampling.BILINEAR)
        results["img"], results["img_shape"] = np.asarray(image), (rows, columns)
        results["scale_factor"] = (columns / width, rows / height)
        if "gt_bboxes" in results:
            results["gt_bboxes"].rescale_(results["scale_factor"])
        if "gt_masks" in results:
            results["gt_masks"] = results["gt_masks"].resize((rows, columns))
        return results


@TRANSFORMS.register_module()
class FixedSizeCrop(BaseTransform):
    """Cut `size` (height, width) out of a larger image, somewhere on its diagonal; a smaller one stays as it is.

    Objects that are cut stay, with the box of what is left of their mask; without masks the box is cut. An image may be left
    without objects. The input is padded later, below and to the right (data_preprocessor.pad_size_divisor).
    """

    def __init__(self, size: Sequence[int]) -> None:
        self.size = tuple(size)

    def transform(self, results: dict) -> dict:
        """img: [H, W, 3], with boxes and masks -> at most `size`."""
        margin = np.maximum(np.subtract(results["img"].shape[:2], self.size), 0)
        # One number for both sides, as in detectron2.
        y, x = np.round(margin * np.random.uniform(0.0, 1.0)).astype(int)
        bottom, right = y + self.size[0], x + self.size[1]
        results["img"] = results["img"][y:bottom, x:right]
        results["img_shape"] = results["img"].shape[:2]
        if "gt_bboxes" not in results:
            return results
        boxes = results["gt_bboxes"]
        if "gt_masks" in results:
            results["gt_masks"] = results["gt_masks"].crop(np.array([x, y, right, bottom]))
            boxes = results["gt_masks"].get_bboxes(type(boxes))
        else:
            boxes.translate_([-int(x), -int(y)])
            boxes.clip_(results["img_shape"])
        results["gt_bboxes"] = boxes
        keep = ((boxes.widths > SMALLEST) & (boxes.heights > SMALLEST)).numpy()
        for key in KEYS:
            if key in results:
                results[key] = results[key][keep]
        return results
