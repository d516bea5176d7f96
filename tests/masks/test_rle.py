import json

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.masks.rle import (
    areas_px,
    bboxes_xywh,
    encode_label_map,
    encode_runs,
    extents_of_runs,
    foreground_pixels_of_all,
)
from mmcell.masks.rle_counts import find_invalid_rles, parse_rles, parse_runs, sizes_of

_SIDE = 2**31 - 1  # the greatest side


def label_maps(max_side=14, max_label=5):
    shapes = st.tuples(st.integers(1, max_side), st.integers(1, max_side))
    return shapes.flatmap(lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(0, max_label)))


def reference(mask):
    """Encodes one mask with pycocotools."""
    return pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))


@given(label_maps(), st.sampled_from([1, 3, 1000]), st.sampled_from([1, 5, 40]))
def test_every_instance_is_encoded_as_pycocotools_does(label_map, id_step, magnification):
    label_map = np.kron(label_map * id_step, np.ones((magnification, 1), np.int32))
    encoded = encode_label_map(label_map)
    assert encoded.ids.tolist() == [i for i in np.unique(label_map) if i]
    for label, rle, area, bbox in zip(encoded.ids, encoded.rles, encoded.areas_px, encoded.bboxes_xywh, strict=True):
        expected = reference(label_map == label)
        assert rle == {'size': list(label_map.shape), 'counts': expected['counts'].decode()}
        assert area == pycocotools.mask.area(expected)
        assert bbox.tolist() == pycocotools.mask.toBbox(expected).tolist()


@given(label_maps())
def test_encoding_through_json_and_back_is_lossless(label_map):
    encoded = encode_label_map(label_map)
    through_json = json.loads(json.dumps(encoded.rles))
    positions, areas = foreground_pixels_of_all(through_json)
    decoded = np.zeros(label_map.size, np.int32)
    decoded[positions] = np.repeat(encoded.ids, areas)
    np.testing.assert_array_equal(decoded.reshape(label_map.shape, order='F'), label_map)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 70), st.integers(1, 5))))
def test_parsing_agrees_with_pycocotools(mask):
    rle = reference(mask)
    pixels = np.zeros(mask.size, bool)
    pixels[foreground_pixels_of_all([rle])[0]] = True
    np.testing.assert_array_equal(pixels.reshape(mask.shape, order='F'), mask)
    assert areas_px([rle]).tolist() == [mask.sum()]
    runs = parse_rles([rle])[0]
    np.testing.assert_array_equal(parse_rles([{'size': rle['size'], 'counts': runs.tolist()}])[0], runs)


@given(st.lists(st.tuples(hnp.arrays(bool, st.tuples(st.integers(0, 40), st.integers(0, 4))), st.booleans())))
def test_parsing_many_rles_at_once_equals_parsing_them_one_by_one(masks_and_forms):
    rles = [reference(mask) for mask, _ in masks_and_forms]
    one_by_one = [parse_rles([rle])[0] for rle in rles]
    for rle, runs, (_, is_listed) in zip(rles, one_by_one, masks_and_forms, strict=True):
        rle['counts'] = runs.tolist() if is_listed else rle['counts']
    runs, n_runs = parse_rles(rles)
    assert n_runs.tolist() == [len(runs) for runs in one_by_one]
    assert runs.tolist() == [run for runs in one_by_one for run in runs]
    positions, areas = foreground_pixels_of_all(rles)
    assert areas.tolist() == [mask.sum() for mask, _ in masks_and_forms]
    expected = [np.flatnonzero(mask.ravel(order='F')) for mask, _ in masks_and_forms]
    assert positions.tolist() == [pixel for pixels in expected for pixel in pixels]


def test_an_id_in_several_pieces_is_one_instance():
    label_map = np.zeros((5, 9), np.int32)
    label_map[1, 1] = label_map[3, 7] = 4
    encoded = encode_label_map(label_map)
    assert encoded.ids.tolist() == [4]
    assert encoded.bboxes_xywh.tolist() == [[1, 1, 7, 3]]
    assert encoded.areas_px.tolist() == [2]


@pytest.mark.parametrize('shape', [(0, 0), (0, 5), (3, 0), (4, 4)])
def test_a_label_map_without_cells_gives_no_instance(shape):
    encoded = encode_label_map(np.zeros(shape, np.int32))
    assert len(encoded.ids) == len(encoded.rles) == len(encoded.areas_px) == 0
    assert encoded.bboxes_xywh.shape == (0, 4)


