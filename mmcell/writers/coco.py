"""Writes cells as COCO JSON."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.annotations.coco_json import categories
from mmcell.cells.cells import Cells
from mmcell.writers.base import ImageInfo, WriteCells, writing_json_list


def writing_coco(paths: list[Path], image: ImageInfo) -> AbstractContextManager[WriteCells]:
    """Writes a COCO annotation file of one image, with the RLE, box and area, and the score if it has one,
    of each cell.

    The file follows the conventions of ``data_prep/to_coco.py``, so that ``CellDataset`` reads the predictions as
    annotations: the id of a cell is its number; the category id is the label plus 1; boxes enclose the pixels;
    info.data_root names the folder of the image, and info.channel_order says how the image was read.
    """
    path = image.path.resolve()
    info = {'data_root': os.path.relpath(path.parent, paths[0].parent.resolve())}
    if image.channel_order is not None:
        info['channel_order'] = image.channel_order
    members = {'info': info,
               'images': [{'id': 1, 'file_name': path.name, 'height': image.height_px, 'width': image.width_px}],
               'categories': categories(image.class_names)}
    return writing_json_list(paths[0], members, 'annotations', partial(_annotations, image=image))


def _annotations(cells: Cells, numbers: np.ndarray, image: ImageInfo) -> Iterator[dict]:
    bboxes_xywh = cells.masks.extents_xyxy.copy()
    bboxes_xywh[:, 2:] -= bboxes_xywh[:, :2]
    rows = zip(numbers.tolist(), cells.masks.to_rles(), cells.labels.tolist(), cells.scores.tolist(),
               cells.masks.areas_px.tolist(), bboxes_xywh.tolist(), strict=True)
    for number, rle, label, score, area, bbox in rows:
        yield {'id': number, 'image_id': 1, 'category_id': label + 1, 'bbox': bbox, 'area': area, 'segmentation': rle,
               'iscrowd': 0, **dict(image.only_with_scores(('score', score)))}
