"""The stand-in for mmcv's compiled operators, held against plain Python implementations of what mmcv documents."""

import math
import subprocess
import sys
import textwrap

import pytest
import torch

from mimeval.engine import mmcv_ops
from mimeval.errors import UserError

mmcv_ops.install()

import mmcv._ext  # noqa: E402
from mmcv.ops import RoIAlign, batched_nms, nms, roi_align  # noqa: E402

pytestmark = pytest.mark.skipif(
    not isinstance(mmcv._ext, mmcv_ops.StandIn), reason="this mmcv has its own compiled operators"
)


def reference_nms(boxes, scores, threshold, offset):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def iou(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a, area_b = ((box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b))
    return width * height / (area_a + area_b - width * height)


def random_boxes(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size * 0.7
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * size * 0.3], dim=1)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.65])
def test_nms_equals_the_reference(offset, threshold):
    # Small boxes, so that one pixel of offset changes which ones are suppressed.
    boxes, scores = random_boxes(120, 12), torch.rand(120, generator=torch.Generator().manual_seed(1))
    dets, kept = nms(boxes, scores, iou_threshold=threshold, offset=offset)
    expected = reference_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    assert kept.tolist() == expected
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[expected])
    assert expected != reference_nms(boxes.tolist(), scores.tolist(), threshold, 1 - offset)


def test_nms_options_of_mmcv_and_empty_input():
    boxes, scores = random_boxes(60, 12), torch.linspace(0.99, 0.01, 60)
    expected = [i for i in reference_nms(boxes.tolist(), scores.tolist(), 0.5, 0) if scores[i] > 0.5][:5]
    assert nms(boxes, scores, 0.5, score_threshold=0.5, max_num=5)[1].tolist() == expected
    dets, kept = nms(boxes[:0], scores[:0], 0.5)
    assert dets.shape == (0, 5) and kept.dtype == torch.int64


def test_batched_nms_keeps_classes_apart():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    scores, classes = torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 1, 0])
    _, kept = batched_nms(boxes, scores, classes, dict(type="nms", iou_threshold=0.5))
    assert kept.tolist() == [1, 2]


def reference_roi_align(features, rois, size, scale, sampling_ratio, aligned):
    channels, height, width = features.shape[1:]
    output = torch.zeros(len(rois), channels, *size, dtype=features.dtype)
    shift = 0.5 if aligned else 0.0
    for r, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (side * scale - shift for side in box)
        roi_height, roi_width = y2 - y1, x2 - x1
        if not aligned:
            roi_height, roi_width = max(roi_height, 1.0), max(roi_width, 1.0)
        bin_height, bin_width = roi_height / size[0], roi_width / size[1]
        rows = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_height)
        columns = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_width)
        for i in range(size[0]):
            for j in range(size[1]):
                for row in range(rows):
                    for column in range(columns):
                        y = y1 + (i + (row + 0.5) / rows) * bin_height
                        x = x1 + (j + (column + 0.5) / columns) * bin_width
                        output[r, :, i, j] += bilinear(features[int(image)], y, x) / max(rows * columns, 1)
    return output


def bilinear(feature, y, x):
    height, width = feature.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros(len(feature), dtype=feature.dtype)
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = feature[:, top, left] * (1 - dx) + feature[:, top, right] * dx
    lower = feature[:, bottom, left] * (1 - dx) + feature[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def features_and_rois():
    features = torch.randn(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(6, 30, seed=3).double()
    # One reaches over the edge, one is narrower than a feature cell.
    boxes[0] = torch.tensor([-4.0, -3.0, 12.0, 9.0])
    boxes[1] = torch.tensor([5.0, 6.0, 6.5, 20.0])
    return features, torch.cat([torch.tensor([[0.0], [1], [0], [1], [1], [0]], dtype=torch.float64), boxes], dim=1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_equals_the_reference(aligned, sampling_ratio):
    features, rois = features_and_rois()
    pooled = RoIAlign((3, 2), 0.25, sampling_ratio, "avg", aligned)(features, rois)
    expected = reference_roi_align(features, rois, (3, 2), 0.25, sampling_ratio, aligned)
    torch.testing.assert_close(pooled, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_gradient(aligned, sampling_ratio):
    features, rois = features_and_rois()
    features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda features: roi_align(features, rois, (2, 2), 0.25, sampling_ratio, "avg", aligned), features
    )


def test_bfloat16_features_of_autocast():
    features, rois = features_and_rois()
    half = features.bfloat16().requires_grad_()
    pooled = roi_align(half, rois.bfloat16(), (2, 2), 0.25, 2, "avg", True)
    full = roi_align(half.detach().float(), rois.bfloat16().float(), (2, 2), 0.25, 2, "avg", True)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), full, rtol=1e-2, atol=1e-2)
    pooled.sum().backward()
    assert half.grad.dtype == torch.bfloat16 and half.grad.abs().sum() > 0


def test_other_operators_raise_when_called_and_name_themselves():
    from mmcv.ops import RoIPool, soft_nms

    features, rois = features_and_rois()
    with pytest.raises(UserError, match="'roi_pool_forward'.*install"):
        RoIPool((2, 2))(features, rois)
    with pytest.raises(UserError, match="'softnms'"):
        soft_nms(rois[:, 1:], torch.rand(6))
    with pytest.raises(UserError, match="pool_mode='max'"):
        roi_align(features, rois, (2, 2), 1.0, 0, "max", True)
    assert not hasattr(mmcv._ext, "__path__")


def run_python(code):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)


def test_mmdet_imports_in_a_fresh_process_without_a_word():
    done = run_python(
        """
        from mimeval.engine.mmcv_ops import StandIn, install
        install(); install()
        import sys
        assert sum(type(finder).__module__ == install.__module__ for finder in sys.meta_path) == 1
        import mmdet.models, mmcv
        assert type(sys.modules["mmcv._ext"]) is StandIn
        from mmcv.utils.env import collect_env
        assert "stand-in" in collect_env()["MMCV Compiler"]
        """
    )
    assert done.returncode == 0, done.stderr
    assert "compiled" not in done.stdout + done.stderr


def test_installing_after_mmdet_has_given_up_on_operators_is_an_error(monkeypatch):
    monkeypatch.delitem(sys.modules, "mmcv.ops")
    monkeypatch.setitem(sys.modules, "mmdet.structures.mask", sys)
    with pytest.raises(UserError, match="before the first import of mmdet"):
        mmcv_ops.install()


def test_a_compiled_extension_is_left_alone(tmp_path):
    # mmcv looks up every operator by name, so this fake has all of them.
    (tmp_path / "_ext.py").write_text("def __getattr__(name):\n    return 'compiled ' + name\n")
    done = run_python(
        f"""
        from mimeval.engine.mmcv_ops import install
        install()
        import mmcv
        mmcv.__path__.append({str(tmp_path)!r})
        from mmcv.ops.nms import ext_module
        assert ext_module.__file__.startswith({str(tmp_path)!r})
        assert ext_module.nms == "compiled nms"
        """
    )
    assert done.returncode == 0, done.stderr
