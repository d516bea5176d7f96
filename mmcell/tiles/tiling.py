"""Computes where the tiles of an image lie, and how far cells are from the seams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from mmcell.tiles.tile_limits import ALIGN_PX, refuse_wrong_grid

# The farthest that a tile is moved, so that its corner is nearly a whole pixel before and after resizing.
_MAX_MOVE_PX = 31


@dataclass(frozen=True)
class TileGrid:
    """T overlapping tiles that cover an image, row by row.

    The *input image* is the one that is cut into tiles. The *result image* is the one that predictions are made for.
    They differ in size if the test pipeline has resized the image.

    Attributes:
        input_rects_xyxy: (T, 4) int64, the tiles in px of the input image.
        rects_xyxy: (T, 4) int64, the tiles in px of the result image.
        height: Height of the result image in px.
        width: Width of the result image in px.
    """

    input_rects_xyxy: np.ndarray
    rects_xyxy: np.ndarray
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.rects_xyxy)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Pixels of the input image per pixel of the result image, along x and along y."""
        input_width, input_height = self.input_rects_xyxy[-1, 2:].tolist()
        return input_width / self.width, input_height / self.height

    def neighbours(self, tile: int) -> np.ndarray:
        """Returns the indices (n,) int64 of the other tiles that overlap a tile."""
        overlapping = overlaps(self.rects_xyxy, self.rects_xyxy[tile])
        overlapping[tile] = False
        return np.flatnonzero(overlapping)

    def batches_of_equal_shape(self, tiles: Sequence[int], batch_size: int) -> Iterator[list[int]]:
        """Splits tiles into batches of equal shape, because padding to a larger shape would change predictions.

        Args:
            tiles: Indices of tiles. Their order is kept.
            batch_size: The greatest number of tiles in a batch.

        Yields:
            The indices of the tiles in a batch.
        """
        shapes = (self.input_rects_xyxy[:, 2:] - self.input_rects_xyxy[:, :2]).tolist()
        for _, tiles_of_shape in groupby(tiles, key=shapes.__getitem__):
            while batch := list(islice(tiles_of_shape, batch_size)):
                yield batch

    def unshared_xyxy(self, tile: int) -> np.ndarray:
        """Returns the area (4,) int64 xyxy of a tile that no other tile sees, in px of the tile in the result image.

        x2 <= x1 or y2 <= y1 means that there is no such area.
        """
        # In an image 52 px wide, the first of the tiles [0, 32) and [20, 52) is the only one that sees [0, 20), and
        # the second the only one that sees [32, 52), which is [12, 32) in px of this tile.
        rects, own = self.rects_xyxy, self.rects_xyxy[tile]
        area = own.copy()
        for begin, end in ((0, 2), (1, 3)):
            area[begin] = rects[rects[:, begin] < own[begin], end].max(initial=own[begin])
            area[end] = rects[rects[:, begin] > own[begin], begin].min(initial=own[end])
        return area - np.tile(own[:2], 2)

    def nearest_tiles(self, tile: int, points_xy: np.ndarray) -> np.ndarray:
        """Returns the tile whose centre is nearest to each point, so that each point belongs to one tile.

        Args:
            tile: The index of a tile that the points lie in.
            points_xy: (N, 2) points in px of the result image.

        Returns:
            (N,) int64, the indices of tiles. The distance is the larger one of those along x and y.
        """
        tiles = np.sort(np.append(self.neighbours(tile), tile))
        centres_xy = (self.rects_xyxy[tiles, :2] + self.rects_xyxy[tiles, 2:]) / 2
        return tiles[np.abs(points_xy[:, None] - centres_xy).max(axis=-1).argmin(axis=1)]

    def seam_distances_px(self, tiles: np.ndarray, extents_xyxy: np.ndarray) -> np.ndarray:
        """Computes the distances of boxes to the nearest seam of tiles.

        Args:
            tiles: (...,) int64, the index of the tile for each box.
            extents_xyxy: (..., 4) boxes in px of the result image. They are broadcast against ``tiles``.

        Returns:
            (...,) float64 in px. A distance is negative if the box crosses the seam, and infinite if the tile has no
            seam.
        """
        # In an image 52 px wide, the tiles [0, 32) and [20, 52) have a seam at 32 and at 20. A box from x = 25 to 33 is
        # at 32 - 33 = -1 px from the first and at 25 - 20 = 5 px from the second. The borders of the image, 0 and 52,
        # are not seams.
        rects = self.rects_xyxy[tiles]
        low = np.where(rects[..., :2] > 0, extents_xyxy[..., :2] - rects[..., :2], np.inf)
        high = np.where(rects[..., 2:] < (self.width, self.height), rects[..., 2:] - extents_xyxy[..., 2:], np.inf)
        return np.minimum(low, high).min(axis=-1)


