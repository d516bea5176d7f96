"""Annotation files with what is measured on their images."""

import json

import numpy as np
import pytest
import tifffile
from support.coco_files import coco_document, write_coco

from mmcell.inspection.defects import find_defects
from mmcell.inspection.findings import Finding
from mmcell.inspection.sets import inspect_sets


def test_each_image_is_measured_once_for_all_files_that_list_it(tmp_path):
    paths = [write_coco(tmp_path, coco_document(), name) for name in ('train.json', 'trainval.json')]
    train, trainval = inspect_sets(paths)
    assert (train.name, trainval.name) == ('train', 'trainval')
    assert train.images[0] is trainval.images[0]
    assert train.truth.annotation_ids.tolist() == [1, 2, 3, 4]


def test_places_name_the_image_and_the_cell(tmp_path):
    document = coco_document()
    document['annotations'].reverse()
    inspected, = inspect_sets([write_coco(tmp_path, document)])
    place = inspected.place(0, inspected.cells_of(0)[1], detail='small')
    assert (place.file_name, place.cell_id, place.class_name, place.detail) == ('a.tif', 3, 'flat', 'small')
    assert inspected.place(0).cell_id is None


def test_images_that_cannot_be_used_are_findings(tmp_path):
    document = coco_document()
    document['images'] += [{'id': 6, 'file_name': 'none.tif', 'height': 4, 'width': 5},
                           {'id': 7, 'file_name': 'bad.tif', 'height': 4, 'width': 5},
                           {'id': 8, 'file_name': 'large.tif', 'height': 4, 'width': 5}]
    (tmp_path / 'bad.tif').write_bytes(b'II*\0 nothing')
    tifffile.imwrite(tmp_path / 'large.tif', np.zeros((8, 9), np.uint8))
    inspected, = inspect_sets([write_coco(tmp_path, document)])
    assert [image is None for image in inspected.images] == [False, True, True, True]
    finding = next(finding for finding in find_defects([inspected]) if finding.kind == 'unusable-images')
    assert finding.level == 'error' and finding.sentence.startswith('3 of 4 images')
    assert [place.file_name for place in finding.places] == ['none.tif', 'bad.tif', 'large.tif']
    assert '9 x 8 px' in finding.places[2].detail


def test_files_of_the_same_name_are_told_apart(tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
    paths = [write_coco(tmp_path / folder, coco_document()) for folder in ('a', 'b')]
    assert [part.name for part in inspect_sets(paths)] == ['a/file', 'b/file']
    assert [part.name for part in inspect_sets([paths[0], paths[0]])] == ['file 1', 'file 2']


def test_an_image_with_other_cells_is_measured_again(tmp_path):
    first, second = coco_document(), coco_document()
    del second['annotations'][0]
    sets = inspect_sets([write_coco(tmp_path, first, 'x.json'), write_coco(tmp_path, second, 'y.json')])
    assert sets[0].images[0] is not sets[1].images[0]


def test_findings_have_a_known_level():
    with pytest.raises(ValueError, match='level'):
        Finding('x', 'fatal', 'x')


def test_annotation_ids_go_with_their_cells(tmp_path):
    document = coco_document()
    document['images'].insert(0, {'id': 9, 'file_name': 'b.tif', 'height': 40, 'width': 60})
    document['annotations'][2]['image_id'] = 9
    path = write_coco(tmp_path, document)
    inspected, = inspect_sets([path])
    assert inspected.truth.annotation_ids.tolist() == [3, 1, 2, 4]
    assert json.loads(path.read_text())['annotations'][0]['id'] == 1
