"""Makes each cell at the seams of overlapping tiles appear once and whole, by three rules.

1. *Cut cells.* A cell that comes closer than ``border_px`` to a seam (a border of its tile inside the image) may be cut
   by the seam, or be predicted badly because context is missing. If another tile has this place at least ``border_px``
   away from its own seams, the cell is dropped, because that tile sees the place whole.
2. *Parts.* A cell that is larger than the overlap may be cut in every tile. Two cut cells of different tiles are parts
   of one cell if they share half of the smaller one's pixels in the area that both tiles see, and if each is the best
   partner of the other in its tile. The best partner is one of the same class if there is any, then the one with the
   highest IoU in that area. Parts are united. The united cell has the class and the score of its largest part.
3. *Duplicates.* Two cells of different tiles that share half of the smaller one's pixels are one cell that was
   predicted twice. The cell of the tile whose seams are farther away is kept, whatever the classes and scores are, so
   that the result is what this tile predicts by itself. Cells of the same tile never remove each other. A cell stays
   if the only cells that would remove it are removed themselves.

Rules 2 and 3 only compare cells that share pixels. Therefore a cell is final as soon as no later tile reaches it or a
cell that it is linked to by shared pixels.
"""

from typing import NamedTuple

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.masks.runs import intersections_px
from mmcell.ragged import begins_of_runs, label_components, new_indices, reduce_groups
from mmcell.tiles.tile_cells import TileCells, place_in_grid
from mmcell.tiles.tiling import TileGrid, overlaps

# The share of the smaller mask's pixels from which on two cells are duplicates or parts of one cell.
MIN_SHARED = .5


class Pairs(NamedTuple):
    """P pairs of cells of different tiles that may be one cell.

    Attributes:
        cells: (P, 2) int64, the indices of the two cells.
        are_duplicates: (P,) bool, whether the two share at least ``MIN_SHARED`` of the smaller mask.
        are_parts: (P,) bool, whether both cells are cut and, inside the area that both tiles see, share at least
            ``MIN_SHARED`` of the smaller mask.
        iou: (P,) float64, the IoU of the two masks inside the area that both tiles see.
    """

    cells: np.ndarray
    are_duplicates: np.ndarray
    are_parts: np.ndarray
    iou: np.ndarray

    def select(self, chosen: np.ndarray) -> 'Pairs':
        """Returns the pairs of chosen cells, with indices that count the chosen cells only.

        Args:
            chosen: (N,) bool, which cells are chosen. The two cells of a pair must both be chosen, or both not.
        """
        # With chosen = [1, 0, 1, 1] the cells 0, 2, 3 become 0, 1, 2. Of the pairs [0, 3] and [1, 1] the first is kept,
        # as [0, 2].
        is_kept = chosen[self.cells[:, 0]]
        return Pairs(new_indices(chosen)[self.cells[is_kept]], *(values[is_kept] for values in self[1:]))


class SeamStitcher:
    """Receives the cells of one tile after another, and returns the cells that are final.

    Args:
        grid: The tiles of the image. They must be added in the order of the grid.
        border_px: Distance in px. Cells that come closer than this to a seam are taken from another tile, where they
            are farther inside. It must be at most half of the overlap, because otherwise cells in the middle of the
            overlap are too close to a seam in both tiles.

    Attributes:
        pending: Cells of earlier tiles that a later tile may still change. They lie at seams.
    """

    def __init__(self, grid: TileGrid, border_px: float) -> None:
        self.grid = grid
        self.border_px = border_px
        self.pending = place_in_grid(Cells.empty(grid.height, grid.width), 0, grid, border_px)
        self._pairs = Pairs(np.zeros((0, 2), np.int64), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0))

    def add(self, tile: int, cells: Cells) -> Cells:
        """Adds the cells of a tile and returns the cells that no later tile can change, each of them once.

        Args:
            tile: Index of the tile in the grid.
            cells: The cells that were predicted in this tile, in px of the image. Those without a pixel are left out.
        """
        new = place_in_grid(cells, tile, self.grid, self.border_px)
        pairs = find_pairs(self.pending, new, tile, self.grid)
        pairs.cells[:, 1] += len(self.pending)
        self.pending = TileCells.concatenate([self.pending, new])
        pairs = Pairs(*map(np.concatenate, zip(self._pairs, pairs, strict=True)))
        # Cells that are linked by pairs wait together. The pairs (0, 2) and (2, 3) of five cells make the components
        # [0, 1, 0, 0, 2]. After tile 1, the last tiles [3, 1, 1, 1, 2] of the cells are later for the cells 0 and 4.
        # Their components wait: cells [0, 2, 3] and [4]. Only cell 1 is final.
        component = label_components(*pairs.cells.T, len(self.pending))
        waits = np.bincount(component, weights=self.pending.last_tiles > tile)[component] > 0
        final = unite_and_deduplicate(self.pending.take(~waits), pairs.select(~waits), self.grid)
        self._pairs = pairs.select(waits)
        self.pending = self.pending.take(waits)
        return final

    def done_above_px(self, tile: int) -> int:
        """Returns the row in px above which no pixel of the cells lies that are returned after a tile was added.

        Args:
            tile: Index of the tile that was added last.
        """
        # Later cells are pending, or parts of them are, or they lie in later tiles, which begin no higher.
        later = self.grid.rects_xyxy[tile + 1, 1] if tile + 1 < len(self.grid) else self.grid.height
        return int(self.pending.extents_xyxy[:, 1].min(initial=later))


