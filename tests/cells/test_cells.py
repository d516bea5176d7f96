import re

import numpy as np
import pytest
import shapely
import skimage.measure
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmengine.structures import InstanceData
from support.cells import cells_from_label_map, fill_path, rasterise
from support.synthetic_data import discs

from mmcell.cells.cells import Cells, select_cells
from mmcell.cells.measurements import measure_cells
from mmcell.cells.outlines import outline_cells, outline_paths
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns


@pytest.mark.parametrize('masks', ['rle', 'bitmaps'])
def test_cells_are_made_from_instances(masks):
    label_map = discs((20, 30), [(1, 5, 5, 3), (2, 12, 20, 5)])
    bitmaps = np.stack([label_map == 1, np.zeros_like(label_map, bool), label_map == 2])
    rles = encode_label_map(label_map).rles
    empty = {'size': [20, 30], 'counts': 'hb0'}
    boxes = [[1.5, 2.25, 9., 9.], [0., 1., 2., 3.], [15., 7., 26., 18.]]
    instances = InstanceData(
        bboxes=torch.tensor(boxes), scores=torch.tensor([.9, .8, .7]), labels=torch.tensor([2, 1, 0]),
        masks=[rles[0], empty, rles[1]] if masks == 'rle' else torch.from_numpy(bitmaps))
    cells = Cells.from_instances(instances, 20, 30)
    areas_px = [(label_map == 1).sum(), 0, (label_map == 2).sum()]
    assert cells.masks.areas_px.tolist() == areas_px and cells.masks.to_rles() == [rles[0], empty, rles[1]]
    assert cells.masks.extents_xyxy.tolist() == [[2, 2, 9, 9], [0] * 4, [15, 7, 26, 18]]
    assert cells.bboxes_xyxy.tolist() == boxes
    assert cells.labels.tolist() == [2, 1, 0] and cells.scores.tolist() == instances.scores.tolist()
    # The cell whose mask has no pixel passes no filter.
    assert select_cells(cells, min_area_px=0).labels.tolist() == [2, 0]
    # Converted back, they are what they were made from.
    restored = cells.to_instances()
    assert all(restored[key].equal(instances[key]) for key in ('bboxes', 'scores', 'labels'))
    assert restored.masks == [rles[0], empty, rles[1]]


def test_cells_of_a_part_of_an_image_are_moved_to_their_place():
    label_map = discs((20, 30), [(1, 5, 5, 3), (2, 12, 20, 5)])
    part, whole = (cells_from_label_map(pixels) for pixels in (label_map, np.pad(label_map, [(7, 7), (9, 0)])))
    assert_equal(Cells.from_instances(part.to_instances(), 34, 39, np.array([9, 7, 39, 27])), whole)


def test_cells_are_taken_and_concatenated():
    cells = cells_from_label_map(discs((40, 40), [(1, 10, 10, 5), (2, 25, 25, 2), (3, 39, 10, 6)]), labels=[0, 1, 2])
    assert cells.take(np.array([2, 0])).labels.tolist() == [2, 0]
    assert cells.take(np.array([True, False, True])).labels.tolist() == [0, 2]
    parts = [cells.take(np.array([0])), Cells.empty(40, 40), cells.take(np.array([1, 2]))]
    assert_equal(Cells.concatenate(parts), cells)
    shuffled = cells.take(np.array([1, 2, 0]))
    assert_equal(shuffled.best_first(), cells)
    tied = Cells(shuffled.masks, shuffled.bboxes_xyxy, np.float32([.5, .7, .5]), shuffled.labels)
    assert tied.best_first().labels.tolist() == [2, 1, 0]


def test_zero_instances_are_zero_cells():
    for masks in ([], torch.zeros(0, 20, 30, dtype=bool)):
        cells = Cells.from_instances(InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0),
                                                  labels=torch.zeros(0, dtype=int), masks=masks), 20, 30)
        assert_equal(cells, Cells.empty(20, 30))


def test_detections_without_masks_are_refused():
    instances = InstanceData(bboxes=torch.zeros(1, 4), scores=torch.ones(1), labels=torch.zeros(1, dtype=int))
    with pytest.raises(ValueError, match='the predictions have none'):
        Cells.from_instances(instances, 30, 20)


def assert_equal(cells, expected):
    """Checks that two sets of cells have the same masks, boxes, scores and labels, in the same types."""
    assert cells.masks.to_rles() == expected.masks.to_rles()
    for name in ('bboxes_xyxy', 'scores', 'labels'):
        ours, theirs = getattr(cells, name), getattr(expected, name)
        assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype


def test_a_score_is_compared_with_the_limit_in_full_precision():
    cells = cells_from_label_map(discs((20, 30), [(1, 5, 5, 3)]), scores=[.7])
    # The float32 next to .7 is less than .7.
    assert len(select_cells(cells, min_score=.7)) == 0 and len(select_cells(cells, min_score=.6999999)) == 1


@pytest.mark.parametrize('filters, kept', [
    ({}, [1, 2, 3, 4]),
    (dict(min_score=.65), [1, 2, 3]),
    (dict(labels=[0, 2]), [1, 4]),
    (dict(labels=[]), []),
    (dict(min_area_px=30), [1, 3]),
    (dict(drop_border=True), [1, 2]),
    (dict(min_score=.6, labels=[1], drop_border=True), [2]),
])
def test_filters(filters, kept):
    label_map = discs((40, 40), [(1, 10, 10, 5), (2, 25, 25, 2), (3, 39, 10, 6), (4, 20, 39, 2)])
    cells = cells_from_label_map(label_map, labels=[0, 1, 1, 2], scores=[.9, .8, .7, .6])
    selected = select_cells(cells, **filters)
    assert selected.scores.tolist() == pytest.approx([1 - label / 10 for label in kept])
    assert len(selected.masks) == len(kept)


