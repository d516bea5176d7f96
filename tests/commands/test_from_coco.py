"""data_prep/from_coco.py, called in this process; its files are read back with independent libraries."""

import csv
import gzip
import json
import pickle
import zipfile

import cv2
import numpy as np
import pytest
import roifile
import tifffile
import torch
from support.commands import call, convert
from support.synthetic_data import discs

from mmcell.masks.rle import encode_label_map
from mmcell.writers.formats import FORMATS

SHAPE = (50, 70)
NAMES = ['epithelial', 'lymphocyte']
# Cells of each class in two images of the raw layout: (number, y, x, radius).
CELLS = {'a': ([(4, 10, 12, 6), (9, 30, 50, 8)], [(2, 25, 20, 5)]), 'b': ([], [(1, 20, 30, 9), (7, 40, 60, 4)])}


@pytest.fixture
def data(tmp_path):
    """Writes two images in the raw layout, and their annotation files into annotations/; returns the data root."""
    root = tmp_path / 'data'
    for name, cells_of_classes in CELLS.items():
        folder = root / 'train' / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
        tifffile.imwrite(folder / 'image.tif', pixels, photometric='rgb', resolution=(40_000, 40_000),
                         resolutionunit='CENTIMETER')
        for number, cells in enumerate(cells_of_classes, start=1):
            if cells:
                tifffile.imwrite(folder / f'class{number}.tif', discs(SHAPE, cells).astype(np.float64))
    to_coco(root, tmp_path / 'annotations')
    return root


def to_coco(root, out):
    """Converts a data root, and returns the content of trainval.json."""
    converted = convert(root, '--out', out, '--val-ratio', '.5', '--class-names', *NAMES)
    assert converted.returncode == 0, converted.stderr
    return json.loads((out / 'trainval.json').read_text())


def write(tmp_path, *arguments, name='trainval.json'):
    """Calls the command for an annotation file; returns what it printed, after a check of the exit status."""
    ended = call('data_prep/from_coco.py', tmp_path / 'annotations' / name, '--out', tmp_path / 'out', *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended


def refuse(tmp_path, *arguments, status=1):
    """Calls the command, which must fail; returns what it printed on standard error."""
    ended = call('data_prep/from_coco.py', *arguments, '--out', tmp_path / 'out')
    assert ended.returncode == status
    return ended.stderr


def test_true_cells_in_all_formats(tmp_path, data):
    ended = write(tmp_path, '--formats', *FORMATS, 'class-maps')
    assert '5 cells in 2 images written to' in ended.stdout
    assert 'classes: class1 is epithelial, class2 is lymphocyte' in ended.stdout
    out = tmp_path / 'out'
    annotations = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())['annotations']
    for name, image_id in (('a', 1), ('b', 2)):
        own = [annotation for annotation in annotations if annotation['image_id'] == image_id]
        ids = [annotation['id'] for annotation in own]
        classes = [NAMES[annotation['category_id'] - 1] for annotation in own]
        label_map = tifffile.imread(out / f'{name}_labels.tif')
        encoded = encode_label_map(label_map)
        assert encoded.ids.tolist() == ids
        assert np.array_equal(tifffile.imread(out / f'{name}_labels.ome.tif'), label_map)
        assert encoded.rles == [annotation['segmentation'] for annotation in own]
        table = list(csv.DictReader((out / f'{name}_labels.csv').open()))
        assert table == [{'label': str(number), 'class': label} for number, label in zip(ids, classes, strict=True)]
        features = json.loads((out / f'{name}.geojson').read_text())['features']
        assert [(int(feature['properties']['name']), feature['properties']['classification']['name'],
                 feature['properties']['objectType']) for feature in features] == [
            (number, label, 'detection') for number, label in zip(ids, classes, strict=True)]
        assert json.loads(gzip.decompress((out / f'{name}.geojson.gz').read_bytes()))['features'] == features
        # The images state .25 um per pixel.
        assert features[0]['properties']['measurements']['Area um^2'] == own[0]['area'] / 16
        assert [roi.name for roi in roifile.roiread(out / f'{name}_rois.zip')] == [
            f'{number:05}-{label}' for number, label in zip(ids, classes, strict=True)]
        written = json.loads((out / f'{name}_coco.json').read_text())
        assert written['annotations'] == [{**annotation, 'image_id': 1} for annotation in own]
        assert written['info'] == {'data_root': f'../data/train/{name}', 'channel_order': 'rgb'}
        assert cv2.imread(str(out / f'{name}_overlay.png')) is not None
        assert 'score' not in (out / f'{name}_cells.csv').read_text()


