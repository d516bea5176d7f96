"""Annotation files: one check for all that reads them, of every record, with one message."""

import json
import multiprocessing
import re

import cv2
import numpy as np
import pytest
import tifffile
from mmdet.registry import DATASETS
from support.coco_files import HEIGHT, NAN, ODD_VALUES, RUNS, WIDTH, coco_document, square, write_coco

from mmcell.annotations.coco_json import AnnotationError, check_image_files, read_annotations, write_documents
from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.masks.rle import areas_px
from mmcell.predictions.submission import read_test_set

PIPELINE = [dict(type='mmdet.LoadTiff'), dict(type='mmdet.LoadCellAnnotations'), dict(type='mmdet.PackCellInputs')]


def train_on(path):
    return DATASETS.build(dict(type='CellDataset', ann_file=str(path), data_prefix=dict(img=str(path.parent)),
                               pipeline=PIPELINE))


def change_first(section, **values):
    """Returns a function that changes the first record of a section; the value ``...`` removes a key."""
    def change(document):
        record = document[section][0]
        record.update(values)
        for key in [key for key, value in values.items() if value is ...]:
            del record[key]
    return change


def cell(**values):
    return change_first('annotations', **values)


@pytest.mark.parametrize('change', [
    lambda d: None, cell(area=...), cell(area=None), cell(bbox=...), cell(bbox=None), cell(bbox=[0, 0, 0, 0]),
    cell(bbox=[12, 10, .5, 10]), cell(iscrowd=...), cell(iscrowd=None), cell(iscrowd=False), cell(iscrowd=0.),
    cell(ignore=0), cell(area=...), cell(area=99.5), cell(segmentation=RUNS),
    cell(segmentation={**RUNS, 'size': [float(side) for side in RUNS['size']]}),
    cell(segmentation=[square(12, 10)[0][:4], *square(12, 10)]), cell(id=2 ** 63 - 1), cell(comment={'a': ['b']}),
    lambda d: d.update(info=None, licenses=[]),
    lambda d: ([image.update(id=0) for image in d['images']], [a.update(image_id=0) for a in d['annotations']]),
])
def test_what_coco_leaves_open_gives_the_same_cells_to_training_and_evaluation(tmp_path, change):
    document = coco_document()
    change(document)
    path = write_coco(tmp_path, document)
    measured = read_ground_truth(path)
    trained = train_on(path)[0]['data_samples'].gt_instances
    assert measured.boxes_xywh.tolist() == [[12 * number, 10, 10, 10] for number in (1, 2, 3, 4)]
    assert not measured.is_crowd.any()
    assert areas_px(measured.rles).tolist() == [100] * 4
    assert set(measured.areas_px.tolist()) <= {100, 99.5}
    assert measured.class_index.tolist() == trained.labels.tolist()
    assert trained.masks.areas.tolist() == [100] * 4
    assert trained.bboxes.tensor.tolist() == [[12 * number, 10, 12 * number + 10, 20] for number in (1, 2, 3, 4)]


@pytest.mark.parametrize('bbox', [
    [12, 10, 10, 19.9],  # the IoU is just above one half
    [14, 12, 6, 6],  # the IoU is below one half, but no side differs by more than 2 px
    [12, 10, 10, 10],
])
def test_a_box_about_its_mask_is_kept(tmp_path, bbox):
    document = coco_document()
    document['annotations'][0].update(bbox=bbox)
    assert read_annotations(write_coco(tmp_path, document))['annotations'][0]['bbox'] == bbox


def test_a_box_is_not_compared_with_its_mask_outside_of_the_image(tmp_path):
    document = coco_document()
    bbox = [WIDTH - 6, 10, 60, 10]
    document['annotations'][0].update(bbox=bbox, segmentation=[[WIDTH - 6, 10, WIDTH + 54, 10, WIDTH + 54, 20,
                                                                WIDTH - 6, 20]])
    assert read_annotations(write_coco(tmp_path, document))['annotations'][0]['bbox'] == bbox


