"""Models; importing this package registers them, and MMDetection imports it before it builds any model."""

from mmcell.models.cbam import CBAM, CBAMResNet
from mmcell.models.mask_head import CellMaskHead, CellRoIExtractor
from mmcell.models.mask_tta import MaskTTAModel
from mmcell.models.padding import BatchMinSizePad
from mmcell.models.pretrained import CheckedPretrainedInit
from mmcell.models.roi_heads import CellCascadeRoIHead, CellRoIHead
from mmcell.models.sparse_assigner import SparseMaxIoUAssigner
from mmcell.models.tiled_detector import TiledDetector
from mmcell.models.torchvision_parts import (
    PlainOutputConvNeXt,
    TorchvisionAnchorGenerator,
    TorchvisionAssigner,
    TorchvisionBBoxCoder,
    TorchvisionMaskHead,
)

__all__ = ['CBAM', 'BatchMinSizePad', 'CBAMResNet', 'CellCascadeRoIHead', 'CellMaskHead', 'CellRoIExtractor',
           'CellRoIHead', 'CheckedPretrainedInit', 'MaskTTAModel', 'PlainOutputConvNeXt', 'SparseMaxIoUAssigner',
           'TiledDetector', 'TorchvisionAnchorGenerator', 'TorchvisionAssigner', 'TorchvisionBBoxCoder',
           'TorchvisionMaskHead']
