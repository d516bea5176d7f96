"""Synthetic label maps and annotation files for tests."""

import json
import os

import numpy as np

from mmcell.annotations.coco_json import categories, to_records
from mmcell.layouts.class_maps import find_train_folders, read_train_image


def write_annotations(root, path, names):
    """Writes one annotation file for all training images of a raw folder.

    Args:
        root: The raw folder.
        path: The annotation file to write.
        names: Names of the classes, for the category ids 1, 2 …
    """
    images, annotations = to_records([read_train_image(folder, root) for folder in find_train_folders(root)],
                                     [f'class{number}' for number in range(1, len(names) + 1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(info=dict(data_root=os.path.relpath(root, path.parent)), images=images,
                                    categories=categories(names), annotations=annotations)))


def discs(shape, centers_and_radii):
    """Returns a label map (H, W) int32 with one disc per (id, y, x, radius) in px; later discs cover earlier discs."""
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    label_map = np.zeros(shape, np.int32)
    for cell_id, y, x, radius in centers_and_radii:
        label_map[(yy - y) ** 2 + (xx - x) ** 2 <= radius ** 2] = cell_id
    return label_map


def write_folds(ann_file, folds):
    """Writes trainval.json beside an annotation file, the same file with a fold per image; returns its path."""
    document = json.loads(ann_file.read_text())
    for image, fold in zip(document['images'], folds, strict=True):
        image['fold'] = fold
    path = ann_file.with_name('trainval.json')
    path.write_text(json.dumps(document))
    return path
