"""Annotation files as arrays."""

import json

import numpy as np
import pytest
from support.disc_cells import CELLS, EMPTY, RECTANGLE_RLE, RECTANGLE_RUNS, SIZE, ground_truth

from mmcell.annotations.coco_json import AnnotationError, categories
from mmcell.annotations.ground_truth import read_ground_truth, read_true_cells, to_ground_truth


def write(folder, document):
    path = folder / 'a.json'
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize('mask', [
    {'size': list(SIZE), 'counts': RECTANGLE_RUNS}, [[10, 5, 14, 5, 14, 8, 10, 8]], [
        [10, 5, 12, 5, 12, 8, 10, 8], [12, 5, 14, 5, 14, 8, 12, 8]]])
def test_listed_run_lengths_and_polygons_are_masks_too(tmp_path, mask):
    document = ground_truth()
    document['annotations'][0] = dict(id=1, image_id=3, category_id=1, segmentation=mask)
    truth = read_ground_truth(write(tmp_path, document))
    assert truth.rles[0] == RECTANGLE_RLE and truth.areas_px[0] == 12 and truth.boxes_xywh[0].tolist() == [10, 5, 4, 3]


def test_a_file_is_read_into_arrays_image_after_image(tmp_path):
    document = {**ground_truth(), 'info': {'data_root': '../raw', 'channel_order': 'bgr'}}
    document['annotations'][0]['image_id'] = 8
    path = write(tmp_path, document)
    truth = read_ground_truth(path)
    assert truth.image_ids == [3, 8] and truth.sizes.tolist() == [[30, 40]] * 2 and truth.class_names == ['a', 'b', 'c']
    assert truth.image_index.tolist() == [0, 0, 1] and truth.class_index.tolist() == [0, 1, 1]
    assert truth.rles == [CELLS.rles[1], CELLS.rles[2], CELLS.rles[0]] and truth.annotation_ids.tolist() == [2, 3, 1]
    assert truth.areas_px.tolist() == CELLS.areas_px[[1, 2, 0]].tolist() and not truth.is_crowd.any()
    assert truth.boxes_xywh.tolist() == CELLS.bboxes_xywh[[1, 2, 0]].tolist()
    assert truth.count_by_class(truth.class_index) == {'a': 1, 'b': 2, 'c': 0}
    source = truth.image_source(1)
    assert (source.path, source.channel_order) == (tmp_path / '../raw' / 'train/8/image.tif', 'bgr')


def test_some_images_have_their_cells_and_places_of_their_own():
    document = ground_truth()
    document['annotations'][0]['image_id'] = 8
    truth = to_ground_truth(document).of_images(np.array([False, True]))
    assert truth.image_ids == [8] and truth.file_names == ['train/8/image.tif'] and truth.sizes.tolist() == [[30, 40]]
    assert truth.image_index.tolist() == [0] and truth.rles == CELLS.rles[:1] and truth.place_of_image == {8: 0}
    assert truth.annotation_ids.tolist() == [1]


@pytest.mark.parametrize('change, message', [
    (lambda d: d.update(annotations=[]), 'no true cell to measure against in its 2 images.*tools/submit.py'),
    (lambda d: d.update(images=[], annotations=[]), 'contains no image'),
    (lambda d: d['annotations'][0].update(id=0), '1 of 3 annotations: id is not a whole number from 1 to'),
    (lambda d: d['categories'][0].update(id=0), '1 of 3 categories: id is not a whole number from 1 to'),
    (lambda d: d['annotations'][0].update(image_id=4), 'image_id is not the id of one of the images; .*: 4'),
    (lambda d: d['annotations'][0].update(iscrowd=1), '(?s)cell by cell .iscrowd.*--drop-crowds'),
    (lambda d: d['annotations'][0].update(area='49'), "area is not a number of px above 0; .*: '49'"),
    (lambda d: d['annotations'][0].update(bbox=[1, 2, 3]), r'bbox is not x, y, width, height in px; .*: \[1, 2, 3\]'),
    (lambda d: d['annotations'].append(4), '1 of 4 annotations: it is not an object'),
    (lambda d: d['categories'][0].pop('name'), '1 of 3 categories: name is not a text'),
    (lambda d: d['images'][0].pop('height'), r'1 of 2 images: height and width are .*: \[None, 40\]'),
    (lambda d: d['images'][0].update(height=40, width=30),
     r"3 of 3 annotations: the mask size .*; first annotation 1 of image 'train/3/image.tif': \[30, 40\]"),
    (lambda d: d['annotations'][1].update(segmentation={'size': list(SIZE), 'counts': '5'}),
     '1 of 3 annotations: the RLE cannot be decoded; first annotation 2 .*cover 5 pixels'),
    (lambda d: d['annotations'][1].pop('segmentation'), 'neither an RLE'),
    (lambda d: d['annotations'][1].update(segmentation=EMPTY),
     '1 of 3 annotations: the mask has no pixel in its image; first annotation 2'),
    (lambda d: d.update(images=None), "images must be a list, got None"),
    (lambda d: d.pop('images'), 'images must be a list, but is missing'),
    (lambda d: d.update(categories=[]), 'has no category; at least one'),
    (lambda d: d.update(info={'channel_order': 'gbr'}), "info.channel_order must be one of .* got 'gbr'"),
])
def test_each_fault_of_the_ground_truth_is_named(tmp_path, change, message):
    document = ground_truth()
    change(document)
    with pytest.raises(AnnotationError, match=message):
        read_ground_truth(write(tmp_path, document))


@pytest.mark.parametrize('path, image, expected', [
    ('annotations/val.json', 'train/a/image.tif', False),
    ('annotations/test.json', 'train/a/image.tif', True),
    ('annotations/my_Test2017.json', 'train/a/image.tif', True),
    ('test/latest.json', 'train/test_1/image.tif', False),
    ('val.json', 'test_release/a.tif', True),
    ('val.json', 'images/Test/a.tif', True),
    ('val.json', 'test.tif', False),
])
def test_files_that_say_that_they_are_test_data(path, image, expected):
    document = dict(images=[dict(id=1, file_name=image, height=1, width=1)], categories=categories(['a']),
                    annotations=[])
    assert to_ground_truth(document, path).is_test_data() is expected


def test_images_without_cells_can_be_read_but_not_measured(tmp_path):
    path = write(tmp_path, {**ground_truth(), 'annotations': []})
    truth = read_true_cells(path)
    assert truth.rles == [] and truth.boxes_xywh.shape == (0, 4) and truth.image_ids == [3, 8]
