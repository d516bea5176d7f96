"""Repairs of annotation files: what is changed, what is left out, and what is refused."""

import json
import re

import numpy as np
import pytest
from support.coco_files import HEIGHT, NAN, ODD_VALUES, RUNS, WIDTH, coco_document, square, write_coco
from support.commands import call

from mmcell.annotations.coco_json import AnnotationError, read_annotations, write_documents
from mmcell.annotations.coco_repair import repair
from mmcell.annotations.polygon_repair import cut_polygon
from mmcell.masks.rle import areas_px


def cells(**values):
    """Returns a function that changes each annotation; a value may be a function of the annotation."""
    def change(document):
        for annotation in document['annotations']:
            annotation.update({key: value(annotation) if callable(value) else value for key, value in values.items()})
    return change


def remove(section, key):
    return lambda document: [record.pop(key) for record in document[section]]


def zero_based(document):
    for category in document['categories']:
        category['id'] -= 1
    cells(category_id=lambda a: a['category_id'] - 1, id=lambda a: a['id'] - 1)(document)


def named_ids(document):
    document['images'][0]['id'] = 'slide_7'
    cells(image_id='slide_7')(document)


def with_supercategory(document):
    for category in document['categories']:
        category['supercategory'] = 'cells'
    document['categories'].insert(0, {'id': 0, 'name': 'cells', 'supercategory': 'none'})


@pytest.mark.parametrize('change, lines', [
    (lambda d: None, []),
    (zero_based, ['2 categories: id numbered from 1 in the order of the file',
                  '4 annotations: category_id changed with the ids of categories, or written as a whole number',
                  '4 annotations: id numbered from 1 in the order of the file']),
    (named_ids, ['1 images: id numbered from 1 in the order of the file',
                 '4 annotations: image_id changed with the ids of images, or written as a whole number']),
    (with_supercategory, ['1 categories: the super-category of all others, without a cell, is left out']),
    (cells(id=lambda a: float(a['id'])), ['4 annotations: id numbered from 1 in the order of the file']),
    (cells(category_id=lambda a: float(a['category_id']), image_id='5'),
     ['4 annotations: image_id changed with the ids of images, or written as a whole number',
      '4 annotations: category_id changed with the ids of categories, or written as a whole number']),
    (lambda d: d['images'][0].update(height='40', width=60.),
     ['1 images: height written as a whole number', '1 images: width written as a whole number']),
    (remove('images', 'height'), ['1 images: height and width taken from the image file']),
    (lambda d: d['images'][0].update(file_name='.\\a.tif'), ['1 images: backslashes in file_name replaced']),
    (remove('annotations', 'area'), ['4 annotations: area taken from the mask']),
    (cells(area=-1), ['4 annotations: area taken from the mask']),
    (cells(bbox=[NAN] * 4), ['4 annotations: bbox taken from the mask']),
    (cells(bbox=lambda a: [a['bbox'][0], 5, 10, 30]), ['4 annotations: bbox taken from the mask']),
    (cells(bbox=lambda a: [a['bbox'][0], 10, a['bbox'][0] + 10, 20]), ['4 annotations: bbox taken from the mask']),
    (cells(area='100', bbox=[0, 35, 3, 3]),
     ['4 annotations: area taken from the mask', '4 annotations: bbox taken from the mask']),
    (cells(iscrowd='0'), ['4 annotations: iscrowd written as a whole number']),
    (remove('annotations', 'iscrowd'), ['4 annotations: iscrowd added']),
    (cells(segmentation=lambda a: a['segmentation'][0]),
     ['4 annotations: lists of points written as x1, y1, x2, y2, …']),
    (cells(segmentation=lambda a: np.reshape(a['segmentation'][0], (4, 2)).tolist()),
     ['4 annotations: lists of points written as x1, y1, x2, y2, …']),
    (cells(segmentation=lambda a: [np.reshape(a['segmentation'][0], (4, 2)).tolist()]),
     ['4 annotations: lists of points written as x1, y1, x2, y2, …']),
    (cells(segmentation=lambda a: [list(map(str, a['segmentation'][0]))]),
     ['4 annotations: polygons with numbers as text written as numbers']),
    (cells(segmentation=lambda a: [*a['segmentation'], [1, 1], [3, 3, 9, 9]]),
     ['4 annotations: polygons of fewer than three points left out']),
    (lambda d: d['annotations'][0].update(segmentation=RUNS), ['1 annotations: run lengths of RLEs compressed']),
    (lambda d: d['annotations'][0].update(segmentation={**RUNS, 'counts': list(map(float, RUNS['counts']))}),
     ['1 annotations: run lengths of RLEs written as whole numbers', '1 annotations: run lengths of RLEs compressed']),
])
def test_what_needs_no_guess_is_repaired(tmp_path, change, lines):
    document = coco_document()
    change(document)
    before = repr(document)
    write_coco(tmp_path, document)
    repaired, repairs, left_out = repair(document, tmp_path, drop_crowds=False)
    assert repairs == lines and left_out == [] and repr(document) == before
    write_documents({tmp_path / 'new.json': repaired})
    read, expected = read_annotations(tmp_path / 'new.json'), coco_document()
    assert areas_px([a['segmentation'] for a in read['annotations']]).tolist() == [100] * 4
    for key in ('id', 'category_id', 'area', 'bbox', 'iscrowd'):
        assert [a[key] for a in read['annotations']] == [a[key] for a in expected['annotations']]
    assert [category['name'] for category in read['categories']] == ['round', 'flat']
    assert [(image['height'], image['width']) for image in read['images']] == [(HEIGHT, WIDTH)]