def test_class_maps_and_back_give_the_same_bits(tmp_path, data):
    ended = write(tmp_path, '--formats', 'class-maps', '--copy-images')
    assert f"to_coco.py {tmp_path / 'out'} --class-names epithelial lymphocyte" in ended.stdout
    before = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    after = to_coco(tmp_path / 'out', tmp_path / 'again')
    for section in ('images', 'categories', 'annotations'):
        assert after[section] == before[section]
    for path in data.rglob('*.tif'):
        copy = tmp_path / 'out' / path.relative_to(data)
        if path.name == 'image.tif':
            assert copy.read_bytes() == path.read_bytes()
        else:
            assert encode_label_map(tifffile.imread(copy)).rles == encode_label_map(
                tifffile.imread(path).astype(int)).rles
    assert {path.relative_to(data) for path in data.rglob('*')} == {
        path.relative_to(tmp_path / 'out') for path in (tmp_path / 'out').rglob('*')}


def test_a_copied_image_of_another_format_becomes_a_tiff(tmp_path, data):
    pixels = tifffile.imread(data / 'train' / 'a' / 'image.tif')
    cv2.imwrite(str(data / 'x.png'), pixels[:, :, ::-1])
    path = tmp_path / 'annotations' / 'png.json'
    document = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    document['images'] = [{**document['images'][0], 'file_name': 'x.png'}]
    document['annotations'] = [record for record in document['annotations'] if record['image_id'] == 1]
    path.write_text(json.dumps({**document, 'info': {'data_root': '../data'}}))
    write(tmp_path, '--formats', 'class-maps', '--copy-images', name='png.json')
    assert np.array_equal(tifffile.imread(tmp_path / 'out' / 'train' / 'x' / 'image.tif'), pixels)
    assert [record['segmentation'] for record in to_coco(tmp_path / 'out', tmp_path / 'again')['annotations']] == [
        record['segmentation'] for record in document['annotations']]


def test_overlapping_cells_are_painted_and_counted(tmp_path, data):
    path = tmp_path / 'annotations' / 'overlaps.json'
    document = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    # A large and a small cell of class 1, and the small cell again: of equal cells, the first is seen.
    large, small = (encode_label_map(discs(SHAPE, [(1, 20, x, radius)])) for x, radius in ((20, 9), (28, 4)))
    document['annotations'] = [
        {'id': number, 'image_id': 1, 'category_id': category, 'segmentation': cell.rles[0], 'iscrowd': 0,
         'area': int(cell.areas_px[0]), 'bbox': cell.bboxes_xywh[0].tolist()}
        for number, category, cell in ((70_000, 1, large), (5, 1, small), (6, 1, small), (7, 2, large))]
    path.write_text(json.dumps({**document, 'info': {'data_root': '../data'}}))
    ended = write(tmp_path, '--formats', 'labels', 'label-pyramid', 'class-maps', name='overlaps.json')
    for key in ('labels', 'label-pyramid'):
        assert f'note: {key}: 3 cells lost pixels to cells that overlap them, and 2 of these are not' in ended.stderr
    assert 'class-maps: 2 cells lost pixels to cells that overlap them, and 1 of these' in ended.stderr
    label_map = tifffile.imread(tmp_path / 'out' / 'train' / 'a' / 'class1.tif')
    masks = [np.asarray(discs(SHAPE, [(1, 20, x, radius)])) for x, radius in ((20, 9), (28, 4))]
    assert np.array_equal(label_map, np.where(masks[1], 5, np.where(masks[0], 70_000, 0)))


def test_ids_that_label_maps_cannot_hold_are_replaced(tmp_path, data):
    path = tmp_path / 'annotations' / 'ids.json'
    document = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    for record in document['annotations']:
        record['id'] += 2 ** 31
    document['annotations'][0]['iscrowd'] = 1
    path.write_text(json.dumps({**document, 'info': {'data_root': '../data'}}))
    ended = write(tmp_path, '--formats', 'labels', name='ids.json')
    assert 'cells are numbered from 1 in each image' in ended.stderr
    assert 'left out, regions that are not annotated cell by cell (iscrowd): 1' in ended.stderr
    for name in 'ab':
        assert np.unique(tifffile.imread(tmp_path / 'out' / f'{name}_labels.tif')).tolist() == [0, 1, 2]


def test_scale_comes_from_the_annotation_file_first_and_images_may_be_missing(tmp_path, data):
    path = tmp_path / 'annotations' / 'scale.json'
    document = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    for record, mpp in zip(document['images'], (2, 'wide'), strict=True):
        record['mpp'] = mpp
    path.write_text(json.dumps({**document, 'info': {'data_root': '../nowhere'}}))
    ended = write(tmp_path, '--formats', 'csv', name='scale.json')
    assert '2 image files do not exist' in ended.stderr
    rows = list(csv.DictReader((tmp_path / 'out' / 'a_cells.csv').open()))
    assert float(rows[0]['area_um2']) == 4 * int(rows[0]['area_px'])
    assert 'area_um2' not in (tmp_path / 'out' / 'b_cells.csv').read_text()
    assert 'do not exist' in refuse(tmp_path, path, '--formats', 'overlay')


