"""The cells of all images of an annotation file, true or predicted, in the form that the writers take."""

from dataclasses import dataclass

import numpy as np

from mmcell.annotations.ground_truth import GroundTruth, ImageSet
from mmcell.cells.cells import Cells
from mmcell.masks.rle import areas_px
from mmcell.predictions.cells import Predictions
from mmcell.ragged import index_in_group

# Readers of label maps take 32-bit integers. Ids in files of other programs may be greater.
MAX_NUMBER = 2 ** 31 - 1


@dataclass(frozen=True)
class NumberedCells:
    """N cells of the images of an annotation file, image after image. Each has at least one pixel.

    Attributes:
        images: The images and classes.
        image_index: (N,) int64, ascending, the place of the image of each cell.
        labels: (N,) int64, the place of the class of each cell.
        rles: N compressed COCO RLEs of the size of their image.
        boxes_xywh: (N, 4) float64 in px.
        numbers: (N,) int64, the numbers of the cells in files; different within an image.
        scores: (N,) float64, or None for true cells.
    """

    images: ImageSet
    image_index: np.ndarray
    labels: np.ndarray
    rles: list[dict]
    boxes_xywh: np.ndarray
    numbers: np.ndarray
    scores: np.ndarray | None = None

    def in_image(self, place: int) -> tuple[Cells, np.ndarray]:
        """Returns the cells of the image at a place, and their numbers (n,) int64."""
        cells = slice(*np.searchsorted(self.image_index, (place, place + 1)).tolist())
        scores = None if self.scores is None else self.scores[cells]
        height, width = self.images.sizes[place].tolist()
        return (Cells.from_rles(self.rles[cells], self.boxes_xywh[cells], self.labels[cells], height, width, scores),
                self.numbers[cells])


def number_true_cells(truth: GroundTruth) -> NumberedCells:
    """Returns the true cells, without regions that are not annotated cell by cell.

    Their numbers are their annotation ids, or count from 1 in each image if an id is above ``MAX_NUMBER``.
    """
    kept = np.flatnonzero(~truth.is_crowd)
    image_index, ids = truth.image_index[kept], truth.annotation_ids[kept]
    numbers = ids if has_usable_ids(truth) else _count_in_images(image_index, len(truth.image_ids))
    return NumberedCells(truth, image_index, truth.class_index[kept], [truth.rles[cell] for cell in kept],
                         truth.boxes_xywh[kept], numbers)


def has_usable_ids(truth: GroundTruth) -> bool:
    """Returns whether the annotation ids can be values of label maps, which hold numbers from 1 to ``MAX_NUMBER``."""
    return bool(((truth.annotation_ids >= 1) & (truth.annotation_ids <= MAX_NUMBER)).all())


def number_predicted_cells(predictions: Predictions, images: ImageSet, min_score: float) -> NumberedCells:
    """Returns the predicted cells that have a pixel and at least the score ``min_score``.

    They are numbered from 1 in each image, in the order of the predictions.
    """
    kept = predictions.take(np.flatnonzero((predictions.scores >= min_score) & (areas_px(predictions.rles) > 0)))
    return NumberedCells(images, kept.image_index, kept.class_index, kept.rles, kept.boxes_xywh,
                         _count_in_images(kept.image_index, len(images.image_ids)), kept.scores)


def _count_in_images(image_index: np.ndarray, n_images: int) -> np.ndarray:
    """Returns the number of each cell in its image, from 1."""
    return index_in_group(np.bincount(image_index, minlength=n_images)) + 1
