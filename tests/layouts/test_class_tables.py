"""Classes of cells from maps and tables."""

import re

import numpy as np
import pytest

from mmcell.layouts.base import LayoutError
from mmcell.layouts.class_tables import check_table_of_images, class_name, name_from_map, read_class_table
from mmcell.masks.rle import encode_label_map


@pytest.mark.parametrize('value, name', [
    (3, 'class3'), ('3', 'class3'), ('03', 'class3'), ('3.0', 'class3'), (' Tumour ', 'Tumour'), ('0', ''), (0, ''),
    ('', ''), ('NaN', ''), ('Background', ''), ('CD3+', 'CD3+'), ('-1', '-1'), ('\u0663', '\u0663')])
def test_numbers_become_names(value, name):
    assert class_name(value) == name


@pytest.mark.parametrize('classes, name, is_doubtful', [
    ([1, 1, 1, 1], 'class1', False), ([1, 1, 2, 2], 'class1', True), ([2, 1, 2, 2], 'class2', True),
    ([0, 2, 2, 2], 'class2', False), ([0, 0, 2, 2], 'class2', True), ([0, 0, 0, 0], '', False),
    ([9, 9, 0, 2**31 - 1], 'class9', True)])
def test_the_class_of_most_pixels(classes, name, is_doubtful):
    label_map = np.array([[5] * 4, [8] * 4, [0] * 4], np.int32)
    class_map = np.array([classes, [4] * 4, [7] * 4], np.int32)
    names, doubtful = name_from_map(label_map, class_map, encode_label_map(label_map))
    assert (names, doubtful.tolist()) == ([name, 'class4'], [is_doubtful, False])


def test_the_class_of_most_pixels_against_counting(rng):
    label_map = rng.integers(0, 40, (60, 50), np.int32) * 1000
    class_map = rng.integers(0, 4, (60, 50), np.int32)
    instances = encode_label_map(label_map)
    names, _ = name_from_map(label_map, class_map, instances)
    for number, name in zip(instances.ids, names, strict=True):
        n_px = np.bincount(class_map[label_map == number], minlength=4)[1:]
        assert name == f'class{n_px.argmax() + 1}'


def test_maps_without_cells_or_classes():
    empty = np.zeros((3, 4), np.int32)
    assert name_from_map(empty, empty, encode_label_map(empty))[0] == []
    assert name_from_map(empty + 1, empty, encode_label_map(empty + 1))[0] == ['']


@pytest.fixture
def write(tmp_path):
    def write_table(text):
        path = tmp_path / f'{abs(hash(text))}.csv'
        path.write_text(text, encoding='utf-8', newline='')
        return path
    return write_table


def test_rows_are_those_of_the_image(write, tmp_path):
    path = write('file name;cell id;cell type\nD:\\x\\A.TIF;1;a\nb;1;b\nx/b.png;2;c\n')
    assert read_class_table(path, tmp_path / 'a.tif') == {1: 'a'}
    assert read_class_table(path, tmp_path / 'b.png') == {1: 'b', 2: 'c'}
    assert check_table_of_images(path, [tmp_path / 'a.tif']) == ['b', 'b.png']


def test_a_table_of_one_image_is_not_used_for_several(write, tmp_path):
    path = write('id,class\n1,a\n')
    assert check_table_of_images(path, [tmp_path / 'a.tif']) == []
    with pytest.raises(LayoutError, match='no column image, so that it is not clear which of the 2 images'):
        check_table_of_images(path, [tmp_path / 'a.tif', tmp_path / 'b.tif'])


def test_two_images_of_the_same_name_are_refused(write, tmp_path):
    path = write('image,id,class\n1/a.tif,1,x\n')
    words = f"'a.tif', but {tmp_path}/1/a.tif and {tmp_path}/2/a.tif are both called so"
    with pytest.raises(LayoutError, match=re.escape(words)):
        check_table_of_images(path, [tmp_path / '1' / 'a.tif', tmp_path / '2' / 'a.tif', tmp_path / 'b.tif'])
    check_table_of_images(path, [tmp_path / '1' / 'a.tif', tmp_path / '1' / 'b.tif', tmp_path / '2' / 'b.tif'])
