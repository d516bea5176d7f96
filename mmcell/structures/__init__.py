"""Data structures of mmcell."""

from mmcell.structures.label_map_masks import LabelMapMasks

__all__ = ['LabelMapMasks']