def find_pairs(pending: TileCells, new: TileCells, tile: int, grid: TileGrid) -> Pairs:
    """Finds the pairs of a cell of earlier tiles and a cell of a new tile that may be one cell.

    Args:
        pending: Cells of earlier tiles that may still change.
        new: Cells of the new tile.
        tile: Index of the new tile in the grid.
        grid: The tiles of the image.

    Returns:
        The pairs. The first index of a pair refers to ``pending``, the second index to ``new``.
    """
    rect = grid.rects_xyxy[tile]
    near = np.flatnonzero(overlaps(pending.extents_xyxy, rect))
    neighbours, tile_of_near = np.unique(pending.tiles[near], return_inverse=True)
    masks, new_masks = pending.cells.masks.take(near), new.cells.masks
    i, j, shared = intersections_px(masks, new_masks)
    # A cell never leaves its own tile: all shared pixels lie in the area that both tiles see, and cells are cut
    # off at its border by the other tile: an earlier cell by the new tile, a new cell by the tile of the earlier cell.
    pending_area = masks.areas_inside_px(rect)[i]
    areas_per_neighbour = np.zeros((len(neighbours), len(new)), np.int64)
    for row, neighbour in enumerate(neighbours):
        areas_per_neighbour[row] = new_masks.areas_inside_px(grid.rects_xyxy[neighbour])
    new_area = areas_per_neighbour[tile_of_near[i], j]
    both_cut = pending.are_cut[near[i]] & new.are_cut[j]
    pairs = Pairs(np.stack([near[i], j], axis=1),
                  shared >= MIN_SHARED * np.minimum(masks.areas_px[i], new_masks.areas_px[j]),
                  both_cut & (shared >= MIN_SHARED * np.minimum(pending_area, new_area)),
                  shared / (pending_area + new_area - shared))
    return Pairs(*(values[pairs.are_duplicates | pairs.are_parts] for values in pairs))


def unite_and_deduplicate(placed: TileCells, pairs: Pairs, grid: TileGrid) -> Cells:
    """Unites the parts of cells and removes duplicates: rules 2 and 3 of the module.

    Args:
        placed: N cells that rule 1 has left.
        pairs: The pairs of these cells that may be one cell.
        grid: The tiles of the image.

    Returns:
        The cells that remain.
    """
    if not len(pairs.cells):
        return placed.cells
    may_be_parts = pairs.are_parts
    parts = pairs.cells[may_be_parts]
    same_label = np.equal(*placed.cells.labels[parts].T)
    parts = parts[_are_best_for_both(parts, placed.tiles, same_label, pairs.iou[may_be_parts])]
    groups = label_components(*parts.T, len(placed))
    united = _unite(placed, groups)
    is_united = np.bincount(groups) > 1
    group_pairs = groups[pairs.cells]
    # A single part may belong to a cell that was united without it, because its best partner had a better partner. It
    # is removed: in these pairs the united cell comes first, and beats the single part.
    is_left_over = may_be_parts & (is_united[group_pairs[:, 0]] != is_united[group_pairs[:, 1]])
    left_over = group_pairs[is_left_over]
    left_over = np.where(is_united[left_over[:, :1]], left_over, left_over[:, ::-1])
    duplicates = np.unique(np.sort(group_pairs[pairs.are_duplicates & ~is_left_over], axis=1), axis=0)
    duplicates = duplicates[~_share_a_tile(duplicates, placed.tiles, groups)]
    beats = np.concatenate([left_over, _sort_winners_first(duplicates, united, is_united, grid)])
    distances_px = _seam_distances_px(united, np.arange(len(united)), united.extents_xyxy, is_united, grid)
    return united.cells.take(_find_unbeaten(beats, distances_px))


