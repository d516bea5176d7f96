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

from mmcell.masks.runs import intersections_px
from mmcell.tiles.tile_cells import TileCells, concatenate_cells, no_cells
from mmcell.tiles.tiling import TileGrid, overlaps

# Of the smaller mask's pixels.
MIN_SHARED = .5


class Pairs(NamedTuple):
    """P pairs of cells of two tiles that may be one cell."""

    cells: np.ndarray  # (P, 2) int64 indices
    are_duplicates: np.ndarray  # (P,) bool: MIN_SHARED of the smaller mask is shared
    are_parts: np.ndarray  # (P,) bool: both are cut, and of what both tiles see MIN_SHARED of the smaller is shared
    iou: np.ndarray  # (P,) float64, in what both tiles see

    def among(self, chosen: np.ndarray) -> 'Pairs':
        """The pairs of chosen (N,) cells, counted among these alone; no pair has a chosen cell and another one."""
        kept = chosen[self.cells[:, 0]]
        return Pairs((np.cumsum(chosen) - 1)[self.cells[kept]], *(values[kept] for values in self[1:]))


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
        self._pairs = Pairs(np.zeros((0, 2), np.int64), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0))

    def add(self, tile: int, cells: TileCells) -> TileCells:
        """Adds a tile and gives the cells that no later tile can change, each once."""
        cells = self._drop_cells_seen_whole_elsewhere(tile, cells)
        pairs = find_pairs(self.pending, cells, tile, self.grid, self.border_px)
        pairs.cells[:, 1] += len(self.pending)
        self.pending = concatenate_cells(self.pending, cells)
        pairs = Pairs(*map(np.concatenate, zip(self._pairs, pairs, strict=True)))
        linked = _components(pairs.cells, len(self.pending))
        waits = np.bincount(linked, weights=self.pending.last_tiles > tile)[linked] > 0
        final = resolve(self.pending.take(~waits), pairs.among(~waits), self.grid)
        self._pairs = pairs.among(waits)
        self.pending = self.pending.take(waits)
        return final

    def _drop_cells_seen_whole_elsewhere(self, tile: int, cells: TileCells) -> TileCells:
        is_cut = self.grid.seam_distances_px(tile, cells.extents_xyxy) < self.border_px
        neighbours = self.grid.neighbours(tile)
        elsewhere = self.grid.seam_distances_px(neighbours, cells.extents_xyxy[:, None])
        return cells.take(~(is_cut & (elsewhere >= self.border_px).any(axis=1)))


def find_pairs(pending: TileCells, cells: TileCells, tile: int, grid: TileGrid, border_px: float) -> Pairs:
    """Pairs of a cell of earlier tiles and one of a new tile, with an index into each, that may be one cell.

    Args:
        pending: of earlier tiles.
        cells: of the new one.
        tile: its index.
        grid: the tiles.
        border_px: as :class:`SeamStitcher`.
    """
    rect = grid.rects_xyxy[tile]
    near = np.flatnonzero(overlaps(pending.extents_xyxy, rect))
    neighbours, tile_of_near = np.unique(pending.tiles[near], return_inverse=True)
    masks = pending.masks.take(near)
    i, j, shared = intersections_px(masks, cells.masks, rect)
    # What the other tile sees of a cell: a cell does not leave its own.
    area = masks.areas_inside_px(np.broadcast_to(rect, (len(near), 4)))[i]
    others = np.zeros((len(neighbours), len(cells)), np.int64)
    for row, neighbour in enumerate(neighbours):
        others[row] = cells.masks.areas_inside_px(np.broadcast_to(grid.rects_xyxy[neighbour], (len(cells), 4)))
    other_area = others[tile_of_near[i], j]
    both_cut = _are_cut(pending, grid, border_px)[near[i]] & _are_cut(cells, grid, border_px)[j]
    found = Pairs(np.stack([near[i], j], axis=1),
                  shared >= MIN_SHARED * np.minimum(masks.areas_px[i], cells.masks.areas_px[j]),
                  both_cut & (shared >= MIN_SHARED * np.minimum(area, other_area)),
                  shared / (area + other_area - shared))
    return Pairs(*(values[found.are_duplicates | found.are_parts] for values in found))


def _are_cut(cells: TileCells, grid: TileGrid, border_px: float) -> np.ndarray:
    return grid.seam_distances_px(cells.tiles, cells.extents_xyxy) < border_px


def resolve(cells: TileCells, pairs: Pairs, grid: TileGrid) -> TileCells:
    """Unites the parts of cells and removes duplicates; rules 2 and 3 of the module.

    Args:
        cells: N, after rule 1.
        pairs: of these cells.
        grid: the tiles.
    """
    if not len(pairs.cells):
        return cells
    may_be_parts = pairs.are_parts
    parts = pairs.cells[may_be_parts]
    parts = parts[_are_best_for_both(parts, cells.tiles, np.equal(*cells.labels[parts].T), pairs.iou[may_be_parts])]
    groups = _components(parts, len(cells))
    united = _unite(cells, groups)
    is_united = np.bincount(groups) > 1
    group_pairs = groups[pairs.cells]
    # A part whose best partner had a better one in its tile is of the cell that was united.
    is_left_over = may_be_parts & (is_united[group_pairs[:, 0]] != is_united[group_pairs[:, 1]])
    left_over = group_pairs[is_left_over]
    left_over = np.where(is_united[left_over[:, :1]], left_over, left_over[:, ::-1])
    duplicates = np.unique(np.sort(group_pairs[pairs.are_duplicates & ~is_left_over], axis=1), axis=0)
    duplicates = duplicates[~_have_a_tile_in_common(duplicates, cells.tiles, groups)]
    beats = np.concatenate([left_over, _decide(duplicates, united, is_united, grid)])
    return united.take(_unbeaten(beats, _distances_px(united, np.arange(len(united)), united.extents_xyxy, is_united,
                                                      grid)))


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
