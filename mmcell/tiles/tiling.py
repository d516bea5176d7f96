"""Where the tiles of an image lie, and how far the cells in them are from the seams."""

from dataclasses import dataclass

import numpy as np

# How far tiles are moved, at most, in search of a corner that is a whole pixel before and after resizing.
_MAX_MOVE_PX = 31


@dataclass(frozen=True)
class TileGrid:
    """T tiles of an image, row by row, that overlap and cover it.

    Attributes:
        input_rects_xyxy: (T, 4) int64, in px of the image that is cut.
        rects_xyxy: (T, 4) int64, in px of the image that results are for; another one where the image was resized.
        height, width: of the image that results are for.
    """

    input_rects_xyxy: np.ndarray
    rects_xyxy: np.ndarray
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.rects_xyxy)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Px of the image that is cut for one px of the image that results are for."""
        input_width, input_height = self.input_rects_xyxy[-1, 2:].tolist()
        return input_width / self.width, input_height / self.height

    def neighbours(self, tile: int) -> np.ndarray:
        """Indices of the other tiles that overlap a tile."""
        overlapping = overlaps(self.rects_xyxy, self.rects_xyxy[tile])
        overlapping[tile] = False
        return np.flatnonzero(overlapping)

    def seam_distances_px(self, tiles: np.ndarray, extents_xyxy: np.ndarray) -> np.ndarray:
        """Distance (...,) float64 of boxes to the nearest seam of tiles: a border of the tile inside the image.

        Negative for a box that crosses the seam; infinite in a tile without seams.

        Args:
            tiles: (...,) indices.
            extents_xyxy: (..., 4) in px of the image that results are for; broadcast against ``tiles``.
        """
        rects = self.rects_xyxy[tiles]
        low = np.where(rects[..., :2] > 0, extents_xyxy[..., :2] - rects[..., :2], np.inf)
        high = np.where(rects[..., 2:] < (self.width, self.height), rects[..., 2:] - extents_xyxy[..., 2:], np.inf)
        return np.minimum(low, high).min(axis=-1)


def overlaps(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Whether boxes (..., 4) and others (..., 4), broadcast, share an area."""
    return ((boxes_xyxy[..., :2] < others_xyxy[..., 2:]) & (others_xyxy[..., :2] < boxes_xyxy[..., 2:])).all(axis=-1)


def make_grid(height: int, width: int, tile_px: int, overlap_px: int, align_px: int = 32,
              result_size: tuple[int, int] | None = None) -> TileGrid:
    """Tiles of an image.

    Args:
        height, width: of the image that is cut.
        tile_px: side of a tile. Tiles at the right and the lower border are up to ``align_px - 1`` px shorter; an
            image smaller than a tile is one tile. Where the results have another size, tiles may be 31 px longer.
        overlap_px: the least that two neighbours share. Tiles are spread evenly, so that most share more.
        align_px: the upper left corners are multiples of it. At the largest stride of a network, its features of a
            tile are those of the whole image away from the borders.
        result_size: (height, width) of the image before it was resized, where results are for that one. Corners are
            then moved to where a whole pixel before resizing is nearly one after it, and are not aligned.

    Raises:
        ValueError: tiles that are too small, or do not advance by ``align_px`` at least.
    """
    if tile_px < align_px:
        raise ValueError(f'tiles of {align_px} px at least expected, got {tile_px}')
    if not 0 <= overlap_px <= tile_px - align_px:
        raise ValueError(f'an overlap from 0 to {tile_px - align_px} px expected (tiles of {tile_px} px less the '
                         f'{align_px} px that they advance at least), got {overlap_px}')
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
    """Begin and end (n, 2) int64 of the fewest tiles along one side of an image."""
    if length <= tile_px:
        return np.array([[0, length]])
    step = (tile_px - overlap_px) // align_px
    n_units = -((tile_px - length) // align_px)
    n_gaps = -(-n_units // step)
    starts = (2 * np.arange(n_gaps + 1) * n_units + n_gaps) // (2 * n_gaps) * align_px
    return np.stack([starts, np.minimum(starts + tile_px, length)], axis=1)


def _move_to_whole_px(spans: np.ndarray, length: int, result_length: int,
                      max_move_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves begins down to where they are nearest to a whole pixel of the result; gives spans (n, 2) in both frames."""
    factor = result_length / length
    candidates = np.maximum(spans[:, :1] - np.arange(max_move_px + 1), 0)
    offset_px = np.abs(candidates * factor - np.round(candidates * factor))
    # The move counts so little that it decides between equals alone.
    best = (offset_px + 1e-9 * (spans[:, :1] - candidates)).argmin(axis=1)
    starts = candidates[np.arange(len(spans)), best]
    ends = np.minimum(np.ceil(spans[:, 1] * factor), result_length)
    return (np.stack([starts, spans[:, 1]], axis=1),
            np.stack([np.round(starts * factor), ends], axis=1).astype(np.int64))


def _all_rects(x_spans: np.ndarray, y_spans: np.ndarray) -> np.ndarray:
    """(n_y * n_x, 4) xyxy, row by row."""
    x, y = np.broadcast_arrays(x_spans[None], y_spans[:, None])
    return np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1).reshape(-1, 4)
