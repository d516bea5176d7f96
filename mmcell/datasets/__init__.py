"""Data sets, samplers and transforms, registered with MMDetection."""

from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.formatting import PackCellInputs
from mmcell.datasets.loading import LoadTiff
from mmcell.datasets.samplers import SeededInfiniteSampler, SeededSampler

__all__ = ['CellDataset', 'LoadTiff', 'PackCellInputs', 'SeededInfiniteSampler', 'SeededSampler']
