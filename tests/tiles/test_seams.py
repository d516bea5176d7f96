"""Cells at seams: with a toy detector that gives exactly the pixels that it sees, tiles must change nothing."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from support.synthetic_data import discs
from support.toy_detector import TILES, ToyDetector, as_data, as_set

from mmcell.masks.rle import decode_to_label_map, encode_label_map
from mmcell.models import TiledDetector
from mmcell.tiles.seams import SeamStitcher
from mmcell.tiles.tile_cells import cells_of_tile
from mmcell.tiles.tiling import make_grid


def predict(label_map, classes=None, **settings):
    model = TiledDetector(ToyDetector(), **{**TILES, **settings})
    sample, = model.test_step(as_data(label_map, classes))
    return sample.pred_instances


def assert_as_plain(label_map, classes=None, **settings):
    plain, = ToyDetector().test_step(as_data(label_map, classes))
    tiled = predict(label_map, classes, **settings)
    assert len(tiled) == len(plain.pred_instances)
    assert as_set(tiled) == as_set(plain.pred_instances)


# Less than, about and more than the overlap; more than a tile.
@pytest.mark.parametrize('radius', [1, 5, 6, 7, 10, 18])
def test_cells_at_every_offset_are_found_once_and_whole(radius):
    # Of 72 px, in tiles that begin at 0, 20 and 40; one cell a row, each a pixel further than the one before.
    pitch = 2 * radius + 2
    offsets = range(72 - 2 * radius)
    field = discs((len(offsets) * pitch, 72), [
        (i + 1, i * pitch + radius, radius + offset, radius) for i, offset in enumerate(offsets)])
    assert_as_plain(field.T if radius % 2 else field, batch_size=8)


@pytest.mark.parametrize('radius', [4, 6, 9])
def test_cells_at_the_corner_of_four_tiles_are_found_once_and_whole(radius):
    # Two by two tiles, which share the pixels from 20 to 32.
    for y in range(18, 35, 3):
        for x in range(18, 35, 3):
            assert_as_plain(discs((52, 52), [(1, y, x, radius)]))


@pytest.mark.parametrize('overlap_px', [4, 12, 20])
@pytest.mark.parametrize('seed', range(2))
def test_a_field_of_touching_cells_is_that_of_the_whole_image(overlap_px, seed):
    rng = np.random.default_rng(seed)
    circles = [(i + 1, *rng.integers(0, 120, 2), rng.integers(1, 9)) for i in range(150)]
    field = discs((120, 131), circles)
    # A later disc cuts an earlier one; in pieces it would not be one cell in every tile.
    values = [value for value in np.unique(field) if value and is_convex_enough(field == value)]
    assert_as_plain(np.where(np.isin(field, values), field, 0), overlap_px=overlap_px, batch_size=3)


def is_convex_enough(mask):
    """Whether every row and column of the mask is one run: then every tile sees it as one piece."""
    return all((np.diff(np.pad(line, 1).astype(int)) == 1).sum() <= 1 for line in (*mask, *mask.T))


def test_parts_of_different_cells_are_not_united():
    field = np.zeros((32, 80), int)
    field[4:10, 2:78] = 1
    field[10:16, 2:78] = 2
    assert_as_plain(field)


def test_a_long_cell_is_one_although_a_tile_calls_it_otherwise():
    field = np.zeros((32, 72), int)
    field[8:20, 4:60] = 1
    classes = np.where(np.arange(72) < 10, 1, 2)[None].repeat(32, 0)
    found = predict(field, classes)
    assert len(found) == 1 and np.array_equal(decode_to_label_map(found.masks), field)
    # The largest part, in the tile that begins at 20, says so.
    assert found.labels.tolist() == [2]


def test_empty_image_and_cells_that_fill_it():
    assert len(predict(np.zeros((70, 70), int))) == 0
    assert_as_plain(np.ones((70, 90), int))


def test_highest_scores_come_first_and_are_those_of_the_whole_cells():
    field = discs((60, 100), [(1, 10, 10, 3), (2, 30, 50, 5), (3, 40, 22, 2)])
    plain, = ToyDetector().test_step(as_data(field))
    scores = predict(field).scores
    assert scores.equal(plain.pred_instances.scores.sort(descending=True).values)


def stitched(per_tile, shape=(32, 52)):
    """Cells that stay of those that the tiles [0, 32) and [20, 52) of an image found.

    Args:
        per_tile: for each tile (label, score, x0, y0, x1, y1) of rectangles in the frame of the image.
    """
    grid = make_grid(*shape, 32, 12, 1)
    stitcher = SeamStitcher(grid, 2)
    found = []
    for tile, rectangles in enumerate(per_tile):
        x_tile = int(grid.rects_xyxy[tile, 0])
        masks = []
        for _, _, x0, y0, x1, y1 in rectangles:
            mask = np.zeros((32, 32), int)
            mask[y0:y1, x0 - x_tile:x1 - x_tile] = 1
            masks.append(encode_label_map(mask).rles[0])
        boxes = torch.tensor([[float(v) for v in r[2:]] for r in rectangles]).reshape(-1, 4)
        instances = InstanceData(bboxes=boxes - torch.tensor([x_tile, 0, x_tile, 0]), masks=masks,
                                 labels=torch.tensor([r[0] for r in rectangles]),
                                 scores=torch.tensor([r[1] for r in rectangles]))
        found.append(stitcher.add(tile, cells_of_tile(instances, tile, grid)))
    assert not len(stitcher.pending)
    return sorted((int(label), *extent.tolist()) for cells in found
                  for label, extent in zip(cells.labels, cells.extents_xyxy.astype(int), strict=True))


def test_the_tile_that_sees_a_place_better_decides_and_keeps_what_it_tells_apart():
    # Both classes of one tile, none of the other, whatever the scores.
    assert stitched([[(0, .1, 21, 5, 28, 12), (1, .2, 21, 5, 27, 12)],
                     [(0, .9, 22, 5, 28, 12), (1, .8, 21, 5, 28, 12)]]) == [(0, 21, 5, 28, 12), (1, 21, 5, 27, 12)]


def test_no_cell_is_lost_to_a_small_one_within_it():
    # The second tile sees the large cell whole, the first its small part only, but farther from a seam.
    assert (0, 22, 5, 34, 20) in stitched([[(0, .1, 23, 8, 25, 10)], [(0, .9, 22, 5, 34, 20)]])


def test_what_is_beaten_by_a_cell_that_goes_itself_stays():
    # The first tile sees the first two better, the second tile the last two.
    a, b, c = (0, .5, 22, 2, 27, 10), (0, .5, 23, 4, 28, 14), (0, .5, 24, 8, 30, 14)
    assert stitched([[a], [b]]) == [(0, *a[2:])] and stitched([[c], [b]]) == [(0, *b[2:])]
    assert stitched([[a, c], [b]]) == [(0, *a[2:]), (0, *c[2:])]


def test_parts_find_the_part_of_their_class():
    left, right = (5, 5, 32, 12), (20, 5, 50, 12)
    # Each class with its own, whatever the order.
    assert stitched([[(0, .9, *left), (1, .3, 5, 6, 32, 12)], [(1, .4, 20, 6, 50, 12), (0, .8, *right)]]) == [
        (0, 5, 5, 50, 12), (1, 5, 6, 50, 12)]
    # What is left over is of the cell that was united.
    assert stitched([[(0, .9, *left)], [(0, .8, *right), (1, .3, 20, 6, 50, 12)]]) == [(0, 5, 5, 50, 12)]


def test_a_part_of_which_the_other_tile_saw_nothing_stays():
    assert stitched([[(0, .9, 5, 5, 32, 12)], []]) == [(0, 5, 5, 32, 12)]


def test_cells_that_overlap_little_are_two():
    # 12 of 42 and of 48 pixels.
    first, second = (22, 5, 28, 12), (26, 5, 30, 17)
    assert stitched([[(0, .9, *first)], [(0, .9, *second)]]) == [(0, *first), (0, *second)]


def test_a_cut_cell_is_dropped_where_the_neighbour_sees_its_place_whole():
    # A part that ends a pixel before the seam; the neighbour found nothing there.
    assert stitched([[], [(0, .9, 21, 5, 26, 12)]]) == []
    assert stitched([[], [(0, .9, 22, 5, 26, 12)]]) == [(0, 22, 5, 26, 12)]


def test_cells_are_final_as_soon_as_no_tile_to_come_reaches_them():
    grid = make_grid(84, 84, 32, 12, 1)
    field = discs((84, 84), [(1, 10, 8, 3), (2, 10, 26, 3), (3, 26, 10, 3), (4, 26, 26, 3)])
    stitcher = SeamStitcher(grid, 2)
    found = []
    for tile, (x0, y0, x1, y1) in enumerate(grid.rects_xyxy):
        sample, = ToyDetector().test_step(as_data(field[y0:y1, x0:x1]))
        found.append(len(stitcher.add(tile, cells_of_tile(sample.pred_instances, tile, grid))))
    # Four tiles a row: the first has cell 1 alone, the second 2, the fifth 3, the sixth 4.
    assert found == [1, 1, 0, 0, 1, 1] + [0] * 10
