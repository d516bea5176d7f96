"""Data sets, samplers and transforms that are registered with MMDetection."""

from mmcell.datasets.affine import CellAffine
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.copy_paste import CellCopyPaste
from mmcell.datasets.erasing import CellErasing
from mmcell.datasets.formatting import PackCellInputs
from mmcell.datasets.loading import LoadCellAnnotations, LoadTiff
from mmcell.datasets.mix_dataset import CellMixDataset
from mmcell.datasets.mosaic import CellMosaic
from mmcell.datasets.rotation import RandomRotate90
from mmcell.datasets.samplers import SeededInfiniteSampler, SeededSampler
from mmcell.datasets.sizes import CapLongSide
from mmcell.datasets.tiny_voc_dataset import TinyVOCDataset

__all__ = ['CapLongSide', 'CellAffine', 'CellCopyPaste', 'CellDataset', 'CellErasing', 'CellMixDataset', 'CellMosaic',
           'LoadCellAnnotations', 'LoadTiff', 'PackCellInputs', 'RandomRotate90', 'SeededInfiniteSampler',
           'SeededSampler', 'TinyVOCDataset']