def overlaps(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Tells which boxes (..., 4) share an area with other boxes (..., 4), broadcast against them: (...,) bool."""
    return ((boxes_xyxy[..., :2] < others_xyxy[..., 2:]) & (others_xyxy[..., :2] < boxes_xyxy[..., 2:])).all(axis=-1)


def make_grid(height: int, width: int, tile_px: int, overlap_px: int, align_px: int = ALIGN_PX,
              result_size: tuple[int, int] | None = None) -> TileGrid:
    """Divides an image into tiles.

    Args:
        height: Height of the input image, which is cut, in px.
        width: Width of the input image in px.
        tile_px: Side of a tile in px. Tiles at the right and the lower border are up to ``align_px - 1`` px shorter. An
            image smaller than a tile is one tile. If ``result_size`` differs, tiles may be up to 31 px longer.
        overlap_px: The least number of px that neighbouring tiles share. Tiles are spread evenly, so that most of them
            share more.
        align_px: The upper left corners of tiles are multiples of this number. If it is the largest stride of a
            network, the features of a tile equal those of the whole image, except near the borders.
        result_size: (height, width) in px of the result image, which the input image was resized from. The default is
            the size of the input image. If it differs along an axis, corners are not aligned there, but moved to whole
            pixels of the input image that are nearly whole pixels of the result image.

    Raises:
        ValueError: Tiles are smaller than ``align_px``, or would advance by less than ``align_px``.
    """
    refuse_wrong_grid(tile_px, overlap_px, align_px)
    axes = []
    for length, result_length in zip((width, height), result_size[::-1] if result_size else (width, height),
                                     strict=True):
        if length == result_length:
            spans = _tile_spans(length, tile_px, overlap_px, align_px)
            axes.append((spans, spans))
        else:
            max_move_px = min(_MAX_MOVE_PX, (tile_px - overlap_px) // 4)
            spans = _tile_spans(length, tile_px, overlap_px + max_move_px, 1)
            axes.append(_move_to_whole_px(spans, length, result_length, max_move_px))
    (x_input, x_result), (y_input, y_result) = axes
    return TileGrid(_all_rects(x_input, y_input), _all_rects(x_result, y_result),
                    int(y_result[-1, 1]), int(x_result[-1, 1]))


def _tile_spans(length: int, tile_px: int, overlap_px: int, align_px: int) -> np.ndarray:
    """Returns the begin and end, (n, 2) int64, of the fewest possible tiles along one side of an image."""
    # For a side of 300 px, tiles of 128 px, an overlap of 32 px and corners at multiples of 32 px: a tile may advance
    # by step = 96 / 32 = 3 units. The last tile begins n_units = ceil(172 / 32) = 6 units from the first, which takes
    # n_gaps = ceil(6 / 3) = 2 steps. Begins are spread evenly and rounded: [0, 3, 6] * 32 = [0, 96, 192].
    # The last tile is cut at 300.
    if length <= tile_px:
        return np.array([[0, length]])
    step = (tile_px - overlap_px) // align_px
    n_units = -((tile_px - length) // align_px)
    n_gaps = -(-n_units // step)
    starts = (2 * np.arange(n_gaps + 1) * n_units + n_gaps) // (2 * n_gaps) * align_px
    return np.stack([starts, np.minimum(starts + tile_px, length)], axis=1)


def _move_to_whole_px(spans: np.ndarray, length: int, result_length: int,
                      max_move_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves the begins of spans (n, 2) towards 0, so that they are nearly whole pixels of the result image.

    Returns:
        The spans (n, 2) int64 in the input image and in the result image.
    """
    # From 134 to 100 px let a tile begin at 37, which is 27.61 in the result: .39 px from a whole pixel. Up to 12 px
    # before it, 28 is best: it is 20.90 in the result, .10 px from 21. The tile begins at 28 and at 21.
    factor = result_length / length
    candidates = np.maximum(spans[:, :1] - np.arange(max_move_px + 1), 0)
    offset_px = np.abs(candidates * factor - np.round(candidates * factor))
    # The distance moved gets a tiny weight, so that it only decides between candidates that are equally close.
    best = (offset_px + 1e-9 * (spans[:, :1] - candidates)).argmin(axis=1)
    starts = candidates[np.arange(len(spans)), best]
    ends = np.minimum(np.ceil(spans[:, 1] * factor), result_length)
    return (np.stack([starts, spans[:, 1]], axis=1),
            np.stack([np.round(starts * factor), ends], axis=1).astype(np.int64))


def _all_rects(x_spans: np.ndarray, y_spans: np.ndarray) -> np.ndarray:
    """Combines spans (n_x, 2) and (n_y, 2) to rectangles (n_y * n_x, 4) xyxy, row by row."""
    x, y = np.broadcast_arrays(x_spans[None], y_spans[:, None])
    return np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1).reshape(-1, 4)
