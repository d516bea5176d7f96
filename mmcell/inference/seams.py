"""Cells at the seams of overlapping tiles: each once, and whole.

1. *Cut cells.* What reaches within ``border_px`` of a seam (a border of its tile inside the image) may be cut by it, or
   be predicted badly for want of context. Where another tile has the same place farther than that from its own seams,
   the cell is dropped: that tile sees it whole.
2. *Parts.* A cell larger than the overlap may be cut in every tile. Its parts are united: two cut cells of two tiles,
   which share half of the smaller one's pixels in the area that both tiles see, each the other's best partner there
   (of the same class before others, then by IoU in that area). Class and score are those of the largest part.
3. *Duplicates.* Two cells of two tiles that share half of the smaller one's pixels are one cell seen twice. The tile
   whose seams are farther from the place wins, whatever class or score: it decides as it would by itself. Within a tile
   nothing is removed. What is beaten by a cell that is itself removed stays.

Every rule looks at cells that share pixels, so that cells are final as soon as no tile to come reaches them.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmcell.inference.mask_runs import intersections_px
from mmcell.inference.tile_cells import TileCells, concatenate_cells, no_cells
from mmcell.inference.tiling import TileGrid, overlaps

# Of the smaller mask's pixels.
MIN_SHARED = .5
# Runs of masks that are compared at a time: a bound on memory.
_MAX_RUNS = 1 << 18


class SeamStitcher:
    """Takes the cells of one tile after another and gives back those that are final.

    Args:
        grid: the tiles, which must be added in its order.
        border_px: cells that come so near to a seam are taken from a tile that has them farther inside; below half the
            overlap, or there is no such tile in the middle of it.

    Attributes:
        pending: cells that wait for tiles to come; only cells at seams do.
    """

    def __init__(self, grid: TileGrid, border_px: float) -> None:
        self.grid = grid
        self.border_px = border_px
        self.pending = no_cells(grid.height)
        self._pairs = np.zeros((0, 2), np.int64)

    def add(self, tile: int, cells: TileCells) -> TileCells:
        """Adds a tile and gives the cells that no later tile can change, each once."""
        cells = self._drop_cells_seen_whole_elsewhere(tile, cells)
        n_before = len(self.pending)
        pairs = self._overlapping_pairs(tile, cells)
        pairs[:, 1] += n_before
        self.pending = concatenate_cells(self.pending, cells)
        self._pairs = np.concatenate([self._pairs, pairs])
        linked = _components(self._pairs, len(self.pending))
        waits = np.bincount(linked, weights=self.pending.last_tiles > tile)[linked] > 0
        final = resolve(self.pending.take(~waits), _pairs_among(self._pairs, ~waits), self.grid, self.border_px)
        self._pairs = _pairs_among(self._pairs, waits)
        self.pending = self.pending.take(waits)
        return final

    def _drop_cells_seen_whole_elsewhere(self, tile: int, cells: TileCells) -> TileCells:
        is_cut = self.grid.seam_distances_px(tile, cells.extents_xyxy) < self.border_px
        neighbours = self.grid.neighbours(tile)
        elsewhere = self.grid.seam_distances_px(neighbours, cells.extents_xyxy[:, None])
        return cells.take(~(is_cut & (elsewhere >= self.border_px).any(axis=1)))

    def _overlapping_pairs(self, tile: int, cells: TileCells) -> np.ndarray:
        """(P, 2) int64: pending and new cells that may be one."""
        old = np.flatnonzero(overlaps(self.pending.extents_xyxy, self.grid.rects_xyxy[tile]))
        i, new = np.nonzero(overlaps(self.pending.extents_xyxy[old, None], cells.extents_xyxy[None]))
        pairs = np.stack([old[i], new], axis=1)
        compared = compare_pairs(self.pending, cells, pairs, self.grid, self.border_px)
        return pairs[compared.are_duplicates | compared.are_parts]


def resolve(cells: TileCells, pairs: np.ndarray, grid: TileGrid, border_px: float) -> TileCells:
    """Unites the parts of cells and removes duplicates; rules 2 and 3 of the module.

    Args:
        cells: N, after rule 1.
        pairs: (P, 2) int64, cells of two tiles that may be one.
        grid: the tiles.
        border_px: as :class:`SeamStitcher`.
    """
    if not len(pairs):
        return cells
    compared = compare_pairs(cells, cells, pairs, grid, border_px)
    may_be_parts = compared.are_parts
    parts = pairs[may_be_parts][_are_best_for_both(
        pairs[may_be_parts], cells.tiles, compared.same_label[may_be_parts], compared.iou[may_be_parts])]
    groups = _components(parts, len(cells))
    united = _unite(cells, groups)
    is_united = np.bincount(groups) > 1
    group_pairs = groups[pairs]
    # A part whose best partner had a better one in its tile is of the cell that was united.
    is_left_over = may_be_parts & (is_united[group_pairs[:, 0]] != is_united[group_pairs[:, 1]])
    left_over = group_pairs[is_left_over]
    left_over = np.where(is_united[left_over[:, :1]], left_over, left_over[:, ::-1])
    duplicates = np.unique(np.sort(group_pairs[compared.are_duplicates & ~is_left_over], axis=1), axis=0)
    duplicates = duplicates[~_have_a_tile_in_common(duplicates, cells.tiles, groups)]
    beats = np.concatenate([left_over, _decide(duplicates, united, is_united, grid)])
    return united.take(_unbeaten(beats, _distances_px(united, np.arange(len(united)), united.extents_xyxy, is_united,
                                                      grid)))


class ComparedPairs(NamedTuple):
    """What P pairs of cells of two tiles share."""

    are_duplicates: np.ndarray  # (P,) bool: at least MIN_SHARED of the smaller mask
    are_parts: np.ndarray  # (P,) bool: both cut, and at least MIN_SHARED of the smaller mask in what both tiles see
    iou: np.ndarray  # (P,) float64, of the masks in what both tiles see
    same_label: np.ndarray  # (P,) bool


def compare_pairs(first: TileCells, second: TileCells, pairs: np.ndarray, grid: TileGrid,
                  border_px: float) -> ComparedPairs:
    """Compares cells of two tiles by their pixels.

    Args:
        first, second: cells.
        pairs: (P, 2) int64 indices in each.
        grid: the tiles.
        border_px: as :class:`SeamStitcher`.
    """
    n_runs = (np.diff(first.masks.offsets)[pairs[:, 0]] + np.diff(second.masks.offsets)[pairs[:, 1]]).cumsum()
    bounds = np.flatnonzero(np.diff(n_runs // _MAX_RUNS, append=-1)) + 1
    compared = [_compare(first.take(part[:, 0]), second.take(part[:, 1]), grid, border_px)
                for part in np.split(pairs, bounds[:-1])]
    return ComparedPairs(*map(np.concatenate, zip(*compared, strict=True)))


def _compare(first: TileCells, second: TileCells, grid: TileGrid, border_px: float) -> ComparedPairs:
    shared = intersections_px(first.masks, second.masks)
    area, other_area = _areas_seen_by_both(first, second, grid)
    smaller = np.minimum(first.masks.areas_px, second.masks.areas_px)
    both_cut = _are_cut(first, grid, border_px) & _are_cut(second, grid, border_px)
    return ComparedPairs(
        shared >= MIN_SHARED * smaller,
        both_cut & (shared > 0) & (shared >= MIN_SHARED * np.minimum(area, other_area)),
        shared / np.maximum(area + other_area - shared, 1), first.labels == second.labels)


def _are_cut(cells: TileCells, grid: TileGrid, border_px: float) -> np.ndarray:
    return grid.seam_distances_px(cells.tiles, cells.extents_xyxy) < border_px


def _areas_seen_by_both(first: TileCells, second: TileCells, grid: TileGrid) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (P,) int64 of each cell of a pair that are in both tiles."""
    rects, others = grid.rects_xyxy[first.tiles], grid.rects_xyxy[second.tiles]
    both = np.concatenate([np.maximum(rects[:, :2], others[:, :2]), np.minimum(rects[:, 2:], others[:, 2:])], axis=1)
    return first.masks.areas_inside_px(both), second.masks.areas_inside_px(both)


