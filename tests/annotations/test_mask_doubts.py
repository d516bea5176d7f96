import cv2
import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.annotations.mask_doubts import BACKGROUND, BINARY, SCATTERED, describe_doubts, find_doubts
from mmcell.images.image_file import read_label_map
from mmcell.layouts.class_maps import class_files
from mmcell.masks.rle import encode_label_map

CELLS = discs((60, 60), [(3, 12, 12, 6), (5, 40, 40, 7), (9, 12, 40, 5)])


def doubts_of(label_map, class_number=1):
    return find_doubts(label_map, encode_label_map(label_map), class_number)


def resized(label_map, factor):
    return cv2.resize(label_map.astype(np.float32), None, fx=factor, fy=factor).round().astype(np.int32)


def as_jpeg(label_map):
    return cv2.imdecode(cv2.imencode('.jpg', label_map.astype(np.uint8))[1], cv2.IMREAD_UNCHANGED).astype(np.int32)


@pytest.mark.parametrize('label_map, doubts', [
    (CELLS, []),
    (np.where(CELLS > 0, 255, 0), [BINARY]),
    ((CELLS > 0).astype(np.int32), [BINARY]),
    (np.where(CELLS > 0, 2, 0), [BINARY]),  # the class number
    (np.where(CELLS > 0, 7, 0), []),  # one cell in three pieces, with a number of its own
    (np.where(CELLS == 5, 255, 0), []),
    (np.where(CELLS > 0, CELLS, 255), [BACKGROUND]),
    (np.full((8, 8), 3, np.int32), [BACKGROUND]),
    (np.where(CELLS > 0, 0, 255), [BACKGROUND]),
    (np.add.outer(np.arange(60) // 20 * 3, np.arange(60) // 20) + 1, [BACKGROUND]),  # no pixel is 0
    (resized(CELLS * 40, .7), [SCATTERED]),
    (resized(CELLS * 40, 2), [SCATTERED]),
    (as_jpeg(CELLS * 25), [SCATTERED]),
    (np.where(np.add.outer(np.arange(60), np.arange(60)) % 3 == 0, np.arange(3600).reshape(60, 60), 0), [SCATTERED]),
    (discs((60, 60), [(i, 5 * i, 5 * i, 1) for i in range(1, 11)]), []),  # small cells of 5 px
    (np.pad([[4, 0, 0, 9, 9]], ((5, 5), (5, 5))), []),  # a cell of one pixel
])
def test_masks_whose_values_are_probably_not_ids_are_doubted(label_map, doubts):
    assert doubts_of(label_map, 2) == doubts


def test_a_cell_with_a_small_fragment_is_not_binary():
    assert doubts_of(discs((60, 60), [(1, 20, 20, 12), (1, 45, 45, 3)])) == []


def test_the_sentence_names_kind_number_and_way_out_in_one_line():
    masks = [(f'train/{i}/class1.tif', 1, (SCATTERED,) if i < 2 else ()) for i in range(5)]
    (sentence,) = describe_doubts(masks)
    assert sentence.startswith('2 of 5 masks') and 'train/0/class1.tif' in sentence and 'without loss' in sentence
    assert '\n' not in sentence
    assert describe_doubts(masks[2:]) == []


@pytest.mark.parametrize('n_binary, is_told', [(1, False), (4, False), (5, True), (10, True)])
def test_binary_masks_are_only_told_if_they_are_half_of_a_class(n_binary, is_told):
    masks = [(f'{i}', 3, (BINARY,) if i < n_binary else ()) for i in range(10)]
    assert bool(describe_doubts([*masks, ('other', 1, ())])) == is_told


@pytest.mark.parametrize('folder', ['hw3_sample', 'hw3', 'consep'])
def test_no_published_mask_is_doubted(real_data, folder):
    for image in sorted((real_data / folder / 'train').iterdir())[:8]:
        for number, path in class_files(image).items():
            label_map = read_label_map(path)
            assert not label_map.any() or doubts_of(label_map, number) == [], path
