"""Measures of one image, against values that follow from how the image was made."""

import cv2
import numpy as np
import pytest
from support.planted_cells import make_scene

from mmcell.inspection.alignment import correlate_overlap, correlate_whole
from mmcell.inspection.measures.cell_looks import measure_looks, optical_density
from mmcell.inspection.measures.cell_shapes import measure_shapes
from mmcell.inspection.measures.edge_fit import measure_edge_fit
from mmcell.inspection.measures.prints import make_prints
from mmcell.inspection.measures.unlabeled import find_unlabeled
from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns


def shapes_of(*bitmaps):
    rles = [encode_label_map(np.asarray(bitmap, np.int32)).rles[0] for bitmap in bitmaps]
    return measure_shapes(MaskRuns.from_rles(rles, *np.shape(bitmaps[0])))


def test_shapes_of_a_square_and_of_a_pixel():
    square, pixel = np.zeros((2, 30, 40), int)
    square[5:15, 8:18] = pixel[0, 3] = 1
    shapes = shapes_of(square, pixel)
    assert shapes.areas_px.tolist() == [100, 1] and shapes.n_pieces.tolist() == [1, 1]
    assert shapes.solidity.tolist() == [1, 1] and shapes.elongation == pytest.approx([1, 1])
    assert shapes.touches_border.tolist() == [False, True] and shapes.neck.tolist() == [1, 1]


def test_the_elongation_of_a_rectangle_is_the_ratio_of_its_sides():
    bar = np.zeros((30, 60), int)
    bar[4:12, 10:42] = 1
    assert shapes_of(bar).elongation == pytest.approx([4])


def test_pieces_are_measured_from_pixel_to_pixel():
    pieces = np.zeros((30, 40), int)
    pieces[5:15, 5:15] = pieces[5:10, 20:30] = 1
    shapes = shapes_of(pieces)
    assert (shapes.n_pieces[0], shapes.second_piece[0], shapes.gap_px[0], shapes.neck[0]) == (2, .5, 6, 0)


def test_a_neck_is_measured_relative_to_the_smaller_lobe():
    lobes = np.zeros((60, 120), np.uint8)
    for center in ((30, 30), (80, 30)):
        cv2.circle(lobes, center, 20, 1, -1)
    lobes[26:35, 30:80] = 1
    shapes = shapes_of(lobes)
    assert shapes.neck[0] == pytest.approx(9 / 41, abs=.05)
    assert np.sort(shapes.lobes_yx[0], axis=0) == pytest.approx(np.array([[30, 30], [30, 80]]), abs=2)


def test_looks_are_means_inside_and_around():
    image = np.full((40, 40, 3), 200, np.uint8)
    label_map = np.zeros((40, 40), np.int32)
    label_map[10:20, 10:20] = 1
    image[label_map == 1] = (50, 100, 150)
    looks = measure_looks(optical_density(image), label_map, 2)
    assert looks.inside[0] == pytest.approx(-np.log(np.array([50, 100, 150]) / 255))
    assert [*looks.around[0], *looks.background] == pytest.approx([-np.log(200 / 255)] * 6, abs=1e-6)
    assert np.isnan(looks.inside[1]).all()


@pytest.mark.parametrize('is_dark', [True, False])
def test_the_edge_fit_finds_a_shift_of_dark_and_of_bright_cells(is_dark):
    scene = make_scene(5)
    image = scene.image if is_dark else 255 - scene.image
    fit = measure_edge_fit(image, np.roll(scene.label_map, (-3, 6), axis=(0, 1)))
    assert fit.best_shift_px == (3, -6)
    assert fit.mean.max() > .7 > .3 > fit.here
    assert measure_edge_fit(image, scene.label_map).best_shift_px == (0, 0)


def test_two_cells_do_not_tell_how_masks_fit():
    scene = make_scene(5)
    assert measure_edge_fit(scene.image, np.where(scene.label_map <= 2, scene.label_map, 0)) is None


def test_cells_without_a_label_are_regions_where_they_lie():
    scene = make_scene(6)
    kept = np.where(np.isin(scene.label_map, [2, 5]), 0, scene.label_map)
    regions = find_unlabeled(optical_density(scene.image), kept).unlabeled
    centers = [np.argwhere(scene.label_map == number).mean(axis=0) for number in (2, 5)]
    assert all(np.hypot(*(regions.yx - center).T).min() < 2 for center in centers)
    assert find_unlabeled(optical_density(scene.image), np.where(kept > 5, 0, kept)) is None


@pytest.fixture(scope='module')
def large_scene():
    return make_scene(7, 70, (320, 400))


@pytest.mark.parametrize('is_mirrored', [False, True])
@pytest.mark.parametrize('n_turns', range(4))
def test_copies_are_found_in_all_eight_positions(large_scene, is_mirrored, n_turns):
    image = np.rot90(large_scene.image[:, ::-1] if is_mirrored else large_scene.image, n_turns)
    prints, other = make_prints(large_scene.image), make_prints(np.ascontiguousarray(image))
    assert correlate_whole(prints, other)[0] > .9
    correlation, share, _ = correlate_overlap(prints, make_prints(np.ascontiguousarray(image[:220, :300])))
    assert correlation > .8 and share > .8


def test_an_overlap_has_the_share_that_is_common(large_scene):
    left, right = (make_prints(np.ascontiguousarray(part)) for part in (
        large_scene.image[:, :260], large_scene.image[:, 130:]))
    correlation, share, turn = correlate_overlap(left, right)
    assert correlation > .9 and share == pytest.approx(.5, abs=.05) and turn == ''


def test_strangers_have_nothing_in_common(large_scene):
    prints, other = make_prints(large_scene.image), make_prints(make_scene(8, 70, (320, 400)).image)
    assert correlate_whole(prints, other)[0] < .4 and correlate_overlap(prints, other)[0] < .4