def _are_best_for_both(pairs: np.ndarray, tiles: np.ndarray, same_label: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Whether each cell of a pair is the best partner, of all in its tile, for the other one: (P,) bool."""
    best_for_both = np.ones(len(pairs), bool)
    for cell, partner in (pairs.T, pairs.T[::-1]):
        order = np.lexsort((partner, -iou, ~same_label, tiles[partner], cell))
        keys = np.stack([cell, tiles[partner]], axis=1)[order]
        is_first = np.append(True, (keys[1:] != keys[:-1]).any(axis=1))[:len(keys)]
        best_for_both[order[~is_first]] = False
    return best_for_both


def _unite(cells: TileCells, groups: np.ndarray) -> TileCells:
    """One cell for each group (N,): the pixels of all, the box around all, and else what the largest part has."""
    order = np.lexsort((-cells.masks.areas_px, groups))
    largest = order[np.append(True, np.diff(groups[order]) > 0)]
    begins = np.flatnonzero(np.append(True, np.diff(groups[order]) > 0))

    def around(boxes: np.ndarray) -> np.ndarray:
        return np.concatenate([np.minimum.reduceat(boxes[order, :2], begins),
                               np.maximum.reduceat(boxes[order, 2:], begins)], axis=1)

    return TileCells(around(cells.bboxes_xyxy), cells.scores[largest], cells.labels[largest],
                     around(cells.extents_xyxy), cells.tiles[largest],
                     np.maximum.reduceat(cells.last_tiles[order], begins), cells.masks.unite(groups))


def _have_a_tile_in_common(group_pairs: np.ndarray, tiles: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whether some tile tells two groups apart, as it has cells of both; true of a group and itself. (P,) bool."""
    tiles_of: dict[int, set[int]] = {}
    for group, tile in zip(groups.tolist(), tiles.tolist(), strict=True):
        tiles_of.setdefault(group, set()).add(tile)
    return np.array([bool(tiles_of[a] & tiles_of[b]) for a, b in group_pairs.tolist()], bool)


def _distances_px(united: TileCells, index: np.ndarray, extents_xyxy: np.ndarray, is_united: np.ndarray,
                  grid: TileGrid) -> np.ndarray:
    """How far places (P, 4) are from the seams of the tiles of cells (P,). A united cell is just seen whole: 0."""
    return np.where(is_united[index], 0., grid.seam_distances_px(united.tiles[index], extents_xyxy))


def _decide(pairs: np.ndarray, united: TileCells, is_united: np.ndarray, grid: TileGrid) -> np.ndarray:
    """Winner and loser (P, 2) of each pair of duplicates."""
    first, second = united.extents_xyxy[pairs[:, 0]], united.extents_xyxy[pairs[:, 1]]
    place = np.concatenate([np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])], axis=1)
    distance, other = (_distances_px(united, index, place, is_united, grid) for index in pairs.T)
    tile, other_tile = united.tiles[pairs].T
    first_wins = (distance > other) | ((distance == other) & (tile <= other_tile))
    return np.where(first_wins[:, None], pairs, pairs[:, ::-1])


def _unbeaten(beats: np.ndarray, distances_px: np.ndarray) -> np.ndarray:
    """Indices of the cells that no cell that stays has beaten; in a ring the one farthest from seams stays."""
    winners, losers = beats.T
    undecided, stays = np.ones(len(distances_px), bool), np.zeros(len(distances_px), bool)
    while undecided.any():
        open_ = undecided[winners] & undecided[losers]
        ready = undecided & (np.bincount(losers[open_], minlength=len(stays)) == 0)
        if not ready.any():
            ready[np.where(undecided, distances_px, -np.inf).argmax()] = True
        stays |= ready
        undecided &= ~ready
        undecided[losers[ready[winners]]] = False
    return np.flatnonzero(stays)


def _components(pairs: np.ndarray, n: int) -> np.ndarray:
    """The connected component (n,) of each of n cells."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _pairs_among(pairs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Pairs of chosen (N,) cells, counted among these alone; no pair has one chosen cell and another that is not."""
    return (np.cumsum(chosen) - 1)[pairs[chosen[pairs[:, 0]]]]
