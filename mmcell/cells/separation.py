"""Gives each pixel to one cell, and each cell one piece, so that counts, areas and label maps of cells agree."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from mmcell.cells.cells import Cells
from mmcell.masks.painting import painting_order
from mmcell.masks.runs import MaskRuns, intersections_px
from mmcell.ragged import offsets_of

# A cell of which others cover more than this part is taken for another detection of the same place.
MAX_COVERED = .5
# So few cells may wait for nothing: they need little memory.
_LEAST_WAITING = 1000


def separate_cells(parts: Iterable[tuple[Cells, int]]) -> Iterator[Cells]:
    """Yields the cells of an image so that each pixel belongs to at most one of them, and each is of one piece.

    Of cells that overlap, the one with the higher score keeps the common pixels; of equal scores the smaller one, as in
    label maps (:func:`mmcell.masks.painting.painting_order`). A cell that loses more than ``MAX_COVERED`` of its pixels
    is left out, and takes no pixels from others. Of a cell in several pieces, the largest is kept; pixels that touch at
    a corner belong to one piece. Boxes, scores and classes stay as they were predicted.

    Args:
        parts: The cells of an image, all at once or in parts, for example tile by tile, each with the row in px above
            which no pixel of cells in later parts lies. It does not matter how they are divided. A cell is held back as
            long as it may depend on one that comes later.

    Yields:
        Cells that are final, in the order in which they came, at least one at a time.
    """
    waiting = _Waiting(None, None)
    released_px, n_enough = 0, _LEAST_WAITING
    for part, done_above_px in parts:
        waiting = waiting.joined_by(part.take(part.masks.areas_px > 0))
        # All waiting cells are looked at for each release, which pays only if many have come since the last one.
        if done_above_px > released_px and len(waiting) >= n_enough:
            released_px = done_above_px
            final, waiting = waiting.release(released_px)
            n_enough = 2 * len(waiting) + _LEAST_WAITING
            if len(final):
                yield final
    if len(waiting):
        final, _ = waiting.release(None)
        if len(final):
            yield final


class _Waiting:
    """Cells that may depend on later ones, and the pixels of final cells that are near enough to matter to them.

    Args:
        cells: The cells as they were predicted; None if none has come.
        taken: Masks of final cells; None if there are none.
    """

    def __init__(self, cells: Cells | None, taken: MaskRuns | None) -> None:
        self.cells, self._taken = cells, taken

    def __len__(self) -> int:
        return 0 if self.cells is None else len(self.cells)

    def joined_by(self, cells: Cells) -> '_Waiting':
        """Returns these cells and more of them."""
        return _Waiting(cells if self.cells is None else Cells.concatenate([self.cells, cells]), self._taken)

    def release(self, above_px: int | None) -> tuple[Cells, '_Waiting']:
        """Returns the cells that are final, and what goes on waiting.

        Args:
            above_px: Later cells lie below this row, so that nothing is to come above it; None if nothing is to come.
        """
        masks = self.cells.masks
        may_change = np.zeros(len(masks), bool) if above_px is None else masks.extents_xyxy[:, 3] > above_px
        kept = self._go_through(may_change)
        final = np.array(sorted(cell for cell in kept if not may_change[cell]), np.int64)
        cells = _with_masks(self.cells.take(final), [kept[cell] for cell in final.tolist()])
        waiting = self.cells.take(may_change)
        taken = cells.masks if self._taken is None else MaskRuns.concatenate([self._taken, cells.masks])
        if above_px is not None:
            top = min(above_px, int(waiting.masks.extents_xyxy[:, 1].min(initial=above_px)))
            taken = taken.take(np.flatnonzero(taken.extents_xyxy[:, 3] > top))
        return cells, _Waiting(waiting, taken)

    def _go_through(self, may_change: np.ndarray) -> dict[int, np.ndarray]:
        """Gives the pixels to the cells, from the highest to the lowest score.

        Args:
            may_change: (N,) bool, the cells that a later one may overlap. Those that depend on them are added in place.

        Returns:
            The positions of the pixels of each cell that is kept, ascending, by the index of the cell.
        """
        masks = self.cells.masks
        areas_px, positions, offsets = masks.areas_px, masks.positions, offsets_of(masks.areas_px)
        cell, other, _ = intersections_px(masks, masks)
        others = np.split(other, np.cumsum(np.bincount(cell, minlength=len(masks)))[:-1])
        taken_by_final = self._taken_of(masks)
        rank = np.empty(len(masks), np.int64)
        order = painting_order(self.cells.scores, areas_px)[::-1]
        rank[order] = np.arange(len(masks))
        kept: dict[int, np.ndarray] = {}
        for index in order.tolist():
            own = positions[offsets[index]:offsets[index + 1]]
            above = [place for place in others[index].tolist() if rank[place] < rank[index]]
            may_change[index] |= may_change[above].any()
            taken = [*(kept[place] for place in above if place in kept), *taken_by_final.get(index, ())]
            pixels = own[~np.isin(own, np.concatenate(taken))] if taken else own
            if len(pixels) and len(pixels) >= (1 - MAX_COVERED) * len(own):
                kept[index] = _largest_piece(pixels, masks.height)
        return kept

    def _taken_of(self, masks: MaskRuns) -> dict[int, list[np.ndarray]]:
        """Returns the positions of the final cells that overlap a mask, by the index of the mask."""
        if self._taken is None:
            return {}
        cell, final, _ = intersections_px(masks, self._taken)
        found: dict[int, list[np.ndarray]] = {}
        for index, place in zip(cell.tolist(), final.tolist(), strict=True):
            found.setdefault(index, []).append(self._taken.take(np.array([place])).positions)
        return found


def _largest_piece(positions: np.ndarray, height: int) -> np.ndarray:
    """Returns the pixels of the largest piece of a mask; of equal ones, of the leftmost.

    Args:
        positions: (P,) int64, ascending, at least one.
        height: Height of the image in px.
    """
    x, y = np.divmod(positions, height)
    x, y = x - x[0], y - y.min()
    # Columns of the image are rows here, so that pieces are numbered in the order of their first positions.
    bitmap = np.zeros((x[-1] + 1, y.max() + 1), np.uint8)
    bitmap[x, y] = 1
    n_labels, labels = cv2.connectedComponents(bitmap, connectivity=8)
    if n_labels == 2:  # background and one piece
        return positions
    labels = labels[x, y]
    return positions[labels == np.bincount(labels)[1:].argmax() + 1]


def _with_masks(cells: Cells, pieces: list[np.ndarray]) -> Cells:
    """Returns cells with other masks, each given by the ascending positions of its pixels."""
    areas_px = np.array([len(piece) for piece in pieces], np.int64)
    masks = MaskRuns.from_positions(np.concatenate([*pieces, np.zeros(0, np.int64)]), areas_px, cells.masks.height,
                                    cells.masks.width)
    return Cells(masks, cells.bboxes_xyxy, cells.scores, cells.labels)
