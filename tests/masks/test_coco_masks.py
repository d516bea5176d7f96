"""Masks in each form of COCO, and the ones that pycocotools must never see."""

import multiprocessing

import numpy as np
import pycocotools.mask
import pytest

from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.rle import bboxes_xywh

SIZE = (30, 40)
TRIANGLE = [5, 5, 20, 5, 5, 25]
NAN, INF = float('nan'), float('inf')
BAD_POLYGONS = [
    [], [[]], [[1, 2]], [[1, 2, 3, 4]], [TRIANGLE[:5]], [[*TRIANGLE, 7]], [[NAN] * 6],
    [[INF, 1, 2, 3, 4, 5]], [[*TRIANGLE[:5], 1e300]], [[*TRIANGLE[:5], -1e300]], [[*TRIANGLE[:5], 3e9]],
    [[*TRIANGLE[:5], -3_000_000_000]], [[*TRIANGLE[:5], 10 ** 30]], [[*TRIANGLE[:5], 10 ** 400]], [TRIANGLE, None],
    [['1'] * 6], [[True] * 6], [[*TRIANGLE[:5], True]], [[*TRIANGLE[:5], None]], [[[1, 2], [3, 4], [5, 6]]],
    [[TRIANGLE]], [TRIANGLE, 7], TRIANGLE, [[1e6, -1e6, -1e6, 1e6] * 2, TRIANGLE], [[0, 0, 999_999, 999_999] * 50],
    [{'x': 1}], [[[]] * 6], ['MULTIPOLYGON'], [[NAN, *TRIANGLE[1:]], TRIANGLE]]
BAD_RLES = [
    {}, {'counts': '5'}, {'size': [30, 40]}, {'size': [40, 30], 'counts': [1200]}, {'size': None, 'counts': [1200]},
    {'size': [30, 40, 1], 'counts': [1200]}, {'size': [2 ** 40, 2 ** 40], 'counts': '1'},
    {'size': [0, 0], 'counts': ''},
    *({'size': [30, 40], 'counts': counts} for counts in (
        [], [1199], [1201], [-1, 1201], [600.5, 599.5], [NAN, 1200], [2 ** 62, 2 ** 62], [10 ** 30], [[600], [600]],
        ['600', '600'], [None], [True, True], {'a': 1}, 7, None, '', '5', 'o', '\0', '\u7d30', 'zzzz', 'o' * 300,
        'P' * 30, '0' * 5000))]


def convert_all(masks):
    return to_compressed_rles(masks, [SIZE] * len(masks))


@pytest.mark.parametrize('masks', [BAD_POLYGONS, BAD_RLES, [None, 7, 'x', True, 1e300, NAN, {'points': TRIANGLE}]])
def test_bad_masks_have_a_problem_and_never_reach_pycocotools(masks, monkeypatch):
    for name in ('frPyObjects', 'merge', 'decode'):
        monkeypatch.setattr(pycocotools.mask, name, lambda *_: pytest.fail('pycocotools was called'))
    rles, problems = convert_all(masks)
    assert rles == [None] * len(masks) and list(problems) == list(range(len(masks)))
    assert all(len(str(problem)) < 300 and '\n' not in str(problem) for problem in problems.values())


def rasterise_extremes():
    masks = [[[scale * value + shift for value in TRIANGLE]]
             for scale in (0, 1e-300, .5, 1, 100, 9000) for shift in (0, -1e5, 7e5, -7e5)]
    masks += [[[0, 0, 0, 0, 0, 0]], [[-5, -5, 60, -5, 60, 60, -5, 60]], [[1e6, 1e6, 1e6, 1e6 - 1, 1e6 - 1, 1e6]],
              [[5, 5] * 20_000], [TRIANGLE] * 500, {'size': [30, 40], 'counts': [0, 0, 0, 1200]}]
    rles, problems = convert_all(masks)
    assert not problems and len(pycocotools.mask.decode(rles).T) == len(masks)


def test_extreme_polygons_that_are_accepted_do_not_end_the_process():
    process = multiprocessing.get_context('fork').Process(target=rasterise_extremes)
    process.start()
    process.join()
    # A segmentation fault would be -11.
    assert process.exitcode == 0


def test_good_and_bad_masks_keep_their_places():
    mask = np.zeros(SIZE, np.uint8, order='F')
    mask[5:8, 10:14] = 1
    rle = pycocotools.mask.encode(mask)
    polygon = [10, 5, 14, 5, 14, 8, 10, 8]
    runs = [305, 3, 27, 3, 27, 3, 27, 3, 802]
    forms = [rle, {**rle, 'counts': rle['counts'].decode()}, {'size': [30, 40], 'counts': runs}, [polygon],
             [[*polygon[:4], 14, 8], [*polygon[:2], 14, 8, 10, 8]], [np.array(polygon, float)]]
    rles, problems = convert_all([forms[0], None, *forms[1:], {'size': [30, 40], 'counts': '5'}])
    assert list(problems) == [1, 7] and rles[1] is rles[7] is None
    assert [converted for converted in rles if converted] == [{'size': [30, 40], 'counts': rle['counts'].decode()}] * 6


def test_polygons_of_one_or_two_points_change_nothing():
    masks = [[TRIANGLE], [[1, 2], TRIANGLE, [3, 4, 5, 6], []]]
    rles, problems = convert_all(masks)
    assert not problems and rles[0] == rles[1]


def test_polygons_outside_of_the_image_have_no_pixel_and_those_across_its_border_are_cut():
    outside, across = [[50, 5, 60, 5, 60, 15, 50, 15]], [[30, 20, 55, 20, 55, 45, 30, 45]]
    (empty, cut), problems = convert_all([outside, across])
    assert not problems and not pycocotools.mask.area(empty)
    expected = np.zeros(SIZE, bool)
    expected[20:, 30:] = True
    np.testing.assert_array_equal(pycocotools.mask.decode(cut), expected)


def test_boxes_equal_those_of_pycocotools(rng):
    masks = [np.asfortranarray(rng.random(rng.integers(1, 12, 2)) < share, np.uint8)
             for share in (0, .1, .5, .9, 1) for _ in range(30)]
    rles = [pycocotools.mask.encode(mask) for mask in masks]
    np.testing.assert_array_equal(bboxes_xywh(rles), pycocotools.mask.toBbox(rles))
    assert bboxes_xywh([]).shape == (0, 4)


def test_boxes_of_rles_with_runs_of_length_0():
    rles = [{'size': [4, 5], 'counts': counts} for counts in ([5, 0, 3, 4, 8], [0, 0, 20], [8, 2, 0, 2, 8])]
    assert bboxes_xywh(rles).tolist() == [[2, 0, 1, 4], [0, 0, 0, 0], [2, 0, 1, 4]]
