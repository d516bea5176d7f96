"""One pixel, one cell: what overlapping cells keep, which are left out, and that parts give what the whole gives."""

import cv2
import numpy as np
import pytest

from mmcell.cells import separation
from mmcell.cells.cells import Cells
from mmcell.cells.separation import separate_cells
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.runs import MaskRuns

SHAPE = (200, 60)


def make_cells(bitmaps, scores, labels=None):
    """Cells of (N, H, W) bool bitmaps."""
    bitmaps = np.asarray(bitmaps, bool)
    n, height, width = bitmaps.shape
    masks = MaskRuns.from_rles(masks_to_rles(bitmaps), height, width)
    return Cells(masks, masks.extents_xyxy.astype(np.float32), np.array(scores, np.float32),
                 np.zeros(n, np.int64) if labels is None else np.array(labels))


def to_bitmaps(cells):
    bitmaps = np.zeros((len(cells), cells.masks.width * cells.masks.height), bool)
    bitmaps[np.repeat(np.arange(len(cells)), cells.masks.areas_px), cells.masks.positions] = True
    return bitmaps.reshape(-1, cells.masks.width, cells.masks.height).transpose(0, 2, 1)


def box(x0, y0, x1, y1, shape=(20, 30)):
    bitmap = np.zeros(shape, bool)
    bitmap[y0:y1, x0:x1] = True
    return bitmap


def separate(cells):
    parts = list(separate_cells([(cells, cells.masks.height)]))
    assert len(parts) <= 1
    return parts[0] if parts else cells.take(np.zeros(0, int))


def test_the_higher_score_keeps_the_common_pixels():
    cells = separate(make_cells([box(0, 0, 10, 10), box(7, 0, 17, 10)], [.6, .9], [2, 1]))
    assert cells.labels.tolist() == [2, 1] and cells.scores.tolist() == [np.float32(.6), np.float32(.9)]
    np.testing.assert_array_equal(to_bitmaps(cells), [box(0, 0, 7, 10), box(7, 0, 17, 10)])


def test_of_equal_scores_the_smaller_cell_keeps_them():
    cells = separate(make_cells([box(0, 0, 10, 10), box(8, 0, 14, 10)], [.9, .9]))
    np.testing.assert_array_equal(to_bitmaps(cells), [box(0, 0, 8, 10), box(8, 0, 14, 10)])


def test_a_second_detection_of_the_same_place_is_left_out_and_takes_nothing():
    # The second cell loses 60 of 100 pixels to the first, and would have taken 30 from the third.
    cells = separate(make_cells([box(0, 0, 10, 10), box(4, 0, 14, 10), box(11, 0, 21, 10)], [.9, .8, .7]))
    np.testing.assert_array_equal(to_bitmaps(cells), [box(0, 0, 10, 10), box(11, 0, 21, 10)])
    half = separate(make_cells([box(0, 0, 10, 10), box(5, 0, 15, 10)], [.9, .8]))
    assert half.masks.areas_px.tolist() == [100, 50]


def test_the_largest_piece_is_kept_and_corners_join():
    corner = box(0, 0, 3, 3) | box(3, 3, 6, 6)
    split = box(10, 0, 12, 2) | box(20, 0, 25, 5)
    equal = box(10, 10, 12, 12) | box(20, 10, 22, 12)
    cut = box(0, 12, 9, 16)
    cells = separate(make_cells([corner, split, equal, cut, box(4, 10, 6, 18)], [.9, .9, .9, .5, .9]))
    np.testing.assert_array_equal(to_bitmaps(cells), [corner, box(20, 0, 25, 5), box(10, 10, 12, 12),
                                                      box(0, 12, 4, 16), box(4, 10, 6, 18)])


def test_no_cells_and_empty_masks():
    assert list(separate_cells([])) == []
    assert list(separate_cells([(make_cells(np.zeros((2, 20, 30), bool), [.5, .4]), 20)])) == []


def random_cells(rng, n, n_tall=0):
    bitmaps = np.zeros((n, *SHAPE), np.uint8)
    for place, bitmap in enumerate(bitmaps):
        center = rng.integers(0, SHAPE[1]), rng.integers(0, SHAPE[0])
        axes = rng.integers(2, 9, 2) if place >= n_tall else (4, rng.integers(60, 100))
        angle = int(rng.integers(180)) if place >= n_tall else 0
        cv2.ellipse(bitmap, tuple(map(int, center)), tuple(map(int, axes)), angle, 0, 360, 1, -1)
    return make_cells(bitmaps, rng.choice([.5, .6, .7, .8, .9], n), rng.integers(0, 3, n))


def by_definition(cells):
    """What is kept of each cell, with a loop over bitmaps of the whole image."""
    bitmaps, kept = to_bitmaps(cells), {}
    taken = np.zeros(SHAPE, bool)
    areas = bitmaps.sum((1, 2))
    for cell in sorted(range(len(cells)), key=lambda cell: (-cells.scores[cell], areas[cell], cell)):
        free = bitmaps[cell] & ~taken
        if 2 * free.sum() < areas[cell] or not free.any():
            continue
        _, labels = cv2.connectedComponents(free.T.astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel())[1:]
        kept[cell] = (labels == sizes.argmax() + 1).T
        taken |= kept[cell]
    return kept


@pytest.mark.parametrize('n_tall', [0, 6])
@pytest.mark.parametrize('seed', range(5))
def test_random_cells_are_separated_by_the_definition_whatever_the_parts(seed, n_tall, monkeypatch):
    monkeypatch.setattr(separation, '_LEAST_WAITING', 1)
    rng = np.random.default_rng(seed)
    cells = random_cells(rng, 250, n_tall)
    expected = by_definition(cells)
    whole = separate(cells)
    assert 20 < len(whole) == len(expected) < 250
    np.testing.assert_array_equal(to_bitmaps(whole), [expected[cell] for cell in sorted(expected)])
    assert to_bitmaps(whole).sum(0).max() == 1
    # Parts of 20 rows, in which cells of the rows above are mixed in: those that end there, and some far later.
    tops, bottoms = cells.masks.extents_xyxy[:, [1, 3]].T
    comes = np.where(rng.random(len(cells)) < .3, bottoms, tops + rng.integers(0, 20, len(cells)))
    index = [np.flatnonzero((comes >= row) & (comes < row + 20)) for row in range(0, 240, 20)]
    rows = [int(tops[comes >= row + 20].min(initial=SHAPE[0])) for row in range(0, 240, 20)]
    released = list(separate_cells((cells.take(part), row) for part, row in zip(index, rows, strict=True)))
    assert len(released) > 1
    found = Cells.concatenate(released)
    key = np.lexsort(found.masks.extents_xyxy.T)
    other = np.lexsort(whole.masks.extents_xyxy.T)
    assert len(found) == len(whole)
    np.testing.assert_array_equal(to_bitmaps(found)[key], to_bitmaps(whole)[other])
    np.testing.assert_array_equal(found.scores[key], whole.scores[other])


def test_masks_are_made_again_from_their_positions(rng):
    bitmaps = rng.random((6, 9, 7)) < .5
    bitmaps[[0, 3, 5]] = False
    masks = make_cells(bitmaps, np.ones(6)).masks
    again = MaskRuns.from_positions(masks.positions, masks.areas_px, 9, 7)
    for name in ('starts', 'ends', 'n_runs'):
        np.testing.assert_array_equal(getattr(again, name), getattr(masks, name))
