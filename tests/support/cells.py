"""Cells from label maps, and back."""

import numpy as np
import shapely

from mmcell.inference.cells import Cells
from mmcell.masks.rle import encode_label_map


def cells_of(label_map, labels=None, scores=None):
    rles = encode_label_map(label_map).rles
    n = len(rles)
    return Cells(rles, np.zeros(n, int) if labels is None else np.array(labels),
                 np.linspace(.9, .5, n) if scores is None else np.array(scores), *label_map.shape)


def rasterise(outline, shape):
    """Pixels whose centre is inside."""
    y, x = np.mgrid[:shape[0], :shape[1]] + .5
    return shapely.contains_xy(outline, x, y)