@pytest.mark.parametrize('change, message', [
    (cell(id=0), '1 of 4 annotations: id is not a whole number from 1 to .*; first annotation 0 of image .a.tif.: 0'),
    (cell(id=True), 'id is not .*: True'),
    (cell(id='1'), "id is not .*: '1'"),
    (cell(id=1.), 'id is not .*: 1.0'),
    (cell(id=2 ** 63), 'id is not .*: 9223372036854775808'),
    (cell(id=...), 'id is not .*; first annotation no. 1 in the list of image .a.tif.: None'),
    (cell(id=3), '2 of 4 annotations: the id is not unique; .*: 2 have it'),
    (cell(image_id=7), 'image_id is not the id of one of the images; first annotation 1: 7'),
    (cell(image_id='5'), "image_id is not .*: '5'"),
    (cell(category_id=1.), 'category_id is not the id of one of the categories; .*: 1.0'),
    (cell(iscrowd='0'), "iscrowd is neither 0 nor 1; .*: '0'"),
    (cell(iscrowd=2), 'iscrowd is neither'),
    (cell(area=0), 'area is not a number of px above 0; .*: 0'),
    (cell(area=NAN), 'area is not'),
    (cell(area='100'), 'area is not'),
    (cell(bbox=[12, 10, 10]), 'bbox is not x, y, width, height in px'),
    (cell(bbox=[12, 10, -10, 10]), 'bbox is not'),
    (cell(bbox=[NAN, 10, 10, 10]), 'bbox is not'),
    (cell(bbox=[-1e300, 10, 2e300, 10]), 'bbox is not'),
    (cell(bbox={'x': 1}), 'bbox is not'),
    (cell(bbox=[12, 10, 22, 20]), 'bbox is x1, y1, x2, y2 in .*: .12, 10, 22, 20. for a mask in .12, 10, 10, 10'),
    (cell(bbox=[40, 30, 10, 10]), 'bbox lies elsewhere than the mask'),
    (cell(bbox=[12, 10, 10, 20.1]), 'less than half in common with .*: .12, 10, 10, 20.1. for a mask in .12, 10, 10,'),
    (cell(segmentation=...), 'neither an RLE'),
    (cell(segmentation=[]), 'has no polygon'),
    (cell(segmentation=square(12, 10)[0]), 'a polygon is not a list of numbers'),
    (cell(segmentation=[[12, 10, 22, 20]]), 'all polygons have fewer than three points'),
    (cell(segmentation=square(NAN, 10)), 'coordinates that no image has'),
    (cell(segmentation=square(200, 10)), 'the mask has no pixel in its image'),
    (cell(segmentation=[[1, 1, 5, 5, 9, 9]]), 'the mask has no pixel'),
    (cell(segmentation={**RUNS, 'size': [WIDTH, HEIGHT]}), 'the mask size is not .*: .60, 40. in place of .40, 60.'),
    (cell(segmentation={**RUNS, 'counts': RUNS['counts'][:-1]}), 'the RLE cannot be decoded'),
    (lambda d: d['annotations'].append('x'), "1 of 5 annotations: it is not an object with keys; .*: 'x'"),
    (change_first('images', id=None), '1 of 1 images: id is not a whole number from 0'),
    (change_first('images', id=-5), 'id is not a whole number from 0'),
    (change_first('images', file_name=...), 'file_name is not a name'),
    (change_first('images', file_name='zelle_\udce4.tif'), r"file_name is not a name.*'zelle_\\udce4.tif'"),
    (change_first('images', file_name='a\0.tif'), 'file_name is not a name'),
    (lambda d: d['images'].append({**d['images'][0], 'id': 77}),
     "2 of 2 images: the file_name is not unique; .*: 'a.tif'"),
    (change_first('images', height='40'), "height and width are not whole numbers above 0; .*: .'40', 60"),
    (change_first('images', width=True), 'height and width are not'),
    (change_first('images', width=10 ** 9), 'more than 2.31 - 1 px'),
    (change_first('categories', id=0), '1 of 2 categories: id is not a whole number from 1'),
    (change_first('categories', id=2), '2 of 2 categories: the id is not unique'),
    (change_first('categories', name='flat'), "2 of 2 categories: the name is not unique; first category 1: 'flat'"),
    (change_first('categories', name=' '), 'name is not a text'),
    (change_first('categories', name='\ud83e'), 'name is not a text'),
    (lambda d: d.update(categories=[]), 'has no category'),
    (lambda d: d.update(annotations={}), 'annotations must be a list, got {}'),
    (lambda d: d.pop('categories'), 'categories must be a list, but is missing'),
    (lambda d: d.update(info={'data_root': 7}), 'info.data_root must be the path of a folder, got 7'),
])
def test_training_evaluation_and_submission_refuse_a_file_with_the_same_message(tmp_path, change, message):
    document = coco_document()
    change(document)
    path = write_coco(tmp_path, document)
    texts = []
    for read in (train_on, read_annotations, read_test_set):
        with pytest.raises(AnnotationError, match=message) as error:
            read(path)
        texts.append(str(error.value))
    assert len(set(texts)) == 1 and len(texts[0]) < 900
    with pytest.raises(AnnotationError, match=message):
        read_ground_truth(path)


