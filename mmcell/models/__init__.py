"""Models; importing this package registers them, and MMDetection imports it before it builds any model.

``PlainOutputConvNeXt`` needs MMPretrain: its module is imported when a config names the class.
"""

from mmdet.registry import MODELS

from mmcell.framework.late_imports import register_late
from mmcell.models.bbox_head import CellBBoxHead
from mmcell.models.cbam import CBAM, CBAMResNet
from mmcell.models.mask_head import CellMaskHead, CellRoIExtractor
from mmcell.models.mask_tta import MaskTTAModel
from mmcell.models.padding import BatchMinSizePad
from mmcell.models.pretrained import CheckedPretrainedInit
from mmcell.models.roi_heads import CellCascadeRoIHead, CellRoIHead
from mmcell.models.sparse_assigner import SparseMaxIoUAssigner
from mmcell.models.tiled_detector import TiledDetector
from mmcell.models.torchvision_parts import (
    TorchvisionAnchorGenerator,
    TorchvisionAssigner,
    TorchvisionBBoxCoder,
    TorchvisionMaskHead,
)

__all__ = ['CBAM', 'BatchMinSizePad', 'CBAMResNet', 'CellBBoxHead', 'CellCascadeRoIHead', 'CellMaskHead',
           'CellRoIExtractor', 'CellRoIHead', 'CheckedPretrainedInit', 'MaskTTAModel', 'SparseMaxIoUAssigner',
           'TiledDetector', 'TorchvisionAnchorGenerator', 'TorchvisionAssigner', 'TorchvisionBBoxCoder',
           'TorchvisionMaskHead']

register_late(MODELS, 'mmcell.models.plain_convnext', 'PlainOutputConvNeXt')
