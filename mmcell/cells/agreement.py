"""How well two predictions of the same image agree."""

from dataclasses import dataclass

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.masks.runs import intersections_px

# Two cells with a smaller IoU are not the same cell.
MIN_IOU = .5


@dataclass(frozen=True)
class Agreement:
    """How well two predictions of the same images agree.

    Attributes:
        n_cells: Number of cells. In each image the larger number of the two predictions counts, so that a cell that
            only one of them has is a disagreement.
        ious: (P,) float64, the IoU of the masks of each pair of matched cells, from .5 to 1.
    """

    n_cells: int
    ious: np.ndarray

    @classmethod
    def of_cells(cls, cells: Cells, others: Cells) -> 'Agreement':
        """Matches the cells of two predictions of one image one to one, pairs with the greatest IoU first.

        Matched cells have the same class and an IoU of at least .5.

        Args:
            cells: The cells of one prediction. Each has a pixel.
            others: The cells of the other prediction.
        """
        first, second, shared_px = intersections_px(cells.masks, others.masks)
        ious = shared_px / (cells.masks.areas_px[first] + others.masks.areas_px[second] - shared_px)
        is_same = (cells.labels[first] == others.labels[second]) & (ious >= MIN_IOU)
        first, second, ious = first[is_same], second[is_same], ious[is_same]
        matched_first, matched_second, matched_ious = set(), set(), []
        for pair in np.argsort(-ious, kind='stable'):
            if first[pair] not in matched_first and second[pair] not in matched_second:
                matched_first.add(first[pair])
                matched_second.add(second[pair])
                matched_ious.append(ious[pair])
        return cls(max(len(cells), len(others)), np.array(matched_ious, np.float64))

    def __add__(self, other: 'Agreement') -> 'Agreement':
        """Returns the agreement on the images of both."""
        return Agreement(self.n_cells + other.n_cells, np.concatenate([self.ious, other.ious]))

    @property
    def matched_share(self) -> float:
        """The share of the cells that both predictions have, from 0 to 1; 1 if there are no cells."""
        return len(self.ious) / self.n_cells if self.n_cells else 1.

    @property
    def median_iou(self) -> float:
        """The median IoU of the matched cells, from .5 to 1; 1 if none match."""
        return float(np.median(self.ious)) if len(self.ious) else 1.
