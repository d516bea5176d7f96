"""The cells predicted in one image, as arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mmengine.structures import InstanceData

from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import areas_px, foreground_pixels_of_all
from mmcell.masks.rle_counts import with_text_counts


@dataclass(frozen=True)
class Cells:
    """N cells of one image, each with at least one pixel.

    Attributes:
        rles: N compressed COCO RLEs, each of the size of the whole image.
        labels: (N,) int64, the class of each cell, from 0.
        scores: (N,) float64, the score of each cell, from 0 to 1.
        height_px: Height of the image.
        width_px: Width of the image.
    """

    rles: list[dict]
    labels: np.ndarray
    scores: np.ndarray
    height_px: int
    width_px: int

    @classmethod
    def from_instances(cls, instances: InstanceData, height_px: int, width_px: int) -> 'Cells':
        """Makes cells from MMDetection's ``pred_instances``; cells whose mask has no pixel are left out.

        Args:
            instances: Predictions with the fields scores (N,), labels (N,) and masks, which are N RLEs or (N, H, W)
                bool.
            height_px: Height of the image.
            width_px: Width of the image.

        Raises:
            ValueError: A mask and the image differ in size.
        """
        rles = [with_text_counts(rle) for rle in masks_to_rles(instances.masks)] if len(instances) else []
        wrong_size = next((rle['size'] for rle in rles if tuple(rle['size']) != (height_px, width_px)), None)
        if wrong_size is not None:
            raise ValueError(f'a mask has size {list(wrong_size)}, the image {[height_px, width_px]} (height, width); '
                             'both must be equal')
        labels = instances.labels.cpu().numpy().astype(np.int64)
        scores = instances.scores.cpu().numpy().astype(np.float64)
        cells = cls(rles, labels, scores, height_px, width_px)
        return cells.select(areas_px(rles) > 0)

    @classmethod
    def empty(cls, height_px: int, width_px: int) -> 'Cells':
        """Returns zero cells of an image of the given size."""
        return cls([], np.zeros(0, np.int64), np.zeros(0), height_px, width_px)

    def __len__(self) -> int:
        return len(self.rles)

    def select(self, keep: np.ndarray) -> 'Cells':
        """Returns the cells for which ``keep`` (N,) bool is true, in the same order."""
        kept = np.flatnonzero(keep)
        return Cells([self.rles[i] for i in kept], self.labels[kept], self.scores[kept], self.height_px, self.width_px)

    @cached_property
    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pixels of all cells: their columns x, their rows y, and the areas of the cells.

        x and y are (P,) int64, where P is the sum of the areas; areas are (N,) int64. The pixels lie cell after cell,
        and within a cell column after column from the left, each from top to bottom.

        Example: in an image of height 5, cell 0 has the rows 1, 2 and 4 of column 2 and the row 1 of column 3, and
        cell 1 has the row 2 of column 3. Then x is [2, 2, 2, 3, 3], y is [1, 2, 4, 1, 2], and areas are [4, 1].
        """
        if not self.rles:
            return (np.zeros(0, np.int64),) * 3
        positions, areas_px = foreground_pixels_of_all(self.rles)
        # RLEs count pixels down the columns: position 11 in an image of height 5 is column 2, row 1.
        x, y = np.divmod(positions, self.height_px)
        return x, y, areas_px

    @cached_property
    def areas_px(self) -> np.ndarray:
        """Number of pixels of each cell, (N,) int64; computed from the run lengths, without listing the pixels."""
        return areas_px(self.rles)

    @property
    def first_pixels(self) -> np.ndarray:
        """Index in :attr:`pixels` of the first pixel of each cell, (N,) int64: areas [4, 1] give [0, 4]."""
        return np.cumsum(self.areas_px) - self.areas_px

    @cached_property
    def bboxes_xyxy(self) -> np.ndarray:
        """Boxes around the pixels, (N, 4) int64: first column, first row, one past the last column and row."""
        if not self.rles:
            return np.zeros((0, 4), np.int64)
        x, y, _ = self.pixels
        first = self.first_pixels
        # reduceat reduces the stretch from each index to the next one. In the example of ``pixels``, first is [0, 4],
        # so that the minima of x [2, 2, 2, 3 | 3] are [2, 3]; the boxes are [[2, 1, 4, 5], [3, 2, 4, 3]].
        return np.stack([np.minimum.reduceat(x, first), np.minimum.reduceat(y, first),
                         np.maximum.reduceat(x, first) + 1, np.maximum.reduceat(y, first) + 1], axis=1)
