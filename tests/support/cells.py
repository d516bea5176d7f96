"""Converts label maps to cells, and outlines to masks."""

import re

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


def fill_path(path, shape):
    """Returns the mask (H, W) bool that an SVG path of horizontal and vertical lines covers by the rule ``evenodd``."""
    mask = np.zeros(shape, bool)
    for ring in path.split('z')[:-1]:
        x, y = first = [int(number) for number in re.match(r'M(\d+) (\d+)', ring).groups()]
        steps = re.findall('([hv])(-?[0-9]+)', ring)
        assert f"M{x} {y}{''.join(letter + number for letter, number in steps)}" == ring
        for letter, number in steps:
            to_x, to_y = (x + int(number), y) if letter == 'h' else (x, y + int(number))
            mask[min(y, to_y):max(y, to_y), x:] ^= True
            x, y = to_x, to_y
        # "z" goes straight back to the beginning of the ring.
        assert x == first[0] or y == first[1]
        mask[min(y, first[1]):max(y, first[1]), x:] ^= True
    return mask
