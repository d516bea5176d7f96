"""What one image contributes to each score of segmentation: a numerator and a denominator.

All scores of this field are ratios. Pooled over a set, the numerators and the denominators are added up before they are
divided; averaged over images, each image is divided by itself. An image whose denominator is 0 has nothing to say.
"""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.label_maps import PaintedPair, paint_pair
from mmcell.evaluation.matching import match_at_iou, match_centroids, match_optimally
from mmcell.evaluation.overlaps import Overlaps

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 95, 5))

# Name and class (None: all classes as one) to numerator and denominator.
ImageStatistics = dict[tuple[str, int | None], tuple[float, float]]


def image_statistics(pair: ImagePair, class_ids: Sequence[int], score_threshold: float) -> ImageStatistics:
    """The numerators and denominators of all scores for one image.

    Args:
        pair: its true and predicted cells.
        class_ids: category ids, in the order in which ``segmentation_scores`` takes the names.
        score_threshold: predictions with a lower score are left out.

    Raises:
        ValueError: an RLE has another size than the image, or is not valid.
    """
    return statistics_of_painted(paint_pair(pair).above(score_threshold), class_ids)


def statistics_of_painted(painted: PaintedPair, class_ids: Sequence[int]) -> ImageStatistics:
    """As :func:`image_statistics`, of an image that is painted already."""
    overlaps = painted.overlaps
    matched = np.flatnonzero(overlaps.ious > .5)
    panoptic = {None: panoptic_ratios(overlaps.ious[matched], len(painted.true_classes), len(painted.pred_classes))}
    for class_id in class_ids:
        is_true, is_pred = painted.true_classes == class_id, painted.pred_classes == class_id
        of_class = matched[is_true[overlaps.true_index[matched]] & is_pred[overlaps.pred_index[matched]]]
        panoptic[class_id] = panoptic_ratios(overlaps.ious[of_class], is_true.sum(), is_pred.sum())
    statistics = {(name, class_id): ratio for class_id, ratios in panoptic.items() for name, ratio in ratios.items()}
    of_maps = {'AJI': aji_ratio(overlaps), 'AJI+': aji_plus_ratio(overlaps), 'Dice': dice_ratio(overlaps),
               **detection_ratios(overlaps)}
    statistics.update({(name, None): ratio for name, ratio in of_maps.items()})
    statistics.update(centroid_ratios(painted, class_ids))
    return {key: (float(numerator), float(denominator)) for key, (numerator, denominator) in statistics.items()}


def panoptic_ratios(matched_ious: np.ndarray, n_true: int, n_pred: int) -> dict[str, tuple[float, float]]:
    """Panoptic quality and its two factors, detection (recognition) and segmentation quality.

    Kirillov et al., "Panoptic Segmentation", CVPR 2019, eqs. 1 and 2; the factors are called DQ and SQ after Graham
    et al. 2019. At IoU > .5 between instances that do not overlap, a match is the only possible one.

    Args:
        matched_ious: (TP,) float, the IoU of each matched pair, more than .5.
        n_true: true cells.
        n_pred: predicted cells.
    """
    n_matched, mean_cells = len(matched_ious), (n_true + n_pred) / 2
    return {'PQ': (matched_ious.sum(), mean_cells), 'DQ': (n_matched, mean_cells),
            'SQ': (matched_ious.sum(), n_matched)}


def aji_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """Aggregated Jaccard index, px over px.

    Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational Pathology", IEEE
    TMI 36(7), 2017, algorithm 1: every true cell takes the prediction with the largest IoU, which several may take.
    Intersections over unions, to which the area of every prediction that none took is added. A true cell without any
    overlap adds its area, as in the released code of Graham et al. 2019.
    """
    order = np.lexsort((overlaps.pred_index, -overlaps.ious, overlaps.true_index))
    is_first = np.diff(overlaps.true_index[order], prepend=-1) > 0
    return _jaccard(overlaps, order[is_first])


def aji_plus_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """AJI with every prediction taken once: the one-to-one matching with the largest sum of IoU, px over px.

    Graham et al., "HoVer-Net", Medical Image Analysis 58, 2019; ``get_fast_aji_plus`` of its released code.
    """
    return _jaccard(overlaps, np.flatnonzero(match_optimally(overlaps.true_index, overlaps.pred_index, overlaps.ious)))


