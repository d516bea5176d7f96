"""Cells that are predicted, corrected in another program and converted again: untouched cells are the same bits."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from pycocotools import mask as coco_mask
from support.bright_detector import save_checkpoint
from support.cells import rasterise
from support.commands import call, convert
from support.corrections import correct_in_cellpose, correct_in_imagej, correct_in_napari, correct_in_qupath
from support.synthetic_data import discs

from mmcell.masks.rle import encode_label_map

SHAPE = (60, 80)
NAMES = ['epithelial', 'lymphocyte']
# A cell that somebody draws by hand: a pentagon between pixels.
DRAWN = [[62.37, 8.25], [74.5, 10.81], [77.03, 20.66], [68.12, 26.4], [60.9, 18.02], [62.37, 8.25]]
SQUARE = [[40.1, 10.2], [51.3, 10.2], [51.3, 19.7], [40.1, 19.7], [40.1, 10.2]]


def draw_first():
    """Returns the label map of image a: odd numbers are epithelial cells, even numbers lymphocytes."""
    label_map = discs(SHAPE, [(1, 12, 12, 8), (2, 15, 45, 12), (6, 59, 79, 9)])
    yy, xx = np.mgrid[:60, :80]
    label_map[(yy - 15) ** 2 + (xx - 45) ** 2 <= 16] = 0  # a ring
    label_map[40:45, 5:9] = label_map[48:52, 5:9] = 3  # two pieces
    label_map[40:44, 30:34] = label_map[44:47, 34:36] = 4  # two pieces that touch at a corner
    label_map[55, 40] = 5  # one pixel
    label_map[47:51, 30:34] = 7
    return label_map


def encode(mask):
    """Returns the run lengths of a mask (H, W) bool, as pycocotools writes them."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts'].decode()


MASKS = {'disc': draw_first() == 1, 'ring': draw_first() == 2, 'pieces': draw_first() == 3,
         'square': rasterise(shapely.Polygon(SQUARE), SHAPE), 'drawn': rasterise(shapely.Polygon(DRAWN), SHAPE)}


@pytest.fixture
def images(tmp_path):
    """Writes two images of the raw layout with cells of difficult shapes, and trainval.json; returns their folder."""
    for name, label_map in (('a', draw_first()), ('b', discs(SHAPE, [(1, 20, 30, 9), (2, 40, 60, 12)]))):
        folder = tmp_path / 'images' / 'train' / name
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / 'image.tif', np.full((*SHAPE, 3), 200, np.uint8), photometric='rgb')
        for number in (1, 2):
            tifffile.imwrite(folder / f'class{number}.tif', np.where(label_map % 2 == number % 2, label_map, 0))
    converted = convert(tmp_path / 'images', '--out', tmp_path / 'before', '--class-names', *NAMES)
    assert converted.returncode == 0, converted.stderr
    for path in (tmp_path / 'images').rglob('class*.tif'):
        path.unlink()
    return tmp_path / 'images' / 'train'


def export(tmp_path, *formats):
    """Writes the cells for other programs; returns their folder, and an empty one for corrected files."""
    ended = call('data_prep/from_coco.py', tmp_path / 'before' / 'trainval.json', '--out', tmp_path / 'cells',
                 '--formats', *formats)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / 'corrected').mkdir()
    return tmp_path / 'cells', tmp_path / 'corrected'


def read_cells(path):
    """Returns the cells of an annotation file as a Counter of (name of the folder, class, counts of the RLE)."""
    document = json.loads(path.read_text())
    folders = {image['id']: image['file_name'].split('/')[-2] for image in document['images']}
    classes = {category['id']: category['name'] for category in document['categories']}
    return Counter((folders[record['image_id']], classes[record['category_id']], record['segmentation']['counts'])
                   for record in document['annotations'])


def convert_back(tmp_path, images, layout):
    """Converts the corrected files, and returns the cells that were there before only, and those that are new."""
    converted = convert(images, '--layout', layout, '--masks', tmp_path / 'corrected', '--out', tmp_path / 'after')
    assert converted.returncode == 0, converted.stderr
    before, after = (read_cells(tmp_path / folder / 'trainval.json') for folder in ('before', 'after'))
    assert before.total() == 9
    return before - after, after - before


def test_predicted_images_and_corrected_files_find_each_other(tmp_path):
    # Two images have the same name, and one is an image.tif in a folder of its own.
    squares = {'x.tif': 4, 's/x.tif': 5, 'p.one.png': 6, 'patient/image.tif': 7}
    for name, side in squares.items():
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((30, 40, 3), np.uint8)
        pixels[9:9 + side, 5:5 + side, 1] = 250
        cv2.imwrite(str(path), pixels)
    (tmp_path / 'corrected').mkdir()
    predicted = call('tools/predict.py', save_checkpoint(tmp_path / 'toy.pth'), f'{tmp_path}/images/**/*.*', '--out',
                     tmp_path / 'cells', '--formats', 'geojson', '--editable', '--device', 'cpu')
    assert predicted.returncode == 0, predicted.stderr
    for path in (tmp_path / 'cells').glob('*.geojson'):
        correct_in_qupath(path, tmp_path / 'corrected' / path.name)
    converted = convert(tmp_path / 'images', '--layout', 'qupath', '--masks', tmp_path / 'corrected', '--out',
                        tmp_path / 'after')
    assert converted.returncode == 0, converted.stderr
    document = json.loads((tmp_path / 'after' / 'trainval.json').read_text())
    names = {image['id']: image['file_name'] for image in document['images']}
    assert {names[record['image_id']]: record['bbox'] for record in document['annotations']} == {
        name: [5, 9, side, side] for name, side in squares.items()}


