"""Cells that were predicted in tiles, in the frame of the whole image."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.runs import MaskRuns, concatenate_runs, runs_of_rles
from mmcell.tiles.tiling import TileGrid, overlaps


@dataclass(frozen=True)
class TileCells:
    """N predicted cells. All coordinates are in px of the whole image.

    Attributes:
        bboxes_xyxy: (N, 4) float32, the predicted boxes.
        scores: (N,) float32, the scores from 0 to 1.
        labels: (N,) int64, the labels of the classes, from 0.
        extents_xyxy: (N, 4) float64, the smallest boxes around predicted box and mask, cut off at the tile's borders.
        tiles: (N,) int64, the index of the tile in which each cell was predicted.
        last_tiles: (N,) int64, the index of the last tile that overlaps the cell's extent.
        masks: The N masks.
    """

    bboxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    extents_xyxy: np.ndarray
    tiles: np.ndarray
    last_tiles: np.ndarray
    masks: MaskRuns

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> 'TileCells':
        """Returns the cells that an index of (K,) integers or (N,) bool names."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        return TileCells(*(getattr(self, field.name)[index] for field in fields(self)[:-1]), self.masks.take(index))


def cells_of_tile(instances: InstanceData, tile: int, grid: TileGrid) -> TileCells:
    """Moves the predictions of a tile to the frame of the image. Cells whose mask has no pixel are left out.

    Args:
        instances: Predictions with bboxes, scores, labels and masks (RLEs, or (N, H, W) bool) in px of the tile.
        tile: Index of the tile in the grid.
        grid: The tiles of the image.

    Returns:
        The cells of the tile in px of the image.

    Raises:
        ValueError: The predictions have no masks.
    """
    if 'masks' not in instances:
        raise ValueError('tiles need a detector that predicts masks, but its predictions have none')
    rect = grid.rects_xyxy[tile]
    masks = runs_of_rles(masks_to_rles(instances.masks), (int(rect[0]), int(rect[1])), grid.height)
    bboxes, scores, labels = (instances[key].detach().cpu().numpy() for key in ('bboxes', 'scores', 'labels'))
    bboxes = (bboxes.reshape(-1, 4) + np.tile(rect[:2], 2)).astype(np.float32)
    pixel_boxes = masks.extents_xyxy
    extents = np.concatenate([np.minimum(bboxes[:, :2], pixel_boxes[:, :2]),
                              np.maximum(bboxes[:, 2:], pixel_boxes[:, 2:])], axis=1).astype(np.float64)
    np.clip(extents, np.tile(rect[:2], 2), np.tile(rect[2:], 2), out=extents)
    # With the tiles [0, 32) and [20, 52), cells of tile 0 from x = 5 to 10 and from x = 25 to 30: the tiles near it are
    # [1, 0]. The first cell overlaps only tile 0: max(0, 0) = 0. The second overlaps both: max(1, 0) = 1.
    near = np.append(grid.neighbours(tile), tile)
    last = np.where(overlaps(extents[:, None], grid.rects_xyxy[near]), near, tile).max(axis=1)
    cells = TileCells(bboxes, scores.astype(np.float32), labels.astype(np.int64), extents,
                      np.full(len(scores), tile), last, masks)
    return cells.take(masks.areas_px > 0)


def concatenate_cells(first: TileCells, second: TileCells) -> TileCells:
    """Returns the cells of both arguments, which must lie in the same image."""
    return TileCells(*(np.concatenate([getattr(first, field.name), getattr(second, field.name)])
                       for field in fields(TileCells)[:-1]), concatenate_runs(first.masks, second.masks))


def no_cells(height: int) -> TileCells:
    """Returns zero cells in an image of the given height in px."""
    return TileCells(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros((0, 4)),
                     np.zeros(0, np.int64), np.zeros(0, np.int64), runs_of_rles([], (0, 0), height))


def to_instances(cells: TileCells, width: int) -> InstanceData:
    """Converts cells to MMDetection's form on the CPU, with bboxes, scores, labels, and masks as RLEs.

    Args:
        cells: N cells.
        width: Width of the image in px.
    """
    return InstanceData(bboxes=torch.from_numpy(cells.bboxes_xyxy), scores=torch.from_numpy(cells.scores),
                        labels=torch.from_numpy(cells.labels), masks=cells.masks.to_rles(width))
