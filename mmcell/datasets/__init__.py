"""Data sets, samplers and transforms that are registered with MMDetection."""

from mmcell.datasets.albumentations_adapter import Albumentations
from mmcell.datasets.appearance import DefocusBlur, GammaJitter, ImageNoise, JPEGArtefacts, StainJitter
from mmcell.datasets.cell_dataset import CellDataset, CellMixDataset, TinyVOCDataset
from mmcell.datasets.class_crops import ClassBalancedCrop
from mmcell.datasets.compositions import CellErasing, CellMosaic
from mmcell.datasets.copy_paste import CellCopyPaste
from mmcell.datasets.deformation import ElasticDeformation, ScaleJitterCrop
from mmcell.datasets.geometry import CapLongSide, CellAffine, RandomRotate90, ResizeToScale
from mmcell.datasets.loading import LoadCellAnnotations, LoadTiff, PackCellInputs
from mmcell.datasets.samplers import (
    ClassBalancedInfiniteSampler,
    ClassBalancedSampler,
    SeededInfiniteSampler,
    SeededSampler,
)
from mmcell.datasets.stain_normalization import StainNormalization

__all__ = ['Albumentations', 'CapLongSide', 'CellAffine', 'CellCopyPaste', 'CellDataset', 'CellErasing',
           'CellMixDataset', 'CellMosaic', 'ClassBalancedCrop', 'ClassBalancedInfiniteSampler', 'ClassBalancedSampler',
           'DefocusBlur', 'ElasticDeformation', 'GammaJitter', 'ImageNoise', 'JPEGArtefacts', 'LoadCellAnnotations',
           'LoadTiff', 'PackCellInputs', 'RandomRotate90', 'ResizeToScale', 'ScaleJitterCrop', 'SeededInfiniteSampler',
           'SeededSampler', 'StainJitter', 'StainNormalization', 'TinyVOCDataset']
