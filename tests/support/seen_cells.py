"""Cells for tests of advice: rows of boxes and classes without images."""

import numpy as np

from mmcell.inspection.advice_cells import SeenCells


def seen_cells(boxes_of_images, classes_of_images=None, size=(1000, 1000), names=('one', 'two'), scale=1.):
    """Returns the cells of images of one size; boxes are xywh in px, classes are 0 unless they are given."""
    counts = [len(boxes) for boxes in boxes_of_images]
    classes = np.zeros(sum(counts), np.int64) if classes_of_images is None else np.concatenate(classes_of_images)
    n_images = len(counts)
    return SeenCells(np.concatenate([np.reshape(boxes, (-1, 4)) for boxes in boxes_of_images]).astype(float),
                     np.repeat(np.arange(n_images), counts), classes.astype(np.int64), list(names),
                     np.tile(np.array(size, float), (n_images, 1)), np.full((n_images, 2), scale))


def boxes_at_random(rng, number, width, height, side=1000):
    """Returns boxes (N, 4) xywh of a width and height, with whole coordinates, in an image with this side."""
    corners = rng.integers(0, side - max(width, height), (number, 2))
    return np.column_stack([corners, np.tile([width, height], (number, 1))])
