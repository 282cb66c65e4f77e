"""mmdet's Mask R-CNN on the stand-in operators: it trains, through RoIAlign and NMS, and predicts."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mimeval.engine import mmcv_ops
from mimeval.registry import MODELS

mmcv_ops.install()

from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402

SIZE = 64
STRIDES = [4, 8, 16, 32, 64]
NMS = dict(type="nms", iou_threshold=0.7)
ASSIGNER = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    init_default_scope("mmdet")
    rois = dict(type="SingleRoIExtractor", out_channels=16, featmap_strides=STRIDES[:4])
    sampler = dict(type="RandomSampler", num=32, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=True)
    proposals = dict(nms_pre=50, max_per_img=20, nms=NMS, min_bbox_size=0)
    model = MODELS.build(
        ConfigDict(
            type="mmdet.MaskRCNN",
            backbone=dict(
                type="mimeval.VisionTransformer",
                arch=dict(embed_dim=16, depth=1, num_heads=2),
                img_size=SIZE,
                out_type="maps",
            ),
            neck=dict(type="mimeval.SimpleFeaturePyramid", in_channels=16, out_channels=16),
            rpn_head=dict(
                type="RPNHead",
                in_channels=16,
                feat_channels=16,
                anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=STRIDES),
            ),
            roi_head=dict(
                type="StandardRoIHead",
                bbox_roi_extractor=dict(rois, roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0)),
                bbox_head=dict(type="Shared2FCBBoxHead", in_channels=16, fc_out_channels=32, num_classes=2),
                mask_roi_extractor=dict(rois, roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2)),
                mask_head=dict(type="FCNMaskHead", num_convs=1, in_channels=16, conv_out_channels=16, num_classes=2),
            ),
            train_cfg=dict(
                rpn=dict(assigner=ASSIGNER, sampler=sampler, allowed_border=-1, pos_weight=-1),
                rpn_proposal=proposals,
                rcnn=dict(assigner=ASSIGNER, sampler=sampler, mask_size=28, pos_weight=-1),
            ),
            test_cfg=dict(
                rpn=proposals,
                rcnn=dict(score_thr=0.3, nms=dict(NMS, iou_threshold=0.5), max_per_img=5, mask_thr_binary=0.5),
            ),
        )
    )
    yield model
    init_default_scope("mimeval")


def sample():
    box = [16.0, 12.0, 44.0, 40.0]
    bitmap = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    bitmap[0, 12:40, 16:44] = 1
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.1 + 2 * bitmap
    shape = (SIZE, SIZE)
    truth = DetDataSample(
        metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1, 1))
    )
    truth.gt_instances = InstanceData(
        bboxes=torch.tensor([box]), labels=torch.tensor([1]), masks=BitmapMasks(bitmap.numpy(), SIZE, SIZE)
    )
    truth.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return image, truth


def test_trains_and_finds_what_it_was_shown(model):
    image, truth = sample()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(40):
        loss, logged = model.parse_losses(model.loss(image, [truth]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss) and {"loss_rpn_bbox", "loss_bbox", "loss_mask"} <= set(logged)
    # Box and mask losses reach the backbone only through RoIAlign's gradient.
    model.zero_grad()
    losses = model.loss(image, [truth])
    (losses["loss_bbox"] + losses["loss_mask"]).backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().sum() > 0

    model.eval()
    with torch.no_grad():
        (found,) = model.predict(image, [truth], rescale=False)
    best = found.pred_instances[0]
    assert best.labels.item() == 1
    x1, y1, x2, y2 = best.bboxes[0].tolist()
    expected = truth.gt_instances.bboxes[0].tolist()
    width, height = min(x2, expected[2]) - max(x1, expected[0]), min(y2, expected[3]) - max(y1, expected[1])
    overlap = width * height / ((x2 - x1) * (y2 - y1) + 28 * 28 - width * height)
    assert width > 0 and height > 0 and overlap > 0.5
    assert best.masks.shape == (1, SIZE, SIZE)
