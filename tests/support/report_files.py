"""Annotation files, images, predictions and work folders for the tests of reports."""

import json

import numpy as np
import tifffile
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.masks.rle import encode_label_map

SIZE = (60, 80)
CENTERS = [(y, x) for y in (10, 30, 50) for x in (10, 30, 50, 70)]
ODD_CLASS = '<b>&"quoted"</b>'
CLASSES = ('round', ODD_CLASS, 'absent')
FILES = ('one.tif', "<script><b>'odd'&.tif", 'empty.tif')


def cells(radius, shift=0):
    """Returns RLE, area and box of twelve discs, which are moved to the right by ``shift`` px."""
    encoded = encode_label_map(discs(SIZE, [(number, y, x + shift, radius)
                                            for number, (y, x) in enumerate(CENTERS, start=1)]))
    return list(zip(encoded.rles, encoded.areas_px.tolist(), encoded.bboxes_xywh.tolist(), strict=True))


def write_truth(folder, n_images=3):
    """Writes val.json with images of twelve cells, of which every third has the odd class; the third image is empty."""
    images = [dict(id=number, file_name=f'images/{name}', height=SIZE[0], width=SIZE[1])
              for number, name in enumerate(FILES[:n_images], start=1)]
    annotations = [dict(image_id=image['id'], category_id=1 + (number % 3 == 0), iscrowd=0, segmentation=rle, area=area,
                        bbox=bbox) for image in images[:2] for number, (rle, area, bbox) in enumerate(cells(6))]
    (folder / 'images').mkdir(exist_ok=True)
    for image in images:
        pixels = np.full((*SIZE, 3), 40 * image['id'], np.uint8)
        tifffile.imwrite(folder / image['file_name'], pixels, photometric='rgb')
    write_json(folder / 'val.json', dict(
        images=images, categories=categories(CLASSES),
        annotations=[{'id': number, **annotation} for number, annotation in enumerate(annotations, start=1)]))


def predictions(shift=1, seed=0):
    """Returns COCO results: most cells of the first image, fewer of the second, one in the empty image.

    Some have the wrong class, and the scores differ.
    """
    rng = np.random.default_rng(seed)
    detections = [dict(image_id=image_id, category_id=1 + (number % 3 == 0), score=round(float(rng.random()), 3),
                       bbox=bbox, segmentation=rle)
                  for image_id, n_cells in ((1, 11), (2, 7), (3, 1))
                  for number, (rle, _, bbox) in enumerate(cells(6, shift)[:n_cells])]
    for detection in detections[::5]:
        detection['category_id'] = 1
    detections[-1]['score'] = .95
    return detections


def write_json(path, content):
    path.write_text(json.dumps(content))


def write_run(work_dir, losses=(3., 2., 1.), scores=(.3, .4, .35), config='', started='20260101_000000'):
    """Writes the log of a training of ten steps per epoch; without ``scores`` there was no validation."""
    folder = work_dir / started / 'vis_data'
    folder.mkdir(parents=True)
    records = []
    for epoch, loss in enumerate(losses, start=1):
        records.append(dict(lr=.1 / epoch, loss=loss, epoch=epoch, iter=10 * epoch, step=10 * epoch))
        records += [dict(AP=score / 2, AP50=score, step=epoch) for score in scores[epoch - 1:epoch]]
    (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))
    (folder / 'config.py').write_text(config)
