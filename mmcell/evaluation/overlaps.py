"""Overlaps of true and predicted cells, as a sparse table of the pairs that share a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from mmcell.masks.rle import foreground_pixels_of_all


@dataclass(frozen=True)
class Overlaps:
    """N true and M predicted cells, and the P pairs of them that share pixels.

    Attributes:
        true_ids: (N,) int64, ids in the label map, or positions in the list of RLEs.
        pred_ids: (M,) int64 likewise.
        true_areas_px: (N,) int64.
        pred_areas_px: (M,) int64.
        true_index: (P,) int64, position in ``true_ids`` of each pair; pairs are in ascending order of it.
        pred_index: (P,) int64, position in ``pred_ids``; ascending among the pairs of one true cell.
        intersections_px: (P,) int64, more than 0.
    """

    true_ids: np.ndarray
    pred_ids: np.ndarray
    true_areas_px: np.ndarray
    pred_areas_px: np.ndarray
    true_index: np.ndarray
    pred_index: np.ndarray
    intersections_px: np.ndarray

    @property
    def unions_px(self) -> np.ndarray:
        """(P,) int64."""
        return (self.true_areas_px[self.true_index] + self.pred_areas_px[self.pred_index]) - self.intersections_px

    @property
    def ious(self) -> np.ndarray:
        """(P,) float64, intersection over union, more than 0."""
        return self.intersections_px / self.unions_px

    def of_predictions(self, is_kept: np.ndarray) -> 'Overlaps':
        """The overlaps with some of the predictions alone.

        Args:
            is_kept: (M,) bool.
        """
        pairs = is_kept[self.pred_index]
        return replace(
            self, pred_ids=self.pred_ids[is_kept], pred_areas_px=self.pred_areas_px[is_kept],
            true_index=self.true_index[pairs], pred_index=(np.cumsum(is_kept) - 1)[self.pred_index[pairs]],
            intersections_px=self.intersections_px[pairs])


def overlaps_of_label_maps(true_map: np.ndarray, pred_map: np.ndarray) -> Overlaps:
    """Overlaps of the instances of two label maps.

    The time is one pass over the pixels and a sort of the runs of equal pixels; the memory does not grow with N x M.

    Args:
        true_map: (H, W) integers, 0 = background; ids need not be contiguous.
        pred_map: (H, W) integers likewise.

    Raises:
        ValueError: the maps have different shapes.
    """
    if true_map.shape != pred_map.shape:
        raise ValueError(f'label maps of one image must have one shape, got {true_map.shape} and {pred_map.shape}')
    true_pixels, pred_pixels = true_map.ravel(order='F'), pred_map.ravel(order='F')
    is_bound = (true_pixels[1:] != true_pixels[:-1]) | (pred_pixels[1:] != pred_pixels[:-1])
    starts = np.append(0, np.flatnonzero(is_bound) + 1)[:true_pixels.size]
    lengths_px = np.diff(np.append(starts, true_pixels.size))
    true_ids, true_index, true_areas_px = _instances_of(true_pixels[starts], lengths_px)
    pred_ids, pred_index, pred_areas_px = _instances_of(pred_pixels[starts], lengths_px)
    both = (true_index >= 0) & (pred_index >= 0)
    table = csr_array((lengths_px[both], (true_index[both], pred_index[both])), shape=(len(true_ids), len(pred_ids)))
    return _overlaps(table, true_ids, pred_ids, true_areas_px, pred_areas_px)


def overlaps_of_rles(true_rles: Sequence[dict], pred_rles: Sequence[dict]) -> Overlaps:
    """Overlaps of two sets of RLEs of one image; the instances of a set may overlap one another.

    The time is proportional to the pixels inside instances, counted as often as they are covered.

    Raises:
        ValueError: sizes differ, or an RLE is not valid.
    """
    sizes = {tuple(rle['size']) for rle in [*true_rles, *pred_rles]}
    if len(sizes) > 1:
        raise ValueError(f'RLEs of one image must have one size, got {sorted(sizes)}')
    n_pixels = int(np.prod(next(iter(sizes), (0, 0))))
    inside_true, true_areas_px = _instances_by_pixels(true_rles, n_pixels)
    inside_pred, pred_areas_px = _instances_by_pixels(pred_rles, n_pixels)
    return _overlaps(inside_true @ inside_pred.T.tocsr(), np.arange(len(true_rles)), np.arange(len(pred_rles)),
                     true_areas_px, pred_areas_px)


def _instances_of(labels: np.ndarray, lengths_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids and areas of the instances, and the instance of each run, -1 in the background: ids, index, areas."""
    values, index = np.unique(labels, return_inverse=True)
    areas_px = np.bincount(index, lengths_px, minlength=len(values)).astype(np.int64)
    is_instance = values != 0
    positions = np.where(is_instance, np.cumsum(is_instance) - 1, -1)
    return values[is_instance].astype(np.int64), positions[index], areas_px[is_instance]


def _instances_by_pixels(rles: Sequence[dict], n_pixels: int) -> tuple[csr_array, np.ndarray]:
    """Sparse (N, n_pixels) table with a 1 for each pixel inside an instance, and areas (N,)."""
    positions, areas_px = foreground_pixels_of_all(rles)
    row_starts = np.concatenate([[0], np.cumsum(areas_px)])
    return csr_array((np.ones(len(positions), np.int64), positions, row_starts), (len(rles), n_pixels)), areas_px


def _overlaps(table: csr_array, true_ids: np.ndarray, pred_ids: np.ndarray, true_areas_px: np.ndarray,
              pred_areas_px: np.ndarray) -> Overlaps:
    table.sort_indices()
    true_index = np.repeat(np.arange(len(true_ids)), np.diff(table.indptr))
    return Overlaps(true_ids, pred_ids, true_areas_px, pred_areas_px, true_index, table.indices.astype(np.int64),
                    table.data)
