import json

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.masks.rle import (
    area_px,
    decode_to_label_map,
    encode_label_map,
    foreground_pixels,
    foreground_pixels_of_all,
)
from mmcell.masks.rle_counts import parse_rle, parse_rles


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
    decoded = decode_to_label_map(through_json, encoded.ids, label_map.shape)
    np.testing.assert_array_equal(decoded, label_map)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 70), st.integers(1, 5))))
def test_parsing_agrees_with_pycocotools(mask):
    rle = reference(mask)
    pixels = np.zeros(mask.size, bool)
    pixels[foreground_pixels(rle)] = True
    np.testing.assert_array_equal(pixels.reshape(mask.shape, order='F'), mask)
    assert area_px(rle) == mask.sum()
    runs = parse_rle(rle)
    np.testing.assert_array_equal(parse_rle({'size': rle['size'], 'counts': runs.tolist()}), runs)


@given(st.lists(st.tuples(hnp.arrays(bool, st.tuples(st.integers(0, 40), st.integers(0, 4))), st.booleans())))
def test_parsing_many_rles_at_once_equals_parsing_them_one_by_one(masks_and_forms):
    rles = [reference(mask) for mask, _ in masks_and_forms]
    one_by_one = [parse_rle(rle) for rle in rles]
    for rle, runs, (_, is_listed) in zip(rles, one_by_one, masks_and_forms, strict=True):
        rle['counts'] = runs.tolist() if is_listed else rle['counts']
    runs, _, n_runs = parse_rles(rles)
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


def test_later_instances_are_painted_over_earlier_ones():
    full, corner = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    corner[0, 0] = True
    assert decode_to_label_map([reference(full), reference(corner)]).tolist() == [[2, 1, 1], [1, 1, 1], [1, 1, 1]]


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
        parse_rle(rle)
    valid = {'size': [2, 2], 'counts': [1, 3]}
    with pytest.raises(ValueError, match=message):
        parse_rles([valid, rle, valid])


def test_the_rles_of_a_label_map_need_one_size():
    with pytest.raises(ValueError, match='one size'):
        decode_to_label_map([reference(np.ones((2, 2))), reference(np.ones((2, 3)))])
    with pytest.raises(ValueError, match='one size'):
        decode_to_label_map([])