def test_what_cannot_be_repaired_is_left_out_and_counted(tmp_path):
    document = coco_document()
    one, two, three, four = document['annotations']
    one.update(iscrowd=1)
    two.update(segmentation=square(500, 500))
    three.update(segmentation=[[NAN] * 6])
    document['images'].append({'id': 8, 'file_name': 'b.tif', 'height': None, 'width': 3})
    document['annotations'] += [{**four, 'id': 9, 'image_id': 8}, {**four, 'id': 10, 'image_id': 77}, 'x',
                                {**four, 'id': 11, 'iscrowd': 2}]
    path = write_coco(tmp_path, document)
    repaired, _, left_out = repair(document, path.parent, drop_crowds=True)
    assert [annotation['id'] for annotation in repaired['annotations']] == [4]
    assert [image['id'] for image in repaired['images']] == [5]
    kinds = {line.partition(';')[0] for line in left_out}
    assert kinds == {
        '1 of 2 images: height and width are not whole numbers above 0',
        '1 of 8 annotations: it is a region that is not annotated cell by cell (iscrowd), which is not measured',
        '1 of 8 annotations: the mask has no pixel in its image',
        '1 of 8 annotations: a polygon has coordinates that no image has (NaN, or beyond 1,000,000 px)',
        '1 of 8 annotations: image_id is not the id of one of the images',
        '1 of 8 annotations: it is not an object with keys',
        '1 of 8 annotations: iscrowd is neither 0 nor 1',
        '1 annotations: their image is left out'}
    assert len(repair(document, path.parent, drop_crowds=False)[0]['annotations']) == 2


@pytest.mark.parametrize('change, message', [
    (lambda d: d['categories'][0].update(name='flat'), 'cannot be repaired without a guess.*2 of 2 categories'),
    (lambda d: d['categories'][0].update(id=2.), '1 ids of categories are used more than once, the first is 2'),
    (lambda d: d['images'].append(dict(d['images'][0], id='5')), '1 ids of images are used more than once'),
    (lambda d: d['images'][0].update(file_name=7), 'no image with its annotations would be.*file_name is not a name'),
])
def test_files_that_need_a_guess_are_refused(tmp_path, change, message):
    document = coco_document()
    change(document)
    write_coco(tmp_path, document)
    with pytest.raises(AnnotationError, match=f'(?s){message}'):
        repair(document, tmp_path, drop_crowds=False)


@pytest.mark.parametrize('is_rle', [False, True])
def test_exchanged_sides_are_repaired_only_if_the_masks_have_the_size_of_the_file(tmp_path, is_rle):
    document = coco_document()
    if is_rle:
        document['annotations'] = [dict(document['annotations'][0], segmentation=RUNS)]
    document['images'][0].update(height=WIDTH, width=HEIGHT)
    path = write_coco(tmp_path, document)
    if is_rle:
        assert '1 images: height and width taken from the image file' in repair(document, path.parent, False)[1]
    else:
        with pytest.raises(AnnotationError, match='height and width exchanged'):
            repair(document, path.parent, drop_crowds=False)
        document['annotations'] = document['annotations'][:2]
        assert repair(document, None, drop_crowds=False)[2] == []


