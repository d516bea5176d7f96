"""Cells that were predicted in tiles, with what is known about their place among the tiles."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.tiles.tiling import TileGrid, overlaps


@dataclass(frozen=True)
class TileCells:
    """N predicted cells with their tiles. All coordinates are in px of the whole image.

    Attributes:
        cells: The N cells, each with at least one pixel.
        extents_xyxy: (N, 4) float64, the smallest boxes around predicted box and mask, cut off at the tile's borders.
        tiles: (N,) int64, the index of the tile in which each cell was predicted.
        last_tiles: (N,) int64, the index of the last tile that overlaps the cell's extent.
        are_cut: (N,) bool, whether the extent comes so close to a seam of the tile that the cell may be cut.
    """

    cells: Cells
    extents_xyxy: np.ndarray
    tiles: np.ndarray
    last_tiles: np.ndarray
    are_cut: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence['TileCells']) -> 'TileCells':
        """Returns the cells of one or more parts, which must lie in the same image."""
        return cls(Cells.concatenate([part.cells for part in parts]),
                   *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)[1:]))

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, index: np.ndarray) -> 'TileCells':
        """Returns the cells that an index of (K,) integers or (N,) bool names."""
        return TileCells(self.cells.take(index), *(getattr(self, field.name)[index] for field in fields(self)[1:]))


def place_in_grid(cells: Cells, tile: int, grid: TileGrid, border_px: float) -> TileCells:
    """Finds the extents of the cells of a tile, and the tiles and seams that they reach.

    Args:
        cells: The cells that were predicted in the tile, in px of the image.
        tile: Index of the tile in the grid.
        grid: The tiles of the image.
        border_px: Cells that come closer than this to a seam, in px, count as cut.

    Returns:
        The cells that have a pixel, without the cut cells whose place lies far from the seams of another tile (rule 1
        of :mod:`mmcell.tiles.seams`).
    """
    cells = cells.take(cells.masks.areas_px > 0)
    rect, bboxes, pixel_boxes = grid.rects_xyxy[tile], cells.bboxes_xyxy, cells.masks.extents_xyxy
    extents = np.concatenate([np.minimum(bboxes[:, :2], pixel_boxes[:, :2]),
                              np.maximum(bboxes[:, 2:], pixel_boxes[:, 2:])], axis=1).astype(np.float64)
    np.clip(extents, np.tile(rect[:2], 2), np.tile(rect[2:], 2), out=extents)
    # With the tiles [0, 32) and [20, 52), cells of tile 0 from x = 5 to 10 and from x = 25 to 30: the tiles near it are
    # [1, 0]. The first cell overlaps only tile 0: max(0, 0) = 0. The second overlaps both: max(1, 0) = 1.
    neighbours = grid.neighbours(tile)
    near = np.append(neighbours, tile)
    last = np.where(overlaps(extents[:, None], grid.rects_xyxy[near]), near, tile).max(axis=1)
    are_cut = grid.seam_distances_px(tile, extents) < border_px
    are_whole_elsewhere = (grid.seam_distances_px(neighbours, extents[:, None]) >= border_px).any(axis=1)
    placed = TileCells(cells, extents, np.full(len(cells), tile), last, are_cut)
    return placed.take(~(are_cut & are_whole_elsewhere))
