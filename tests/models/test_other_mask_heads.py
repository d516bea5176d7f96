"""MMDetection's heads that need bitmaps have the same losses with LabelMapMasks as with BitmapMasks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmengine.utils import get_installed_path
from support.synthetic_data import discs

from mmcell.masks.label_map_masks import LabelMapMasks

CELLS = discs((96, 128), [(3, 20, 20, 14), (9, 20, 50, 15), (4, 70, 100, 20), (12, 60, 30, 18)])
CONFIGS = {'PointRend': 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
           'YOLACT': 'yolact/yolact_r50_1xb8-55e_coco.py',
           'Mask Scoring': 'ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py',
           'Cascade': 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'}


def config_of(name):
    path = Path(get_installed_path('mmdet')) / '.mim' / 'configs' / name
    model = Config.fromfile(path).model
    model.backbone.init_cfg = None
    return model


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_losses_with_label_map_masks_equal_losses_with_bitmaps(name):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(config_of(CONFIGS[name])).train()
    masks = LabelMapMasks.from_label_maps([CELLS])
    losses = []
    for gt_masks in (masks, BitmapMasks(masks.to_ndarray(), 96, 128)):
        sample = DetDataSample(
            metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128), pad_shape=(96, 128), scale_factor=(1., 1.)),
            gt_instances=InstanceData(bboxes=HorizontalBoxes(masks.get_bboxes().tensor), masks=gt_masks,
                                      labels=torch.arange(len(masks))))
        image = torch.from_numpy(np.repeat(CELLS[None], 3, 0).astype(np.uint8) * 9)
        torch.manual_seed(1)
        np.random.seed(1)
        loss, _ = model.parse_losses(model(**model.data_preprocessor(
            dict(inputs=[image], data_samples=[sample]), training=True), mode='loss'))
        losses.append(loss.item())
    assert np.isfinite(losses[0]) and losses[0] == pytest.approx(losses[1], rel=1e-6)