def write_dump(path, samples):
    """Writes a dump as tools/test.py --out does: (image id, scores, labels, label map) of each image."""
    dump = []
    for image_id, scores, labels, label_map in samples:
        encoded = encode_label_map(label_map)
        boxes = torch.as_tensor(encoded.bboxes_xywh, dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        instances = {'scores': torch.tensor(scores), 'labels': torch.tensor(labels), 'bboxes': boxes,
                     'masks': encoded.rles}
        dump.append({'img_id': image_id, 'ori_shape': SHAPE, 'classes': ['lymphocyte', 'epithelial'],
                     'pred_instances': instances})
    path.write_bytes(pickle.dumps(dump))
    return path


def test_predictions_of_a_dump(tmp_path, data):
    cells = discs(SHAPE, [(1, 10, 12, 6), (2, 30, 50, 8), (3, 40, 10, 5)])
    # The model lists the classes in the other order.
    dump = write_dump(tmp_path / 'results.pkl', [(2, [.6, .4, .9], [0, 0, 1], cells)])
    write(tmp_path, '--predictions', dump, '--formats', 'labels', 'coco', 'geojson', '--editable')
    out = tmp_path / 'out'
    assert sorted(path.name for path in out.glob('[!.]*')) == [
        'b.geojson', 'b_coco.json', 'b_labels.csv', 'b_labels.tif']
    assert (out / 'b_labels.csv').read_text().split() == ['label,class,score', '1,lymphocyte,0.6', '2,epithelial,0.9']
    records = json.loads((out / 'b_coco.json').read_text())['annotations']
    assert [record['segmentation'] for record in records] == [encode_label_map(cells).rles[place] for place in (0, 2)]
    assert [(record['id'], record['score']) for record in records] == [(1, pytest.approx(.6)), (2, pytest.approx(.9))]
    assert {feature['properties']['objectType'] for feature in json.loads(
        (out / 'b.geojson').read_text())['features']} == {'annotation'}
    write(tmp_path, '--predictions', dump, '--formats', 'coco', '--score-thr', '0')
    assert len(json.loads((out / 'b_coco.json').read_text())['annotations']) == 3


def test_predictions_of_a_submission(tmp_path, data):
    rle = encode_label_map(discs(SHAPE, [(1, 10, 12, 6)])).rles[0]
    records = [{'image_id': 1, 'category_id': 2, 'score': .7, 'segmentation': rle, 'bbox': [6, 4, 13, 13]}]
    with zipfile.ZipFile(tmp_path / 'submission.zip', 'w') as archive:
        archive.writestr('test-results.json', json.dumps(records))
    ended = write(tmp_path, '--predictions', tmp_path / 'submission.zip', '--formats', 'coco')
    assert 'category ids are taken for those of the annotation file' in ended.stderr
    assert '1 cells in 2 images written' in ended.stdout
    written = json.loads((tmp_path / 'out' / 'a_coco.json').read_text())
    assert [(record['category_id'], record['segmentation']) for record in written['annotations']] == [(2, rle)]
    assert json.loads((tmp_path / 'out' / 'b_coco.json').read_text())['annotations'] == []


def test_only_some_images(tmp_path, data):
    for name in ('b', 'train/b/image.tif'):
        write(tmp_path, '--only', name, '--formats', 'coco')
        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['.b.json', 'b_coco.json']
    assert 'no image is called c; there are a, b' in refuse(
        tmp_path, tmp_path / 'annotations' / 'trainval.json', '--only', 'b', 'c')


def test_several_files_have_different_images_and_the_same_classes(tmp_path, data):
    folder = tmp_path / 'annotations'
    ended = call('data_prep/from_coco.py', folder / 'train.json', folder / 'val.json', '--out', tmp_path / 'out')
    assert ended.returncode == 0 and '5 cells in 2 images' in ended.stdout
    assert 'occurs 2 times in' in refuse(tmp_path, folder / 'train.json', folder / 'trainval.json')
    document = json.loads((folder / 'val.json').read_text())
    document['categories'] = [{'id': 1, 'name': 'lymphocyte'}, {'id': 2, 'name': 'epithelial'}]
    (folder / 'other.json').write_text(json.dumps({**document, 'info': {'data_root': '../data'}}))
    assert "has the classes ['lymphocyte', 'epithelial'], but" in refuse(
        tmp_path, folder / 'train.json', folder / 'other.json')


def test_nothing_is_overwritten_that_is_no_output(tmp_path, data):
    masks = {path: path.read_bytes() for path in data.rglob('*.tif')}
    annotations = tmp_path / 'annotations' / 'trainval.json'
    ended = call('data_prep/from_coco.py', annotations, '--out', data, '--formats', 'class-maps')
    assert ended.returncode == 1 and 'exists already' in ended.stderr
    (data / 'train' / 'a' / 'image.tif').rename(data / 'a_class1.tif')
    document = json.loads(annotations.read_text())
    document['images'] = [{**document['images'][0], 'file_name': 'a_class1.tif'},
                          {**document['images'][1], 'file_name': 'a.tif'}]
    (data / 'file.json').write_text(json.dumps({**document, 'info': {}}))
    ended = call('data_prep/from_coco.py', data / 'file.json', '--out', data, '--formats', 'class-labels')
    assert ended.returncode == 1 and 'would be overwritten by an output' in ended.stderr
    assert all((data / 'a_class1.tif' if path.parent.name == 'a' and path.name == 'image.tif' else path).read_bytes()
               == content for path, content in masks.items())


def test_files_that_mmcell_did_not_write_are_not_overwritten(tmp_path, data):
    annotations = tmp_path / 'annotations' / 'trainval.json'
    (tmp_path / 'out').mkdir()
    drawn = tmp_path / 'out' / 'b_labels.tif'
    drawn.write_text('drawn by hand')
    assert f'{drawn} would be overwritten' in refuse(tmp_path, annotations, '--formats', 'labels')
    assert drawn.read_text() == 'drawn by hand' and not (tmp_path / 'out' / 'a_labels.tif').exists()
    # Outputs of other formats lie beside it, and are replaced by the next call.
    for _ in range(2):
        write(tmp_path, '--formats', 'coco', 'rois')
    assert f'{drawn} would be overwritten' in refuse(tmp_path, annotations, '--formats', 'coco', 'labels')
    assert drawn.read_text() == 'drawn by hand'


def test_corrected_files_are_not_overwritten(tmp_path, data):
    write(tmp_path, '--formats', 'geojson', 'labels')
    corrected = tmp_path / 'out' / 'b.geojson'
    corrected.write_text(corrected.read_text().replace('lymphocyte', 'epithelial'))
    content = corrected.read_text()
    assert f'{corrected} was changed after it was written' in refuse(
        tmp_path, tmp_path / 'annotations' / 'trainval.json', '--formats', 'geojson')
    assert corrected.read_text() == content
    write(tmp_path, '--formats', 'labels')


def test_outputs_of_another_image_are_not_overwritten(tmp_path, data):
    write(tmp_path, '--formats', 'coco')
    before = (tmp_path / 'out' / 'a_coco.json').read_bytes()
    data.rename(tmp_path / 'other')
    to_coco(tmp_path / 'other', tmp_path / 'others')
    assert 'would replace the outputs of' in refuse(
        tmp_path, tmp_path / 'others' / 'trainval.json', '--formats', 'coco')
    assert (tmp_path / 'out' / 'a_coco.json').read_bytes() == before


def test_an_image_of_another_size_is_refused(tmp_path, data):
    tifffile.imwrite(data / 'train' / 'a' / 'image.tif', np.zeros((60, 70, 3), np.uint8), photometric='rgb')
    assert 'the image file has another size' in refuse(tmp_path, tmp_path / 'annotations' / 'trainval.json')


@pytest.mark.parametrize('name', ['..', 'a/..', '/', '...'])
def test_an_image_without_a_name_is_refused(tmp_path, data, name):
    path = tmp_path / 'annotations' / 'names.json'
    document = json.loads((tmp_path / 'annotations' / 'trainval.json').read_text())
    document['images'][0]['file_name'] = name
    path.write_text(json.dumps({**document, 'info': {}}))
    assert 'is not the name of a file' in refuse(tmp_path, path, '--formats', 'class-maps')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('arguments, message', [
    (['x.json', 'y.json', '--predictions', 'z.pkl'], '--predictions belong to one annotation file'),
    (['x.json', '--score-thr', '.5'], '--score-thr needs --predictions'),
    (['x.json', '--predictions', 'z.pkl', '--score-thr', '2'], 'from 0 to 1'),
    (['x.json', '--formats', 'csv', '--editable'], '--editable is about the formats geojson and geojson-gz'),
    (['x.json', '--copy-images'], '--copy-images is about the format class-maps'),
    (['x.json', '--formats', 'tiff'], 'invalid choice')])
def test_wrong_command_lines(tmp_path, arguments, message):
    assert message in refuse(tmp_path, *arguments, status=2)