@pytest.mark.parametrize('y, x, touches', [(0, 5, True), (9, 5, True), (5, 0, True), (5, 9, True), (1, 8, False)])
def test_the_border_consists_of_the_outermost_pixels(y, x, touches):
    label_map = np.zeros((10, 10), int)
    label_map[y, x] = 1
    assert len(select_cells(cells_from_label_map(label_map), drop_border=True)) == (not touches)


def test_measurements_equal_those_of_scikit_image(rng):
    label_map = discs((60, 80), [(1, 10, 12, 7), (2, 30, 50, 4)])
    label_map[45:50, 10:40] = 3
    label_map[25:45, 60:75][rng.random((20, 15)) < .4] = 4
    label_map[0, 79] = 5
    measured = measure_cells(cells_from_label_map(label_map), mpp=.25)
    regions = skimage.measure.regionprops(label_map)
    assert len(regions) == 5
    assert measured['area_px'].tolist() == [region.area for region in regions]
    centroids = np.array([region.centroid for region in regions])
    np.testing.assert_allclose(measured['centroid_y_px'], centroids[:, 0] + .5)
    np.testing.assert_allclose(measured['centroid_x_px'], centroids[:, 1] + .5)
    for name, scikit_image_name in (('major_axis_px', 'axis_major_length'), ('minor_axis_px', 'axis_minor_length'),
                                    ('eccentricity', 'eccentricity')):
        np.testing.assert_allclose(measured[name], [region[scikit_image_name] for region in regions], atol=1e-6)
    np.testing.assert_allclose(measured['area_um2'], measured['area_px'] / 16)
    np.testing.assert_allclose(measured['major_axis_um'], measured['major_axis_px'] / 4)


def test_the_centroid_equals_the_centroid_of_the_outline():
    cells = cells_from_label_map(discs((30, 30), [(1, 10, 12, 7), (2, 22, 22, 5)]))
    measured = measure_cells(cells)
    centroids = [(outline.centroid.x, outline.centroid.y) for outline in outline_cells(cells)]
    np.testing.assert_allclose(np.stack([measured['centroid_x_px'], measured['centroid_y_px']], 1), centroids)
    assert not any(name.endswith(('um', 'um2')) for name in measured)


def test_outlines_of_known_shapes():
    label_map = np.zeros((9, 12), int)
    label_map[1:3, 1:4] = 1
    label_map[1:6, 5:10] = 2
    label_map[3, 7] = 0  # a hole
    label_map[7, 1] = label_map[8, 2] = 3  # two pieces that touch at a corner
    square, ring, corner = outline_cells(cells_from_label_map(label_map))
    assert square.equals(shapely.box(1, 1, 4, 3)) and len(square.exterior.coords) == 5
    assert ring.geom_type == 'Polygon' and [hole.bounds for hole in ring.interiors] == [(7, 3, 8, 4)]
    assert ring.exterior.is_ccw and not ring.interiors[0].is_ccw
    assert corner.geom_type == 'MultiPolygon' and len(corner.geoms) == 2 and corner.is_valid


@given(arrays(np.int32, (7, 9), elements=st.integers(0, 2)))
def test_any_outline_is_valid_and_rasterises_back(label_map):
    ids = np.unique(label_map[label_map > 0])
    for outline, value in zip(outline_cells(cells_from_label_map(label_map)), ids, strict=True):
        assert outline.is_valid
        assert np.array_equal(rasterise(outline, label_map.shape), label_map == value)
        assert np.array_equal(shapely.get_coordinates(outline) % 1, np.zeros_like(shapely.get_coordinates(outline)))


def test_zero_cells_have_zero_outlines_and_measurements():
    no_cells = Cells.empty(10, 20)
    assert len(select_cells(no_cells, min_area_px=5, drop_border=True)) == 0
    assert len(outline_cells(no_cells)) == 0
    assert all(len(values) == 0 for values in measure_cells(no_cells, 1.).values())


def test_paths_of_known_shapes():
    label_map = np.zeros((10, 12), int)
    label_map[1:3, 2:4] = 1
    label_map[5:8, 5:8] = 2
    label_map[6, 6] = 0
    label_map[[1, 2, 1], [9, 9, 10]] = 3
    masks = cells_from_label_map(label_map).masks
    assert outline_paths(masks.take(np.array([0, 2]))) == ['M2 1h2v2h-2z', 'M9 1h2v1h-1v1h-1z']
    with_hole = outline_paths(masks)[1]
    assert with_hole.startswith('M5 5h3v3h-3z') and with_hole.count('z') == 2


@given(arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))))
def test_paths_cover_exactly_the_masks_and_have_no_needless_corner(bitmaps):
    masks = MaskRuns.from_rles(masks_to_rles(bitmaps), *bitmaps.shape[1:])
    paths = outline_paths(masks)
    assert len(paths) == len(bitmaps)
    for path, bitmap in zip(paths, bitmaps, strict=True):
        assert np.array_equal(fill_path(path, bitmap.shape), bitmap)
        assert (path == '') == (not bitmap.any())
        assert not any(pair in path for pair in ('h0', 'v0')) and not re.search(r'h[-0-9]+h|v[-0-9]+v', path)
