"""Cells predicted in an image, as arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mmengine.structures import InstanceData

from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import areas_px, foreground_pixels_of_all, with_text_counts


@dataclass(frozen=True)
class Cells:
    """N cells of an image, each with at least one pixel.

    Attributes:
        rles: N compressed COCO RLEs of the size of the whole image.
        labels: (N,) int64, classes from 0.
        scores: (N,) float64, 0 to 1.
        height_px, width_px: of the image.
    """

    rles: list[dict]
    labels: np.ndarray
    scores: np.ndarray
    height_px: int
    width_px: int

    @classmethod
    def from_instances(cls, instances: InstanceData, height_px: int, width_px: int) -> 'Cells':
        """The cells of MMDetection's ``pred_instances``; masks without a pixel are left out.

        Args:
            instances: scores (N,), labels (N,), and masks: N RLEs, or (N, H, W) bool.
            height_px, width_px: of the image.

        Raises:
            ValueError: a mask has another size than the image.
        """
        rles = [with_text_counts(rle) for rle in masks_to_rles(instances.masks)] if len(instances) else []
        wrong = next((rle['size'] for rle in rles if tuple(rle['size']) != (height_px, width_px)), None)
        if wrong is not None:
            raise ValueError(f'a mask has size {list(wrong)}, the image {[height_px, width_px]} (height, width)')
        labels = instances.labels.cpu().numpy().astype(np.int64)
        scores = instances.scores.cpu().numpy().astype(np.float64)
        cells = cls(rles, labels, scores, height_px, width_px)
        return cells.select(areas_px(rles) > 0)

    @classmethod
    def none(cls, height_px: int, width_px: int) -> 'Cells':
        """No cells of an image."""
        return cls([], np.zeros(0, np.int64), np.zeros(0), height_px, width_px)

    def __len__(self) -> int:
        return len(self.rles)

    def select(self, keep: np.ndarray) -> 'Cells':
        """The cells that a mask (N,) bool names, in their order."""
        kept = np.flatnonzero(keep)
        return Cells([self.rles[i] for i in kept], self.labels[kept], self.scores[kept], self.height_px, self.width_px)

    @cached_property
    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns x and rows y of all pixels, cell after cell, (sum of areas,) int64 each; areas (N,) int64.

        The pixels of a cell go down its columns, from the left.
        """
        if not self.rles:
            return (np.zeros(0, np.int64),) * 3
        positions, areas_px = foreground_pixels_of_all(self.rles)
        x, y = np.divmod(positions, self.height_px)
        return x, y, areas_px

    @cached_property
    def areas_px(self) -> np.ndarray:
        """Pixels of each cell, (N,) int64, at the cost of the runs."""
        return areas_px(self.rles)

    @property
    def first_pixels(self) -> np.ndarray:
        """Where in :attr:`pixels` each cell begins, (N,) int64."""
        return np.cumsum(self.areas_px) - self.areas_px

    @cached_property
    def bboxes_xyxy(self) -> np.ndarray:
        """Boxes around the pixels, (N, 4) int64: first column and row, one past the last column and row."""
        if not self.rles:
            return np.zeros((0, 4), np.int64)
        x, y, _ = self.pixels
        first = self.first_pixels
        return np.stack([np.minimum.reduceat(x, first), np.minimum.reduceat(y, first),
                         np.maximum.reduceat(x, first) + 1, np.maximum.reduceat(y, first) + 1], axis=1)
