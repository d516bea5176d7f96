"""Converts label maps to cells, and outlines to masks."""

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns


def cells_from_label_map(label_map, labels=None, scores=None):
    """Returns the cells of a label map. By default all have label 0, and scores fall from .9 to .5 with rising ids."""
    encoded = encode_label_map(label_map)
    n = len(encoded.ids)
    bboxes_xyxy = encoded.bboxes_xywh.astype(np.float32)
    bboxes_xyxy[:, 2:] += bboxes_xyxy[:, :2]
    return Cells(MaskRuns.from_rles(encoded.rles, *label_map.shape), bboxes_xyxy,
                 (np.linspace(.9, .5, n) if scores is None else np.array(scores)).astype(np.float32),
                 np.zeros(n, int) if labels is None else np.array(labels))


def rasterise(outline, shape):
    """Returns the mask (H, W) bool of the pixels whose centre is inside an outline."""
    y, x = np.mgrid[:shape[0], :shape[1]] + .5
    return shapely.contains_xy(outline, x, y)