def test_cells_around_other_cells_are_no_regions(tmp_path):
    shape = (60, 80)
    rles = [encode_label_map(discs(shape, [(1, y, x, radius)])).rles[0]
            for y, x, radius in ((30, 40, 22), (22, 32, 4), (38, 46, 4))]
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((*shape, 3), np.uint8))
    (tmp_path / 'before').mkdir()
    (tmp_path / 'before' / 'trainval.json').write_text(json.dumps({
        'info': {'data_root': '..'}, 'images': [{'id': 1, 'file_name': 'x.png', 'height': 60, 'width': 80}],
        'categories': [{'id': 1, 'name': 'cell'}],
        'annotations': [{'id': number, 'image_id': 1, 'category_id': 1, 'segmentation': rle, 'iscrowd': 0}
                        for number, rle in enumerate(rles, start=1)]}))
    cells, corrected = export(tmp_path, 'geojson', '--editable')
    correct_in_qupath(cells / 'x.geojson', corrected / 'x.geojson')
    (tmp_path / 'images').mkdir()
    (tmp_path / 'x.png').rename(tmp_path / 'images' / 'x.png')
    converted = convert(tmp_path / 'images', '--layout', 'qupath', '--masks', corrected, '--out', tmp_path / 'after')
    assert converted.returncode == 0, converted.stderr
    document = json.loads((tmp_path / 'after' / 'trainval.json').read_text())
    counts = [record['segmentation']['counts'] for record in document['annotations']]
    assert Counter(counts) == Counter(rle['counts'] for rle in rles)


def test_nothing_is_lost_on_the_way_through_qupath(tmp_path, images):
    cells, corrected = export(tmp_path, 'geojson', '--editable')
    for name in 'ab':
        correct_in_qupath(cells / f'{name}.geojson', corrected / f'{name}.geojson')
    assert convert_back(tmp_path, images, 'qupath') == (Counter(), Counter())


def test_only_what_was_edited_in_qupath_differs(tmp_path, images):
    cells, corrected = export(tmp_path, 'geojson', '--editable')
    # In image a, the disc has the number 1, the two pieces 2, the ring 5; in image b the cells are 8 and 9.
    correct_in_qupath(cells / 'a.geojson', corrected / 'a.geojson', [
        ('delete', 1), ('class', 2, 'lymphocyte'), ('shape', 5, [SQUARE]), ('new', 'lymphocyte', [DRAWN])])
    correct_in_qupath(cells / 'b.geojson', corrected / 'b.geojson')
    check_edits(*convert_back(tmp_path, images, 'qupath'))


def test_only_what_was_edited_in_imagej_differs(tmp_path, images):
    cells, corrected = export(tmp_path, 'rois')
    correct_in_imagej(cells / 'a_rois.zip', corrected / 'a_rois.zip', [
        ('delete', 1), ('class', 2, 'lymphocyte'), ('shape', 5, SQUARE[:-1]), ('new', 2, DRAWN[:-1])])
    correct_in_imagej(cells / 'b_rois.zip', corrected / 'b_rois.zip')
    check_edits(*convert_back(tmp_path, images, 'imagej'))


def test_only_what_was_edited_in_napari_differs(tmp_path, images):
    cells, corrected = export(tmp_path, 'labels')
    # The cells 3 and 7 change their numbers, and with them their lines in the table.
    correct_in_napari(cells / 'a_labels.tif', corrected / 'a_labels.tif', [
        ('delete', 1), ('delete', 5), ('paint', 5, MASKS['square']), ('paint', 40, MASKS['drawn']), ('swap', 3, 7)])
    table = dict(line.split(',') for line in (cells / 'a_labels.csv').read_text().split()[1:])
    table |= {'2': 'lymphocyte', '40': 'lymphocyte', '3': table['7'], '7': table['3']}
    lines = ['label,class', *(f'{label},{name}' for label, name in table.items())]
    (corrected / 'a_labels.csv').write_text('\n'.join(lines))
    correct_in_napari(cells / 'b_labels.tif', corrected / 'b_labels.tif')
    (corrected / 'b_labels.csv').write_bytes((cells / 'b_labels.csv').read_bytes())
    check_edits(*convert_back(tmp_path, images, 'label-maps'))


def test_only_what_was_edited_in_cellpose_differs(tmp_path, images):
    cells, corrected = export(tmp_path, 'labels')
    correct_in_cellpose(cells / 'a_labels.tif', corrected / 'a_seg.npy', [('delete', 1), ('draw', MASKS['drawn'])])
    correct_in_cellpose(cells / 'b_labels.tif', corrected / 'b_seg.npy')
    lost, new = convert_back(tmp_path, images, 'cellpose')
    # Cellpose knows no classes: all cells come back in one.
    assert {name for _, name, _ in new} == {'cell'}
    lost, new = (Counter({(folder, counts) for folder, _, counts in cells.elements()}) for cells in (lost, new))
    assert [counts for _, counts in (lost - new).elements()] == [encode(MASKS['disc'])]
    assert [counts for _, counts in (new - lost).elements()] == [encode(MASKS['drawn'])]


def check_edits(lost, new):
    """Checks that the disc was deleted, the two pieces and the ring were changed, and a cell was drawn."""
    assert {folder for folder, _, _ in [*lost, *new]} == {'a'}
    pieces = encode(MASKS['pieces'])
    assert lost == Counter({('a', 'epithelial', encode(MASKS['disc'])): 1, ('a', 'epithelial', pieces): 1,
                            ('a', 'lymphocyte', encode(MASKS['ring'])): 1})
    assert new == Counter({('a', 'lymphocyte', pieces): 1, ('a', 'lymphocyte', encode(MASKS['square'])): 1,
                           ('a', 'lymphocyte', encode(MASKS['drawn'])): 1})
