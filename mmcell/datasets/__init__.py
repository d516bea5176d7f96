"""Data sets, samplers and transforms, registered with MMDetection."""

from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.formatting import PackCellInputs
from mmcell.datasets.loading import LoadCellAnnotations, LoadTiff
from mmcell.datasets.samplers import SeededInfiniteSampler, SeededSampler
from mmcell.datasets.sizes import CapLongSide

__all__ = ['CapLongSide', 'CellDataset', 'LoadCellAnnotations', 'LoadTiff', 'PackCellInputs', 'SeededInfiniteSampler',
           'SeededSampler']
