"""The true and the predicted cells of each image, from which every segmentation score is computed."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImagePair:
    """The N true and the M predicted cells of one image.

    Attributes:
        image_id: The id of the image in the annotation file.
        height: The height of the image in px.
        width: The width of the image in px.
        true_rles: N compressed COCO RLEs of the size of the image.
        true_classes: (N,) int64 category ids.
        pred_rles: M compressed COCO RLEs of the size of the image. Predictions may overlap.
        pred_classes: (M,) int64 category ids.
        pred_scores: (M,) float64, from 0 to 1.
    """

    image_id: int
    height: int
    width: int
    true_rles: list[dict]
    true_classes: np.ndarray
    pred_rles: list[dict]
    pred_classes: np.ndarray
    pred_scores: np.ndarray


def pair_images(document: dict, detections: list[dict]) -> list[ImagePair]:
    """Returns the cells of every image of the annotation file, in its order, including images without any cell.

    Args:
        document: COCO ground truth with masks as compressed RLEs.
        detections: COCO results of these images with masks as compressed RLEs.
    """
    truth, predicted = defaultdict(list), defaultdict(list)
    for records, by_image in ((document['annotations'], truth), (detections, predicted)):
        for record in records:
            by_image[record['image_id']].append(record)
    return [_pair_of(image, truth[image['id']], predicted[image['id']]) for image in document['images']]


def _pair_of(image: dict, truth: list[dict], predicted: list[dict]) -> ImagePair:
    true_rles, pred_rles = ([record['segmentation'] for record in records] for records in (truth, predicted))
    true_classes, pred_classes = (np.array([record['category_id'] for record in records], np.int64)
                                  for records in (truth, predicted))
    return ImagePair(image['id'], image['height'], image['width'], true_rles, true_classes, pred_rles, pred_classes,
                     np.array([record['score'] for record in predicted], np.float64))