def test_all_problems_are_counted_at_once_and_the_command_is_named(tmp_path):
    document = coco_document()
    for annotation in document['annotations'][:3]:
        annotation.update(area=-1, bbox=[1, 2])
    document['annotations'][3]['segmentation'] = [[1, 2]]
    document['categories'][0]['name'] = ''
    path = write_coco(tmp_path, document, 'my file.json')
    with pytest.raises(AnnotationError) as error:
        read_annotations(path)
    first, *problems, last = str(error.value).splitlines()
    assert first == f'{path}: cannot be used'
    assert [line.partition(';')[0] for line in problems] == [
        '1 of 2 categories: name is not a text that UTF-8 can hold',
        '3 of 4 annotations: area is not a number of px above 0',
        '3 of 4 annotations: bbox is not x, y, width, height in px',
        '1 of 4 annotations: all polygons have fewer than three points']
    assert last.endswith(f"python data_prep/repair_coco.py '{path}' --out '{tmp_path}/my file_repaired.json'")


def test_regions_that_are_no_cells_are_kept_for_training_and_refused_by_evaluation(tmp_path):
    document = coco_document()
    document['annotations'][0]['iscrowd'] = 1
    document['annotations'][1]['ignore'] = True
    path = write_coco(tmp_path, document)
    sample = train_on(path)[0]['data_samples']
    assert len(sample.gt_instances) == len(sample.ignored_instances) == 2
    with pytest.raises(AnnotationError, match=r'(?s)\(iscrowd\).*\(ignore\).*--drop-crowds'):
        read_ground_truth(path)


def read_odd_values(folder):
    """Reads files in which each key of a record has each odd value, and samples of those that are accepted."""
    n_accepted = 0
    for section in ('images', 'categories', 'annotations'):
        for key in coco_document()[section][0]:
            for value in ODD_VALUES:
                document = coco_document()
                document[section][0][key] = value
                path = write_coco(folder, document)
                try:
                    annotations = read_annotations(path)['annotations']
                except AnnotationError as error:
                    assert 'Error' not in str(error) and len(str(error)) < 1200, error
                    continue
                assert len(annotations) == 4
                if key != 'file_name':
                    sample = train_on(path)[0]['data_samples']
                    assert len(sample.gt_instances) + len(sample.ignored_instances) == 4
                n_accepted += 1
    assert n_accepted >= 20


