"""Tests of cells at seams. A toy detector predicts exactly the pixels that it is shown: tiles must change nothing."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from support.masks import paint_rles
from support.synthetic_data import discs
from support.toy_detector import TILES, ToyDetector, as_data, as_set

from mmcell.cells.cells import Cells
from mmcell.masks.rle import encode_label_map
from mmcell.models import TiledDetector
from mmcell.tiles.seams import SeamStitcher, _find_unbeaten
from mmcell.tiles.tiling import make_grid


def predict_in_tiles(label_map, classes=None, **settings):
    model = TiledDetector(ToyDetector(), **{**TILES, **settings})
    sample, = model.test_step(as_data(label_map, classes))
    return sample.pred_instances


def assert_tiles_change_nothing(label_map, classes=None, **settings):
    """Checks that the cells predicted in tiles are those predicted in the whole image."""
    whole, = ToyDetector().test_step(as_data(label_map, classes))
    tiled = predict_in_tiles(label_map, classes, **settings)
    assert len(tiled) == len(whole.pred_instances)
    assert as_set(tiled) == as_set(whole.pred_instances)


# Diameters less than, close to and greater than the overlap, and greater than a tile.
@pytest.mark.parametrize('radius', [1, 5, 6, 7, 10, 18])
def test_cells_at_every_offset_are_found_once_and_whole(radius):
    # The image is 72 px wide, in tiles that begin at 0, 20 and 40. It has one cell per row, and each cell is one pixel
    # farther to the right than the cell above.
    pitch = 2 * radius + 2
    offsets = range(72 - 2 * radius)
    field = discs((len(offsets) * pitch, 72), [
        (i + 1, i * pitch + radius, radius + offset, radius) for i, offset in enumerate(offsets)])
    assert_tiles_change_nothing(field.T if radius % 2 else field, batch_size=8)


@pytest.mark.parametrize('radius', [4, 6, 9])
def test_cells_at_the_corner_of_four_tiles_are_found_once_and_whole(radius):
    # Two by two tiles, which share the pixels from 20 to 32 along both axes.
    for y in range(18, 35, 3):
        for x in range(18, 35, 3):
            assert_tiles_change_nothing(discs((52, 52), [(1, y, x, radius)]))


@pytest.mark.parametrize('overlap_px', [4, 12, 20])
@pytest.mark.parametrize('seed', range(2))
def test_a_field_of_touching_cells_is_the_same_with_and_without_tiles(overlap_px, seed):
    rng = np.random.default_rng(seed)
    circles = [(i + 1, *rng.integers(0, 120, 2), rng.integers(1, 9)) for i in range(150)]
    field = discs((120, 131), circles)
    # Later discs cut earlier ones into pieces, which would not be one piece in every tile. Those are left out.
    values = [value for value in np.unique(field) if value and is_one_run_per_line(field == value)]
    assert_tiles_change_nothing(np.where(np.isin(field, values), field, 0), overlap_px=overlap_px, batch_size=3)


def is_one_run_per_line(mask):
    """Tells whether every row and column of the mask is at most one run. Every tile then sees the mask as one piece."""
    return all((np.diff(np.pad(line, 1).astype(int)) == 1).sum() <= 1 for line in (*mask, *mask.T))


def test_parts_of_different_cells_are_not_united():
    field = np.zeros((32, 80), int)
    field[4:10, 2:78] = 1
    field[10:16, 2:78] = 2
    assert_tiles_change_nothing(field)


def test_parts_of_different_classes_are_united_if_there_are_no_better_partners():
    field = np.zeros((32, 72), int)
    field[8:20, 4:60] = 1
    classes = np.where(np.arange(72) < 10, 1, 2)[None].repeat(32, 0)
    cells = predict_in_tiles(field, classes)
    assert len(cells) == 1 and np.array_equal(paint_rles(cells.masks), field)
    # The class is that of the largest part, which is in the tile that begins at 20.
    assert cells.labels.tolist() == [2]


def test_an_image_without_cells_and_a_cell_that_fills_the_image():
    assert len(predict_in_tiles(np.zeros((70, 70), int))) == 0
    assert_tiles_change_nothing(np.ones((70, 90), int))


def test_highest_scores_come_first_and_are_those_of_the_whole_cells():
    field = discs((60, 100), [(1, 10, 10, 3), (2, 30, 50, 5), (3, 40, 22, 2)])
    whole, = ToyDetector().test_step(as_data(field))
    scores = predict_in_tiles(field).scores
    assert scores.equal(whole.pred_instances.scores.sort(descending=True).values)


def stitch(per_tile, shape=(32, 52)):
    """Stitches cells of the tiles [0, 32) and [20, 52) of an image.

    Args:
        per_tile: For each tile, a list of rectangular cells (label, score, x0, y0, x1, y1) in px of the image.
        shape: (height, width) of the image in px.

    Returns:
        The cells that stay, as a sorted list of (label, x0, y0, x1, y1).
    """
    grid = make_grid(*shape, 32, 12, 1)
    stitcher = SeamStitcher(grid, 2)
    final_cells = []
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
        final_cells.append(stitcher.add(tile, Cells.from_instances(instances, *shape, grid.rects_xyxy[tile])))
    assert not len(stitcher.pending)
    return sorted((int(label), *extent.tolist()) for cells in final_cells
                  for label, extent in zip(cells.labels, cells.masks.extents_xyxy, strict=True))


def test_the_tile_whose_seams_are_farther_away_keeps_all_its_cells():
    # Both classes of the first tile stay, and none of the second tile, whatever the scores are.
    assert stitch([[(0, .1, 21, 5, 28, 12), (1, .2, 21, 5, 27, 12)],
                   [(0, .9, 22, 5, 28, 12), (1, .8, 21, 5, 28, 12)]]) == [(0, 21, 5, 28, 12), (1, 21, 5, 27, 12)]


def test_no_cell_is_lost_to_a_small_cell_inside_it():
    # The second tile sees the large cell whole. The first tile sees only a small part, but farther from a seam.
    assert (0, 22, 5, 34, 20) in stitch([[(0, .1, 23, 8, 25, 10)], [(0, .9, 22, 5, 34, 20)]])


def test_a_cell_stays_if_the_cell_that_beats_it_is_removed():
    # Of a and b the first tile is farther from seams, of b and c the second tile.
    a, b, c = (0, .5, 22, 2, 27, 10), (0, .5, 23, 4, 28, 14), (0, .5, 24, 8, 30, 14)
    assert stitch([[a], [b]]) == [(0, *a[2:])] and stitch([[c], [b]]) == [(0, *b[2:])]
    assert stitch([[a, c], [b]]) == [(0, *a[2:]), (0, *c[2:])]


def test_parts_are_united_with_the_part_of_their_class():
    left, right = (5, 5, 32, 12), (20, 5, 50, 12)
    # Each part is united with the part of its class, whatever the order.
    assert stitch([[(0, .9, *left), (1, .3, 5, 6, 32, 12)], [(1, .4, 20, 6, 50, 12), (0, .8, *right)]]) == [
        (0, 5, 5, 50, 12), (1, 5, 6, 50, 12)]
    # A part without a partner is removed, because it belongs to the cell that was united without it.
    assert stitch([[(0, .9, *left)], [(0, .8, *right), (1, .3, 20, 6, 50, 12)]]) == [(0, 5, 5, 50, 12)]


def test_a_part_stays_if_the_other_tile_predicted_nothing():
    assert stitch([[(0, .9, 5, 5, 32, 12)], []]) == [(0, 5, 5, 32, 12)]


def test_two_cells_that_overlap_a_little_stay_two():
    # They share 14 of 42 and of 48 pixels.
    first, second = (22, 5, 28, 12), (26, 5, 30, 17)
    assert stitch([[(0, .9, *first)], [(0, .9, *second)]]) == [(0, *first), (0, *second)]


def test_a_cut_cell_is_dropped_if_the_neighbour_sees_its_place_whole():
    # The first cell is one pixel away from the seam at 20, the second two pixels. The neighbour predicted nothing.
    assert stitch([[], [(0, .9, 21, 5, 26, 12)]]) == []
    assert stitch([[], [(0, .9, 22, 5, 26, 12)]]) == [(0, 22, 5, 26, 12)]


def test_cells_are_final_as_soon_as_no_later_tile_reaches_them():
    grid = make_grid(84, 84, 32, 12, 1)
    field = discs((84, 84), [(1, 10, 8, 3), (2, 10, 26, 3), (3, 26, 10, 3), (4, 26, 26, 3)])
    stitcher = SeamStitcher(grid, 2)
    n_final = []
    for tile, (x0, y0, x1, y1) in enumerate(grid.rects_xyxy):
        sample, = ToyDetector().test_step(as_data(field[y0:y1, x0:x1]))
        cells = Cells.from_instances(sample.pred_instances, 84, 84, grid.rects_xyxy[tile])
        n_final.append(len(stitcher.add(tile, cells)))
    # Four tiles per row. Cell 1 is final after the first tile, cell 2 after the second, cell 3 after the fifth, and
    # cell 4 after the sixth.
    assert n_final == [1, 1, 0, 0, 1, 1] + [0] * 10


@pytest.mark.parametrize(('beats', 'distances_px', 'stay'), [
    ([(0, 1), (1, 2)], [1, 2, 3], [0, 2]),
    # Rings: the cell farthest from seams stays, and no cell stays that it beats or that beats it.
    ([(0, 1), (1, 0)], [1, 2], [1]),
    ([(0, 1), (1, 2), (2, 0)], [3, 5, 4], [1]),
    ([(0, 1), (1, 2), (2, 3), (3, 0)], [3, 5, 4, 4], [1, 3]),
    ([], [1, 2], [0, 1])])
def test_of_two_duplicates_one_stays(beats, distances_px, stay):
    pairs = np.array(beats, np.int64).reshape(-1, 2)
    assert _find_unbeaten(pairs, np.array(distances_px, float)).tolist() == stay
