"""True and predicted cells side by side: what overlaps what is found once, and every score is computed from it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mmcell.annotations.coco_json import check_document
from mmcell.annotations.ground_truth import GroundTruth, to_ground_truth
from mmcell.evaluation.overlaps import Overlaps, overlaps_of_label_maps
from mmcell.masks.painting import paint_masks
from mmcell.masks.runs import MaskRuns, intersections_px
from mmcell.predictions.cells import Predictions
from mmcell.predictions.result_files import parse_results
from mmcell.predictions.rules import ResultsError, describe_problems
from mmcell.ragged import begins_of


@dataclass(frozen=True)
class PaintedPair:
    """The comparison of the true and the predicted label map of an image.

    Attributes:
        overlaps: The overlaps of the N true and M predicted cells that are seen in the maps.
        true_classes: (N,) int64, the places of the classes.
        pred_classes: (M,) int64, the places of the classes.
        pred_scores: (M,) float64, from 0 to 1.
        true_centroids_xy: (N, 2) float64, in px.
        pred_centroids_xy: (M, 2) float64, in px.
    """

    overlaps: Overlaps
    true_classes: np.ndarray
    pred_classes: np.ndarray
    pred_scores: np.ndarray
    true_centroids_xy: np.ndarray
    pred_centroids_xy: np.ndarray

    def above(self, score_threshold: float) -> 'PaintedPair':
        """Returns the comparison as if only the predictions with at least this score had been painted."""
        is_kept = self.pred_scores >= score_threshold
        return replace(
            self, overlaps=self.overlaps.of_predictions(is_kept), pred_classes=self.pred_classes[is_kept],
            pred_scores=self.pred_scores[is_kept], pred_centroids_xy=self.pred_centroids_xy[is_kept])


@dataclass(frozen=True)
class Pairs:
    """True cells, and predicted cells of the same images. What they have in common is computed when it is first used.

    Attributes:
        truth: The images, the classes and the N true cells.
        predictions: The M predicted cells.
    """

    truth: GroundTruth
    predictions: Predictions

    @cached_property
    def masks(self) -> tuple[MaskRuns, MaskRuns]:
        """The masks of the N true and of the M predicted cells in one canvas, on which the images lie side by side."""
        return _decode(self.truth, self.truth), _decode(self.predictions, self.truth)

    @cached_property
    def overlaps(self) -> Overlaps:
        """The overlaps of the N true and M predicted cells, of which each keeps all its pixels."""
        true, predicted = self.masks
        return Overlaps(true.areas_px, predicted.areas_px, *intersections_px(true, predicted))

    @cached_property
    def painted(self) -> list[PaintedPair]:
        """The comparisons of the two label maps of each image, in which each pixel belongs to one cell.

        Predictions are painted by :func:`mmcell.masks.painting.paint_masks`. True cells are painted as if all had one
        score, so that the smaller of two overlapping cells is seen. A prediction equal to the truth, with equal scores,
        therefore gives the same map as the truth. Only what was compared is kept, not the maps.
        """
        return [self._paint(image, left) for image, left in enumerate(begins_of(self.truth.sizes[:, 1]).tolist())]

    def _paint(self, image: int, left: int) -> PaintedPair:
        maps, first_cells = [], []
        for side, masks, scores in ((self.truth, self.masks[0], np.broadcast_to(0., len(self.truth.rles))),
                                    (self.predictions, self.masks[1], self.predictions.scores)):
            own = cells_of_image(side.image_index, image)
            maps.append(_paint(masks.part(own), scores[own], left, self.truth.sizes[image]))
            first_cells.append(own.start)
        overlaps, *ids = overlaps_of_label_maps(*maps)
        # The first cell of the image has the number 1 in the map.
        true, predicted = (first + own_ids - 1 for first, own_ids in zip(first_cells, ids, strict=True))
        return PaintedPair(overlaps, self.truth.class_index[true], self.predictions.class_index[predicted],
                           self.predictions.scores[predicted], *map(centroids_xy, maps, ids))


def pair_coco(document: dict, detections: list[dict]) -> Pairs:
    """Returns the pairs of COCO annotations and COCO results in memory, which are checked as files are.

    Args:
        document: The content of an annotation file, see :func:`mmcell.annotations.coco_json.read_annotations`.
        detections: The content of a JSON file with COCO results, see
            :func:`mmcell.predictions.result_files.read_predictions`.

    Raises:
        AnnotationError: An annotation cannot be used; for example, its image is unknown.
        ResultsError: A detection cannot be used.
    """
    truth = to_ground_truth(check_document(document, 'the annotation file'))
    predictions, problems = parse_results(detections, truth)
    if problems:
        raise ResultsError(f'{len(problems)} of {len(detections)} detections are wrong\n{describe_problems(problems)}')
    return Pairs(truth, predictions)


def cells_of_image(image_index: np.ndarray, image: int) -> slice:
    """Returns the cells of an image, if the images (N,) of all cells are ascending."""
    return slice(*np.searchsorted(image_index, [image, image + 1]).tolist())


def _decode(cells: GroundTruth | Predictions, truth: GroundTruth) -> MaskRuns:
    """Decodes masks into one canvas, on which the images lie side by side, so that only masks of one image overlap."""
    heights, widths = truth.sizes.T
    lefts = begins_of(widths)
    rects_xyxy = np.stack([lefts, np.zeros_like(lefts), lefts + widths, heights], axis=1)
    return MaskRuns.from_rles(cells.rles, heights.max(initial=0), widths.sum(), rects_xyxy[cells.image_index])


def _paint(masks: MaskRuns, scores: np.ndarray, left: int, size: np.ndarray) -> np.ndarray:
    """Returns the label map (H, W) int32 of the masks of the image at a column of the canvas, numbered from 1."""
    # A map of the height of the canvas could be huge, for a wide image beside a tall one. In a canvas of height 10 the
    # run [43, 44) of an image of height 4 at column 3 becomes (4 - 3) * 4 + 3: [7, 8).
    x, first_row, end_row = masks.columns
    column = (x - left) * size[0]
    masks = replace(masks, starts=column + first_row, ends=column + end_row, height=size[0], width=size[1])
    label_map = np.zeros(size, np.int32, order='F')
    paint_masks(label_map, masks.positions, masks.areas_px, scores, np.arange(1, len(scores) + 1))
    return label_map


def centroids_xy(label_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns the mean pixel positions (N, 2) float64 of instances, x and y in px; pixel centres are whole numbers.

    Args:
        label_map: (H, W) integers, not negative.
        ids: (N,) ids that occur in the label map.
    """
    # In column-major order the map [[0, 7], [2, 7]] is [0, 2, 7, 7]: positions = [1, 2, 3] and labels = [2, 7, 7]. With
    # the height 2, x = positions // 2 = [0, 1, 1] and y = positions % 2 = [1, 0, 1]. The sums per label, divided by the
    # areas [1, 2] of the ids [2, 7], give the centroids [[0, 1], [1, .5]].
    pixels = label_map.ravel(order='F')
    positions = np.flatnonzero(pixels)
    labels, height = pixels[positions], label_map.shape[0]
    areas_px = np.bincount(labels)[ids]
    return np.stack([np.bincount(labels, positions // height)[ids] / areas_px,
                     np.bincount(labels, positions % height)[ids] / areas_px], axis=1)