def test_no_odd_value_of_any_key_ends_in_another_error_or_a_signal(tmp_path):
    process = multiprocessing.get_context('fork').Process(target=read_odd_values, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_names_of_any_script_pass_through_files_in_any_encoding(tmp_path, encoding):
    name, file_name = '\U0001f9ab \u7d30\u80de \u00e4', '\U0001d538\u00e9.tif'
    document = coco_document()
    document['categories'][0]['name'], document['images'][0]['file_name'] = name, file_name
    path = write_coco(tmp_path, document)
    (tmp_path / 'a.tif').rename(tmp_path / file_name)
    path.write_bytes(json.dumps(document, ensure_ascii=False).encode(encoding))
    dataset = train_on(path)
    assert dataset.metainfo['classes'][0] == name and dataset[0]['data_samples'].img_path.endswith(file_name)
    truth = read_ground_truth(path)
    assert truth.count_by_class(truth.class_index)[name] == 2
    document = read_annotations(path)
    write_documents({tmp_path / 'again.json': document})
    assert read_annotations(tmp_path / 'again.json') == document


def test_a_name_that_is_not_unicode_is_not_written_and_the_old_file_stays(tmp_path):
    document = coco_document()
    write_documents({tmp_path / 'a.json': document})
    document['images'][0]['file_name'] = 'zelle_\udce4.tif'
    with pytest.raises(AnnotationError, match=r'a.json: cannot be written: .*zelle_\\udce4.*rename'):
        write_documents({tmp_path / 'a.json': document})
    assert read_annotations(tmp_path / 'a.json')['images'] == coco_document()['images']
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


@pytest.mark.parametrize('size, message', [
    ((HEIGHT, WIDTH + 1), 'another size; first image 5 .*: 60 x 40 px here, 61 x 40 px in '),
    ((WIDTH, HEIGHT), 'has height and width exchanged'),
])
def test_sizes_are_compared_with_the_image_files(tmp_path, size, message):
    path = write_coco(tmp_path, coco_document(), size=size)
    with pytest.raises(AnnotationError, match=f'(?s)1 of 1 images: .*{message}'):
        train_on(path)


def test_every_image_that_does_not_fit_is_counted(tmp_path):
    document = coco_document()
    document['images'] = [dict(document['images'][0], id=number, file_name=f'{number}.png') for number in range(1, 7)]
    document['annotations'] = []
    path = write_coco(tmp_path, document)
    for number in range(1, 7):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.zeros((HEIGHT, WIDTH + (number > 4)), np.uint8))
    (tmp_path / '2.png').write_text('no image')
    (tmp_path / '3.png').write_bytes(b'II*\0')
    paths = [tmp_path / f'{number}.png' for number in range(1, 7)]
    with pytest.raises(AnnotationError, match='(?s)2 of 6 images: the image file cannot be read; first image 2 .*'
                                              '2 of 6 images: the image file has another size; first image 5 '):
        check_image_files(document, paths, path)
    (tmp_path / '6.png').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 6 images'):
        check_image_files(document, paths, path)


def test_file_names_that_the_system_cannot_hold_are_missing_files(tmp_path):
    document = coco_document()
    document['images'][0]['file_name'] = 'n' * 5000
    with pytest.raises(FileNotFoundError, match='1 of 1 images.{300,700}$'):
        train_on(write_coco(tmp_path, document))


def test_a_file_of_this_project_is_returned_as_it_is(annotation_file):
    assert read_annotations(annotation_file) == json.loads(annotation_file.read_text())


def test_polygons_are_kept_on_request(tmp_path):
    path = write_coco(tmp_path, coco_document())
    assert read_annotations(path, masks_as_rle=False) == coco_document()
    assert re.fullmatch('[0-o]+', read_annotations(path)['annotations'][0]['segmentation']['counts'])


def test_a_tiff_of_several_axes_has_its_size(tmp_path):
    document = coco_document()
    path = write_coco(tmp_path, document)
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((3, HEIGHT, WIDTH), np.uint8), photometric='rgb',
                     planarconfig='separate')
    check_image_files(document, [tmp_path / 'a.tif'], path)
