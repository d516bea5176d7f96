"""Tiny PASCAL VOC from COCO annotation files."""

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS

from mmcell.annotations.voc import CLASS_NAMES
from mmcell.datasets.cell_dataset import CellDataset


@DATASETS.register_module()
class TinyVOCDataset(CellDataset):
    """``CellDataset`` for PASCAL VOC's 20 classes.

    It reads Tiny PASCAL VOC's own JSON file and the files of ``data_prep/voc_to_coco.py``. The file must have VOC's
    classes. Labels follow VOC's order, whatever the order in the file is.

    Args:
        args, kwargs: The arguments of :class:`CellDataset`. Tiny PASCAL VOC's own JSON file does not say where its
            images lie: set ``data_prefix=dict(img='train_images')``. If ``metainfo`` names other classes, the file
            must have these classes instead.

    Raises:
        ClassesError: The classes of the file are not the expected ones.
        MmcellError: Another check of :class:`CellDataset` fails.
        FileNotFoundError: The annotation file or an image does not exist.
    """

    METAINFO = {'classes': CLASS_NAMES, 'palette': VOCDataset.METAINFO['palette']}
