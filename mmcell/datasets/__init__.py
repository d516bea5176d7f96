"""Data sets and transforms, registered with MMDetection."""

from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.loading import LoadTiff

__all__ = ['CellDataset', 'LoadTiff']
