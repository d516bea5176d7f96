"""A small COCO annotation file with its image, and odd values that files of other programs hold."""

import copy
import json

import numpy as np
import tifffile

HEIGHT, WIDTH = 40, 60
NAN, INF = float('nan'), float('inf')
# Values that no key of a record should have, or that only some may have.
ODD_VALUES = [None, True, False, 0, -1, 1, 2.0, 1.5, 10 ** 30, 10 ** 400, NAN, INF, 1e300, '', '1', 'x', '\ud800',
              'a\0b', 'n' * 5000, [], [[]], {}, [1, 2, 3, 4], [NAN] * 4, [1, 2, -3, 4], ['1'] * 4, [[NAN] * 6],
              [[3e9, 0, 1, 1, 5, 5]], [[1, 2, 3, 4, 5]], {'size': [WIDTH, HEIGHT], 'counts': [HEIGHT * WIDTH]},
              {'size': [HEIGHT, WIDTH], 'counts': 'oooo'},
              {'size': [HEIGHT, WIDTH], 'counts': [-1, HEIGHT * WIDTH + 1]}]
# The first cell of coco_document() as listed run lengths: ten columns of ten pixels.
_RUNS = [12 * HEIGHT + 10, *[10, HEIGHT - 10] * 9, 10]
RUNS = {'size': [HEIGHT, WIDTH], 'counts': [*_RUNS, HEIGHT * WIDTH - sum(_RUNS)]}


def square(x, y, side=10):
    """Returns a polygon, in the list that COCO wants."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def coco_document():
    """Returns a document with one image, two classes, and four square cells given as polygons."""
    return copy.deepcopy({
        'images': [{'id': 5, 'file_name': 'a.tif', 'height': HEIGHT, 'width': WIDTH}],
        'categories': [{'id': 1, 'name': 'round'}, {'id': 2, 'name': 'flat'}],
        'annotations': [{'id': number, 'image_id': 5, 'category_id': number % 2 + 1, 'area': 100, 'iscrowd': 0,
                         'bbox': [12 * number, 10, 10, 10], 'segmentation': square(12 * number, 10)}
                        for number in range(1, 5)]})


def write_coco(folder, document, name='file.json', size=(HEIGHT, WIDTH)):
    """Writes a document and its image into a folder, and returns the path of the document."""
    tifffile.imwrite(folder / 'a.tif', np.zeros((*size, 3), np.uint8), photometric='rgb')
    (folder / name).write_text(json.dumps(document))
    return folder / name