@given(st.lists(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 6))), max_size=5))
def test_runs_have_the_pixels_and_the_boxes_of_the_masks(masks):
    # All counts are doubled by empty runs: [2, 3] becomes [2, 0, 0, 3, 0, 0] …, which pycocotools cannot read.
    rles = [{'size': mask.shape, 'counts': [
        length for run in parse_rles([reference(mask)])[0] for length in (run, 0, 0)]} for mask in masks]
    starts, ends, n_runs, _ = parse_runs(rles)
    assert (ends > starts).all() and len(n_runs) == len(masks)
    for mask, first, n in zip(masks, np.cumsum(n_runs) - n_runs, n_runs, strict=True):
        pixels = [position for run in range(first, first + n) for position in range(starts[run], ends[run])]
        assert pixels == np.flatnonzero(mask.ravel(order='F')).tolist()
    assert bboxes_xywh(rles).tolist() == [pycocotools.mask.toBbox(reference(mask)).tolist() for mask in masks]


def test_an_instance_without_a_run_has_no_extent():
    extents = extents_of_runs(np.array([1]), np.array([4]), np.array([0, 1, 0]), 3)
    assert extents.tolist() == [[0, 0, 0, 0], [0, 0, 2, 3], [0, 0, 0, 0]]


def test_runs_are_joined_across_columns_but_not_across_instances():
    rles = encode_runs(np.array([3, 4, 8, 20]), np.array([4, 8, 12, 21]), np.array([1, 0, 3, 0]), 4, 6)
    positions, areas = foreground_pixels_of_all(rles)
    assert positions.tolist() == [3, *range(4, 12), 20]
    assert areas.tolist() == [1, 0, 9, 0]
    for rle in rles:
        assert rle['counts'] == reference(pycocotools.mask.decode(rle))['counts'].decode()


@pytest.mark.parametrize('label_map, message', [
    (np.zeros((2, 2, 2), np.int32), 'integers'),
    (np.zeros((2, 2)), 'integers'),
    (np.full((2, 2), -1), 'positive'),
])
def test_invalid_label_maps_are_refused(label_map, message):
    with pytest.raises(ValueError, match=message):
        encode_label_map(label_map)


@pytest.mark.parametrize('rle, message', [
    ({'size': [2, 2]}, 'counts'),
    ('0', 'dict'),
    ({'size': [2, 2], 'counts': '3'}, 'cover 3 pixels'),
    ({'size': [2, 2], 'counts': [2, 1, 2]}, 'cover 5 pixels'),
    ({'size': [2, 2], 'counts': '5'}, 'cover 5 pixels'),
    ({'size': [2, 2], 'counts': [2**62] * 4 + [4]}, 'more pixels than any image'),
    ({'size': [_SIDE, _SIDE], 'counts': [_SIDE**2] * 5 + [2**64 - 4 * _SIDE**2]}, 'more pixels than any image'),
    ({'size': 4, 'counts': '4'}, 'height, width'),
    ({'size': [2, 2], 'counts': [5, -1]}, 'negative'),
    ({'size': [2, 2], 'counts': [4.0]}, 'integers'),
    ({'size': [2], 'counts': '4'}, 'height, width'),
    ({'size': [2**40, 2**40], 'counts': '4'}, 'height, width'),
    ({'size': [2.5, 2], 'counts': '5'}, 'height, width'),
    ({'size': [2, 2], 'counts': 'T'}, 'cut short'),
    ({'size': [2, 2], 'counts': '\x01'}, 'out of range'),
    ({'size': [2, 2], 'counts': 'é'}, 'ASCII'),
    ({'size': [2, 2], 'counts': 'o' * 20 + '0'}, 'too large'),
])
def test_invalid_rles_are_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        parse_rles([rle])[0]
    valid = {'size': [2, 2], 'counts': [1, 3]}
    with pytest.raises(ValueError, match=message):
        parse_rles([valid, rle, valid])


def test_the_invalid_among_many_rles_are_found():
    rles = [reference(np.eye(4)) for _ in range(21)]
    rles[3], rles[4], rles[20] = {'size': [4, 4], 'counts': '3'}, {'size': [2, 2]}, '0'
    problems = find_invalid_rles(rles)
    assert sorted(problems) == [3, 4, 20]
    assert 'cover 3 pixels' in problems[3] and 'counts' in problems[4] and 'dict' in problems[20]
    assert find_invalid_rles([]) == {}


@pytest.mark.parametrize('size', [(3, 5), np.array([3, 5]).tolist(), tuple(np.array([3, 5], np.int32))])
def test_sizes_of_any_integers_are_read(size):
    rles = [{'size': [3, 5], 'counts': [15]}, {'size': size, 'counts': [0, 15]}]
    sizes = sizes_of(rles)
    assert sizes.tolist() == [[3, 5], [3, 5]] and sizes.dtype == np.int64
    assert areas_px(rles).tolist() == [0, 15]
    assert sizes_of([]).shape == (0, 2)
