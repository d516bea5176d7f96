"""A detector with known predictions: each connected component of bright pixels is a cell, its main colour the class."""

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from scipy import ndimage
from torch import nn

from mmcell.checkpoints import allowed_classes
from mmcell.masks.rle import encode_label_map

CLASSES = ('red', 'green', 'blue')
CONFIG = dict(
    default_scope='mmdet',
    custom_imports=dict(imports=['mmcell'], allow_failed_imports=False),
    model=dict(type='BrightCellDetector', data_preprocessor=dict(type='DetDataPreprocessor')),
    test_dataloader=dict(dataset=dict(type='CellDataset', ann_file='test.json', pipeline=[
        dict(type='LoadTiff'), dict(type='PackCellInputs', meta_keys=('img_id', 'ori_shape', 'img_shape'))])))


# Most tests predict with this detector as if it were one of MMDetection's.
allowed_classes.MODEL_CLASSES.add('BrightCellDetector')


@MODELS.register_module(force=True)
class BrightCellDetector(BaseModel):
    """Predicts one cell per connected component of pixels above a threshold.

    The class is the channel with the greatest mean value; this mean, divided by 255, is the score. Masks are RLEs.
    """

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.threshold = nn.Parameter(torch.tensor(99.))

    def forward(self, inputs, data_samples, mode):
        for image, sample in zip(inputs, data_samples, strict=True):
            label_map = ndimage.label(image.amax(0).numpy() > self.threshold.item(), structure=torch.ones(3, 3))[0]
            # An image that was enlarged for the prediction has its cells at its own size.
            height, width = sample.ori_shape
            cells = encode_label_map(cv2.resize(label_map.astype(np.int32), (width, height), interpolation=0)
                                     if label_map.shape != (height, width) else label_map)
            colors = torch.stack([image[:, label_map == i].float().mean(1) for i in cells.ids]) if len(
                cells.ids) else torch.zeros(0, 3)
            bboxes = torch.as_tensor(cells.bboxes_xywh, dtype=torch.float32)
            bboxes[:, 2:] += bboxes[:, :2]
            scores, labels = colors.max(1)
            sample.pred_instances = InstanceData(
                bboxes=bboxes, scores=scores / 255, labels=labels, masks=cells.rles)
        return data_samples


def save_checkpoint(path, meta=None, **settings):
    """Saves a checkpoint in MMEngine's layout, and returns its path.

    Args:
        path: The file to write.
        meta: The entry ``meta``; None: the config and the classes.
        **settings: Top-level keys of the config that replace those of ``CONFIG``.
    """
    config = Config({**CONFIG, **settings})
    model = MODELS.build(dict(type='mmdet.BrightCellDetector'))
    metainfo = dict(classes=CLASSES, channel_order='rgb')
    meta = dict(cfg=config.pretty_text, dataset_meta=metainfo) if meta is None else meta
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path