def _are_best_for_both(pairs: np.ndarray, tiles: np.ndarray, same_label: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Tells in which pairs (P, 2) each cell is the best partner of the other in the tile of this cell, (P,) bool."""
    # The cells 0 and 1 are of tile 0, the cells 2 and 3 of tile 1. The pairs (0, 2), (1, 2) and (1, 3) have the IoUs
    # .9, .5 and .4 and equal labels. Sorted by cell, tile of the partner, label and IoU, every pair that is not the
    # first of its cell and tile is crossed out. Seen from the first cells that is (1, 3), as cell 1 prefers cell 2.
    # Seen from the second cells it is (1, 2), as cell 2 prefers cell 0. Only (0, 2) is left: [True, False, False].
    best_for_both = np.ones(len(pairs), bool)
    for cell, partner in (pairs.T, pairs.T[::-1]):
        order = np.lexsort((partner, -iou, ~same_label, tiles[partner], cell))
        is_first = np.zeros(len(pairs), bool)
        is_first[order[begins_of_runs(cell[order], tiles[partner][order])]] = True
        best_for_both &= is_first
    return best_for_both


def _unite(placed: TileCells, groups: np.ndarray) -> TileCells:
    """Unites the cells of each group (N,): all their pixels, the box around all, and the rest of the largest part."""
    # Areas [10, 30, 20, 5] in the groups [0, 1, 0, 1]: sorted by group, then from large to small, the cells are
    # [2, 0, 1, 3]. Groups begin at [0, 2], where the largest parts are, the cells [2, 1]. Of the left borders
    # x = [4, 2, 9, 7], in order [9, 4, 2, 7], the least ones of the groups are [4, 2].
    cells, sizes = placed.cells, np.bincount(groups)
    order = np.lexsort((-cells.masks.areas_px, groups))
    largest = order[begins_of_runs(groups[order])]

    def boxes_around_groups(boxes: np.ndarray) -> np.ndarray:
        return np.concatenate([reduce_groups(np.minimum, boxes[order, :2], sizes),
                               reduce_groups(np.maximum, boxes[order, 2:], sizes)], axis=1)

    united = Cells(cells.masks.unite(groups), boxes_around_groups(cells.bboxes_xyxy), cells.scores[largest],
                   cells.labels[largest])
    return TileCells(united, boxes_around_groups(placed.extents_xyxy), placed.tiles[largest],
                     reduce_groups(np.maximum, placed.last_tiles[order], sizes),
                     reduce_groups(np.logical_or, placed.are_cut[order], sizes))


def _share_a_tile(group_pairs: np.ndarray, tiles: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Tells which pairs of groups (P, 2) have cells of one tile, which are different cells: (P,) bool."""
    tiles_of_group: dict[int, set[int]] = {}
    for group, tile in zip(groups.tolist(), tiles.tolist(), strict=True):
        tiles_of_group.setdefault(group, set()).add(tile)
    return np.array([bool(tiles_of_group[a] & tiles_of_group[b]) for a, b in group_pairs.tolist()], bool)


def _seam_distances_px(united: TileCells, index: np.ndarray, extents_xyxy: np.ndarray, is_united: np.ndarray,
                       grid: TileGrid) -> np.ndarray:
    """Returns how far boxes are from the seams of tiles, (P,) px; 0 for united cells, which no tile sees whole."""
    return np.where(is_united[index], 0., grid.seam_distances_px(united.tiles[index], extents_xyxy))


def _sort_winners_first(pairs: np.ndarray, united: TileCells, is_united: np.ndarray, grid: TileGrid) -> np.ndarray:
    """Returns the pairs of duplicates (P, 2) as winner and loser.

    The winner is farther from the seams of its tile; if the distances are equal, the winner is in the earlier tile.
    """
    # Both distances are measured from the box around both cells, as the cells themselves may differ in size.
    first, second = united.extents_xyxy[pairs[:, 0]], united.extents_xyxy[pairs[:, 1]]
    place = np.concatenate([np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])], axis=1)
    distance, other = (_seam_distances_px(united, index, place, is_united, grid) for index in pairs.T)
    tile, other_tile = united.tiles[pairs].T
    first_wins = (distance > other) | ((distance == other) & (tile <= other_tile))
    return np.where(first_wins[:, None], pairs, pairs[:, ::-1])


def _find_unbeaten(beats: np.ndarray, distances_px: np.ndarray) -> np.ndarray:
    """Returns the cells, ascending, that no cell that stays beats; ``beats`` (P, 2) are the winners and the losers.

    If cells beat each other in a ring, the one that is farthest from seams stays.
    """
    # If 0 beats 1 and 1 beats 2: nothing beats 0, which stays, so that 1 is removed. Then nothing beats 2 any more, and
    # it stays. If 2 beats 0 as well, every cell is beaten. With the distances [5, 9, 3] cell 1 stays, and both its
    # neighbours in the ring go: 2, which it beats, and 0, which would beat it.
    winners, losers = beats.T
    is_undecided, stays = np.ones(len(distances_px), bool), np.zeros(len(distances_px), bool)
    while is_undecided.any():
        is_open = is_undecided[winners] & is_undecided[losers]
        is_safe = is_undecided & (np.bincount(losers[is_open], minlength=len(stays)) == 0)
        if not is_safe.any():
            is_safe[np.where(is_undecided, distances_px, -np.inf).argmax()] = True
        stays |= is_safe
        is_undecided &= ~is_safe
        is_undecided[losers[is_safe[winners]]] = False
        is_undecided[winners[is_safe[losers]]] = False
    return np.flatnonzero(stays)