def _jaccard(overlaps: Overlaps, pairs: np.ndarray) -> tuple[float, float]:
    """Intersections of some pairs over their unions and the areas of all cells in none of them."""
    without_true, without_pred = (
        np.delete(areas, index[pairs]).sum() for areas, index in (
            (overlaps.true_areas_px, overlaps.true_index), (overlaps.pred_areas_px, overlaps.pred_index)))
    return overlaps.intersections_px[pairs].sum(), overlaps.unions_px[pairs].sum() + without_true + without_pred


def dice_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """Dice coefficient of the foregrounds, whatever instance a pixel belongs to, px over px.

    2 |A ∩ B| / (|A| + |B|), Dice, Ecology 26, 1945; "DICE 1" in the released code of Graham et al. 2019.
    """
    return 2 * overlaps.intersections_px.sum(), overlaps.true_areas_px.sum() + overlaps.pred_areas_px.sum()


def detection_ratios(overlaps: Overlaps) -> dict[str, tuple[float, float]]:
    """F1 and Jaccard index of the detected cells at IoU thresholds .50, .55 … .90.

    F1 = 2 TP / (2 TP + FP + FN): Caicedo et al., Cytometry A 95, 2019. detection_Jaccard = TP / (TP + FP + FN): the
    Data Science Bowl 2018, and what Schmidt et al. (StarDist, MICCAI 2018) and Stringer et al. (Cellpose, Nature
    Methods 18, 2021) call average precision, "AP"; it has nothing to do with the AP of COCO. A pair matches at
    IoU >= the threshold (:func:`match_at_iou`), as in the code of both.
    """
    n_true, n_pred = len(overlaps.true_areas_px), len(overlaps.pred_areas_px)
    ratios = {}
    for threshold in IOU_THRESHOLDS:
        n_matched = match_at_iou(overlaps.true_index, overlaps.pred_index, overlaps.ious, threshold).sum()
        at = f'@IoU{threshold:.2f}'.replace('0.', '.')
        ratios[f'F1{at}'] = 2 * n_matched, n_true + n_pred
        ratios[f'detection_Jaccard{at}'] = n_matched, n_true + n_pred - n_matched
    return ratios


def centroid_ratios(painted: PaintedPair, class_ids: Sequence[int]) -> ImageStatistics:
    """HoVer-Net's detection score F_d and, for each class, its classification score F_c.

    Graham et al., Medical Image Analysis 58, 2019, section on evaluation metrics. Cells are paired by
    :func:`match_centroids`. With TP_d pairs, FP_d and FN_d unpaired predicted and true cells:

        F_d = 2 TP_d / (2 TP_d + FP_d + FN_d)
        F_c = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d)

    For F_c of a class, TP_c are the pairs in which both cells have it, FP_c those in which the prediction alone has
    it, FN_c those in which the true cell alone has it, and FP_d and FN_d the unpaired cells of the class. The paper
    adds TN_c, the right pairs of other classes, to TP_c. Its released ``compute_stats.py`` drops the pairs without
    the class before it counts, so that TN_c is 0 there; so it is here. type_accuracy is the part of the pairs with
    equal classes, as that script prints.
    """
    true_index, pred_index = match_centroids(painted.true_centroids_xy, painted.pred_centroids_xy)
    true_paired, pred_paired = painted.true_classes[true_index], painted.pred_classes[pred_index]
    n_pairs = len(true_index)
    statistics = {('F_d', None): (2 * n_pairs, len(painted.true_classes) + len(painted.pred_classes)),
                  ('type_accuracy', None): ((true_paired == pred_paired).sum(), n_pairs)}
    for class_id in class_ids:
        is_true, is_pred = true_paired == class_id, pred_paired == class_id
        n_unpaired = ((painted.true_classes == class_id).sum() - is_true.sum()
                      + (painted.pred_classes == class_id).sum() - is_pred.sum())
        n_right = (is_true & is_pred).sum()
        statistics['F_c', class_id] = 2 * n_right, 2 * n_right + 2 * (is_true != is_pred).sum() + n_unpaired
    return statistics
