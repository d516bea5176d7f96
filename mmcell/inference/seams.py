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
    group_pairs = np.unique(np.sort(groups[pairs[compared.are_duplicates]], axis=1), axis=0)
    group_pairs = group_pairs[group_pairs[:, 0] != group_pairs[:, 1]]
    beats = _decide(group_pairs, cells, groups, united, _are_cut(cells, grid, border_px), grid)
    return united.take(_unbeaten(beats, _distances(united, united.extents_xyxy, groups, grid)))


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


def _distances(united: TileCells, extents_xyxy: np.ndarray, groups: np.ndarray, grid: TileGrid) -> np.ndarray:
    """How far each place is from the seams of the tile of its cell; a united cell is seen whole, and just so: 0."""
    is_single = np.bincount(groups) == 1
    return np.where(is_single, grid.seam_distances_px(united.tiles, extents_xyxy), 0.)


def _decide(group_pairs: np.ndarray, cells: TileCells, groups: np.ndarray, united: TileCells, is_cut: np.ndarray,
            grid: TileGrid) -> np.ndarray:
    """(Q, 2) int64: the winner and the loser of each pair; pairs that a tile tells apart are left out."""
    g, h = group_pairs.T
    sizes = np.bincount(groups)
    lowest, highest = np.minimum(united.extents_xyxy[g], united.extents_xyxy[h]), np.maximum(
        united.extents_xyxy[g], united.extents_xyxy[h])
    place = np.concatenate([lowest[:, :2], highest[:, 2:]], axis=1)
    distance_g, distance_h = (
        np.where(sizes[group] == 1, grid.seam_distances_px(united.tiles[group], place), 0.) for group in (g, h))
    g_wins = (distance_g > distance_h) | ((distance_g == distance_h) & (united.tiles[g] <= united.tiles[h]))
    # A part that found no partner, though another in its tile did, is of the cell that was united.
    left_over = np.ones(len(united), bool)
    np.logical_and.at(left_over, groups, is_cut)
    left_over &= sizes == 1
    g_wins = np.where(left_over[h] & (sizes[g] > 1), True, np.where(left_over[g] & (sizes[h] > 1), False, g_wins))
    tiles_of = {}
    for group, tile in zip(groups.tolist(), cells.tiles.tolist(), strict=True):
        tiles_of.setdefault(group, set()).add(tile)
    told_apart = np.array([bool(tiles_of[a] & tiles_of[b]) for a, b in group_pairs.tolist()], bool)
    told_apart &= ~((left_over[g] & (sizes[h] > 1)) | (left_over[h] & (sizes[g] > 1)))
    return np.stack([np.where(g_wins, g, h), np.where(g_wins, h, g)], axis=1)[~told_apart]


def _unbeaten(beats: np.ndarray, distances_px: np.ndarray) -> np.ndarray:
    """Indices of the cells that no cell that stays has beaten. Where they beat one another in a ring, the farthest
    from seams stays.
    """
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
