"""True and predicted label maps for the tests of segmentation scores."""

from typing import NamedTuple

import numpy as np
from evaluation import pair_unchecked
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.evaluation.pairs import Pairs
from mmcell.masks.rle import encode_label_map

SIZE = (110, 150)
NO_BOX = [np.nan] * 4


class ImageCells(NamedTuple):
    """The true and the predicted cells of an image, with masks as RLEs and classes as category ids."""

    size: tuple[int, int]
    true_rles: list[dict]
    true_classes: np.ndarray
    pred_rles: list[dict]
    pred_classes: np.ndarray
    pred_scores: np.ndarray


def image_pair(true_map, pred_map, true_classes=None, pred_classes=None, pred_scores=None):
    """Returns the cells of two label maps (H, W).

    Classes and scores have one entry per cell, in the order of rising ids. Without them, all classes and scores are 1.
    """
    true, pred = encode_label_map(true_map), encode_label_map(pred_map)
    ones = [np.ones(len(encoded.ids)) for encoded in (true, pred)]
    true_classes, pred_classes = (
        default.astype(np.int64) if classes is None else np.asarray(classes, np.int64)
        for classes, default in zip((true_classes, pred_classes), ones, strict=True))
    return ImageCells(true_map.shape, true.rles, true_classes, pred.rles, pred_classes,
                      ones[1] if pred_scores is None else np.asarray(pred_scores, float))


def pairs_of(*images, classes=None) -> Pairs:
    """Returns the pairs of several ``ImageCells``; the classes are COCO categories, 1 to 3 by default."""
    document = dict(images=[dict(id=i, file_name='', height=image.size[0], width=image.size[1])
                            for i, image in enumerate(images)],
                    categories=classes or categories(['a', 'b', 'c']), annotations=[])
    detections = []
    for i, image in enumerate(images):
        document['annotations'] += [
            dict(id=number, image_id=i, category_id=int(category_id), segmentation=rle, area=1, bbox=NO_BOX, iscrowd=0)
            for number, (rle, category_id) in enumerate(zip(image.true_rles, image.true_classes, strict=True),
                                                        start=len(document['annotations']) + 1)]
        detections += [dict(image_id=i, category_id=int(category_id), segmentation=rle, score=float(score), bbox=NO_BOX)
                       for rle, category_id, score in zip(image.pred_rles, image.pred_classes, image.pred_scores,
                                                          strict=True)]
    return pair_unchecked(document, detections)


def synthetic_maps(number):
    """Returns crowded discs and a distorted prediction of them. No random numbers are used: all machines agree.

    Args:
        number: 0 to 2. The higher the number, the worse the prediction: cells are shifted, resized, missing, spurious
            or joined.

    Returns:
        The true label map, the predicted label map (both (H, W), with ids from 1), the classes of the true cells, and
        the classes of the predicted cells (1 to 3, in the order of rising ids).
    """
    true_cells, pred_cells = [], []
    for i in range(54):
        y, x, radius = 10 + 17 * (i // 9) + i * 5 % 4, 9 + 16 * (i % 9) + i * 7 % 5, 6 + i * 11 % 4
        true_cells.append((i + 1, y, x, radius))
        shift, growth = (number + 1) * (i * 3 % 4) - number, (i * 7 % 5 - 2) * number // 2
        if i * 13 % 9 > number:
            label = i if number and i % 8 == 7 else i + 1
            pred_cells.append((label, y + shift, x - shift * (i % 2), radius + growth))
    pred_cells += [(60 + i, 20 + 40 * i, 140, 4) for i in range(number)]
    maps = discs(SIZE, true_cells), np.unique(discs(SIZE, pred_cells), return_inverse=True)[1].reshape(SIZE)
    counts = [len(np.unique(label_map)) - 1 for label_map in maps]
    true_classes, pred_classes = (np.arange(count) % 3 + 1 for count in counts)
    return *maps, true_classes, np.where(np.arange(counts[1]) % 6 < number, 2, pred_classes)
