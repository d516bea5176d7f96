"""Priors and boxes of many kinds, for the tests of near pairs, anchor recall and assignment."""

from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mmdet.models.task_modules.prior_generators import AnchorGenerator, anchor_inside_flags

from mmcell.boxes import pairs as box_pairs

STRIDES = 4, 8, 16, 32, 64


def box_arrays(max_boxes, least_side=-1):
    """Strategy for box arrays (n, 4) xyxy with integer, half-integer or arbitrary corners.

    Args:
        max_boxes: The greatest number of boxes.
        least_side: The least side in px; with a negative value, x2 < x1 and y2 < y1 are possible.
    """
    def arrays(n):
        lattice = st.tuples(hnp.arrays(int, (n, 2), elements=st.integers(-2, 10)),
                            hnp.arrays(int, (n, 2), elements=st.integers(least_side, 5)))
        anywhere = st.tuples(hnp.arrays(float, (n, 2), elements=st.floats(-2, 10, width=32)),
                             hnp.arrays(float, (n, 2), elements=st.floats(least_side, 20, width=32)))
        return lattice | lattice.map(lambda cornered: (cornered[0] / 2, cornered[1])) | anywhere
    return st.integers(0, max_boxes).flatmap(arrays).map(lambda c: np.concatenate([c[0], c[0] + c[1]], 1))


def tiny_box_arrays(n_boxes):
    """Strategy for arrays (n_boxes, 4) xyxy whose corners and sides are 0 or between 1e-40 and 1e3."""
    lengths = st.just(0.) | st.floats(-40, 3).map(lambda exponent: 10. ** exponent)
    sides = hnp.arrays(float, (n_boxes, 2), elements=lengths)
    return st.tuples(sides, sides).map(lambda parts: np.concatenate([parts[0], parts[0] + parts[1]], 1))


batch_sizes = st.sampled_from([1, 5, 1 << 18])


def in_batches(size):
    """Context manager that limits the number of runs, and of pairs, that are in memory at a time to ``size``."""
    return mock.patch.multiple(box_pairs, _MAX_RUNS=size, _MAX_PAIRS=size)


def anchors(scale, shape, ratios=(.5, 1, 2), border=-1):
    """Returns the anchors (N, 4) xyxy of five levels that MMDetection's RPN lays over an image.

    Args:
        scale: The side of an anchor as a multiple of the stride of its level.
        shape: (height, width) of the image in px.
        ratios: Heights of the anchors divided by their widths.
        border: Number of px by which an anchor may reach beyond the image; -1 for no limit.
    """
    generator = AnchorGenerator(strides=STRIDES, ratios=ratios, scales=[scale])
    sizes = [(-(-shape[0] // stride), -(-shape[1] // stride)) for stride in STRIDES]
    flat = torch.cat(generator.grid_priors(sizes, device='cpu'))
    return flat[anchor_inside_flags(flat, flat.new_ones(len(flat), dtype=torch.bool), shape, border)]


def cell_boxes(n_cells, shape, seed=0):
    """Returns square boxes of 12 to 60 px with integer corners, clipped to the image; a tenth equal another box."""
    rng = np.random.default_rng(seed)
    centres, sides = rng.uniform(0, shape[::-1], (n_cells, 2)), rng.uniform(12, 60, (n_cells, 1))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1).round().clip(0, (*shape[::-1],) * 2)
    boxes[:n_cells // 10] = boxes[rng.integers(n_cells, size=n_cells // 10)]
    return torch.tensor(boxes, dtype=torch.float32)