def test_polygons_that_reach_too_far_are_cut_at_the_borders(tmp_path):
    document = coco_document()
    document['annotations'][0]['segmentation'] = [[30, 20, 3e9, 20, 3e9, 5e9, 30, 5e9]]
    document['annotations'][1]['segmentation'] = [[3e9, 3e9, 4e9, 3e9, 4e9, 4e9]]
    write_coco(tmp_path, document)
    repaired, repairs, left_out = repair(document, tmp_path, drop_crowds=False)
    cut = repaired['annotations'][0]
    assert (cut['area'], cut['bbox']) == ((WIDTH - 30) * (HEIGHT - 20), [30, 20, WIDTH - 30, HEIGHT - 20])
    assert '2 annotations: polygons that reach far beyond the image cut at its borders' in repairs
    assert [line[:52] for line in left_out] == ['1 of 4 annotations: the segmentation has no polygon;']


def test_cut_polygons_by_hand():
    triangle = np.array([[-10., 5.], [10., 5.], [10., 25.]])
    # The hypotenuse y = x + 15 crosses x = 0 at y = 15 and y = 20 at x = 5.
    corners = {tuple(point) for point in cut_polygon(triangle, height=20, width=50).tolist()}
    assert corners == {(0., 5.), (10., 5.), (10., 20.), (5., 20.), (0., 15.)}
    inside = np.array([[1., 1.], [5., 1.], [3., 4.]])
    np.testing.assert_array_equal(cut_polygon(inside, 20, 50), inside)
    assert cut_polygon(inside + 100, 20, 50).shape == (0, 2)


def test_whatever_a_file_holds_its_repaired_copy_is_accepted_or_it_is_refused(tmp_path):
    n_repaired = 0
    for section in ('images', 'categories', 'annotations'):
        for key in coco_document()[section][0]:
            for value in ODD_VALUES:
                document = coco_document()
                document[section][0][key] = value
                write_coco(tmp_path, coco_document())
                try:
                    repaired = repair(document, tmp_path, drop_crowds=True)[0]
                except AnnotationError:
                    continue
                write_documents({tmp_path / 'new.json': repaired})
                assert len(read_annotations(tmp_path / 'new.json', crowds_allowed=False)['annotations']) in (3, 4)
                n_repaired += 1
    assert n_repaired > 150


def run(*arguments):
    ended = call('data_prep/repair_coco.py', *arguments)
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_writes_a_new_file_that_names_the_folder_of_its_images(tmp_path):
    document = coco_document()
    zero_based(document)
    document['images'][0].pop('width')
    (tmp_path / 'images').mkdir()
    old = write_coco(tmp_path / 'images', document)
    new = tmp_path / 'ann' / 'new.json'
    status, printed, _ = run(old, '--out', new, '--images', tmp_path / 'images')
    assert status == 0 and 'repaired: 1 images: height and width taken from the image file\n' in printed
    assert printed.endswith(f'wrote 1 images and 4 annotations to {new}\n')
    assert json.loads(old.read_text()) == document
    assert read_annotations(new)['info'] == {'data_root': '../images'}
    # The folder is then known from the file, wherever it is repaired to.
    status, printed, _ = run(new, '--out', tmp_path / 'again.json')
    assert status == 0 and printed.startswith('repaired: nothing\nwrote 1 images')
    assert read_annotations(tmp_path / 'again.json')['info'] == {'data_root': 'images'}


@pytest.mark.parametrize('arguments, status, message', [
    (['file.json', '--out', 'new.json'], 1, 'error: file.json: no image with its annotations would.*--images'),
    (['file.json', '--out', 'file.json'], 2, '--out must be another file'),
    (['file.json', '--out', '.'], 2, 'is a folder'),
    (['file.json', '--out', 'new.json', '--images', 'nowhere'], 2, 'no folder nowhere'),
    (['a.tif', '--out', 'new.json'], 1, 'error: a.tif: is not'),
    (['none.json', '--out', 'new.json'], 1, 'error: no annotation file none.json'),
])
def test_the_command_says_why_it_wrote_nothing(tmp_path, monkeypatch, arguments, status, message):
    document = coco_document()
    document['images'][0].pop('width')
    write_coco(tmp_path, document)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    found = run(*arguments)
    assert found[0] == status
    assert re.search(f'(?s){message}', found[2]), found[2]
    assert sorted(tmp_path.iterdir()) == before
