"""The cells of annotation files as the model of a config sees them: after the resizing of its test pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from mmcell.inspection.advice_places import is_resizing
from mmcell.inspection.sets import InspectedSet


@dataclass(frozen=True)
class SeenCells:
    """N cells of I images and C classes. Regions that are not annotated cell by cell are not among them.

    Attributes:
        boxes_xywh: (N, 4) float64 boxes in px of the input of the model.
        image_index: (N,) int64, ascending, the place of the image of each cell.
        class_index: (N,) int64, the place of the class of each cell.
        class_names: C names.
        sizes: (I, 2) float64, height and width of the images in px of the input.
        scales: (I, 2) float64, by which factors height and width were multiplied before.
    """

    boxes_xywh: np.ndarray
    image_index: np.ndarray
    class_index: np.ndarray
    class_names: list[str]
    sizes: np.ndarray
    scales: np.ndarray

    @property
    def sizes_px(self) -> np.ndarray:
        """The square roots of the areas of the boxes, (N,) float64 in px."""
        return np.sqrt(self.boxes_xywh[:, 2:].prod(axis=1))

    @property
    def sides_px(self) -> np.ndarray:
        """The longer sides of the boxes, (N,) float64 in px."""
        return self.boxes_xywh[:, 2:].max(axis=1)

    @property
    def counts(self) -> np.ndarray:
        """The numbers of cells per image and class, (I, C) int64."""
        shape = len(self.sizes), len(self.class_names)
        flat = np.ravel_multi_index((self.image_index, self.class_index), shape)
        return np.bincount(flat, minlength=np.prod(shape)).reshape(shape)

    @property
    def centers_xy(self) -> np.ndarray:
        """The centres of the boxes, (N, 2) float64 in px."""
        return self.boxes_xywh[:, :2] + self.boxes_xywh[:, 2:] / 2

    def of_each_image(self, values: np.ndarray) -> list[np.ndarray]:
        """Returns values (N, …) of cells, as one array per image."""
        return np.split(values, np.searchsorted(self.image_index, np.arange(1, len(self.sizes))))

    def most_in_windows(self, window_px: float) -> int:
        """Returns about how many cells a square window of any image has at most."""
        return max(most_in_a_window(centers, window_px) for centers in self.of_each_image(self.centers_xy))


def most_in_a_window(centers_xy: np.ndarray, window_px: float) -> int:
    """Returns about how many of the points (N, 2) a square window holds at most; it moves in steps of a quarter."""
    if not len(centers_xy):
        return 0
    bins = np.floor(centers_xy / (window_px / 4)).astype(np.int64)
    grid = np.zeros(bins.max(axis=0) + 4)
    np.add.at(grid, tuple(bins.T), 1)
    return round(uniform_filter(grid, 4, mode='constant').max() * 16)


def gather_cells(sets: Sequence[InspectedSet], pipeline: Sequence[dict]) -> SeenCells:
    """Returns the cells of all sets as one; classes go by name.

    Args:
        sets: The annotation files.
        pipeline: The settings of a pipeline without random resizing, as that of the test images.
    """
    names = list(dict.fromkeys(name for part in sets for name in part.truth.class_names))
    images = np.cumsum([0, *(len(part.truth.sizes) for part in sets)])
    is_cell = np.concatenate([~part.truth.is_crowd & (part.truth.boxes_xywh[:, 2:] > 0).all(axis=1) for part in sets])
    boxes, image_index, class_index = (np.concatenate(arrays)[is_cell] for arrays in (
        [part.truth.boxes_xywh for part in sets],
        [part.truth.image_index + first for part, first in zip(sets, images, strict=False)],
        [np.array([names.index(name) for name in part.truth.class_names], np.int64)[part.truth.class_index]
         for part in sets]))
    sizes = np.concatenate([part.truth.sizes for part in sets])
    scales = find_scales(pipeline, sizes)
    return SeenCells(boxes * np.tile(scales[:, ::-1], 2)[image_index], image_index, class_index, names, sizes * scales,
                     scales)


def find_scales(pipeline: Sequence[dict], sizes: np.ndarray) -> np.ndarray:
    """Returns by which factors a pipeline multiplies the height and the width of images, (I, 2) float64.

    Its resizing transforms are applied to empty images, once per size.

    Args:
        pipeline: The settings of the transforms.
        sizes: (I, 2) int64, the heights and widths in px.
    """
    from mmdet.registry import TRANSFORMS
    steps = [TRANSFORMS.build(step) for step in pipeline if is_resizing(step)]
    distinct, inverse = np.unique(sizes, axis=0, return_inverse=True)
    scales = np.ones((len(distinct), 2))
    for scale, (height, width) in zip(scales, distinct.tolist(), strict=True) if steps else ():
        results = dict(img=np.zeros((height, width), np.uint8), img_shape=(height, width), ori_shape=(height, width))
        for step in steps:
            results = step(results)
        # Each resizing multiplies this matrix.
        matrix = results.get('homography_matrix')
        scale[:] = (1, 1) if matrix is None else (matrix[1, 1], matrix[0, 0])
    return scales[inverse.ravel()]
