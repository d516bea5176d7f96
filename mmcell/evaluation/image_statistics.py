"""The contribution of one image to each segmentation score: a numerator and a denominator.

All segmentation scores are ratios. A pooled score adds the numerators and the denominators of all images before it
divides. An image mean divides per image. An image whose denominator is 0 contributes to neither.
"""

import numpy as np

from mmcell.evaluation.matching import match_at_iou, match_centroids, match_optimally
from mmcell.evaluation.overlaps import Overlaps
from mmcell.evaluation.pairs import PaintedPair

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 95, 5))

# The numerator and the denominator of each score, by its name and the place of a class; None stands for all classes.
ImageStatistics = dict[tuple[str, int | None], tuple[float, float]]


def image_statistics(painted: PaintedPair, n_classes: int) -> ImageStatistics:
    """Returns the numerators and denominators of all scores for one image.

    Args:
        painted: The comparison of the two label maps of the image.
        n_classes: The number of classes.
    """
    # Pairs of the true cells [0, 1, 1] and predictions [0, 1, 2] with the IoUs [.8, .6, .2] give matched = [0, 1]. With
    # the true classes [0, 1], the predicted classes [0, 0, 1] and class 0, the second pair is dropped because its true
    # cell is of class 1: class 0 has one match of IoU .8, one true and two predicted cells, and PQ = .8 / 1.5.
    overlaps = painted.overlaps
    matched = np.flatnonzero(overlaps.ious > .5)
    panoptic = {None: panoptic_ratios(overlaps.ious[matched], len(painted.true_classes), len(painted.pred_classes))}
    for place in range(n_classes):
        is_true, is_pred = painted.true_classes == place, painted.pred_classes == place
        matched_of_class = matched[is_true[overlaps.true_index[matched]] & is_pred[overlaps.pred_index[matched]]]
        panoptic[place] = panoptic_ratios(overlaps.ious[matched_of_class], is_true.sum(), is_pred.sum())
    statistics = {(name, place): ratio for place, ratios in panoptic.items() for name, ratio in ratios.items()}
    class_agnostic = {'AJI': aji_ratio(overlaps), 'AJI+': aji_plus_ratio(overlaps), 'Dice': dice_ratio(overlaps),
                      **detection_ratios(overlaps)}
    statistics.update({(name, None): ratio for name, ratio in class_agnostic.items()})
    statistics.update(centroid_ratios(painted, n_classes))
    return {key: (float(numerator), float(denominator)) for key, (numerator, denominator) in statistics.items()}


def panoptic_ratios(matched_ious: np.ndarray, n_true: int, n_pred: int) -> dict[str, tuple[float, float]]:
    """Returns panoptic quality (PQ) and its two factors, detection quality (DQ) and segmentation quality (SQ).

    Kirillov et al., "Panoptic Segmentation", CVPR 2019, eqs. 1 and 2. The paper calls DQ recognition quality; the names
    DQ and SQ are those of Graham et al. 2019. Between instances that do not overlap, a pair with an IoU above .5 is
    the only possible match of both cells.

    Args:
        matched_ious: (TP,) float, the IoU of each matched pair, above .5.
        n_true: The number of true cells.
        n_pred: The number of predicted cells.
    """
    n_matched, mean_cells = len(matched_ious), (n_true + n_pred) / 2
    return {'PQ': (matched_ious.sum(), mean_cells), 'DQ': (n_matched, mean_cells),
            'SQ': (matched_ious.sum(), n_matched)}


def aji_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """Returns the aggregated Jaccard index (AJI), px over px.

    Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational Pathology", IEEE
    TMI 36(7), 2017, algorithm 1: every true cell takes the prediction with the largest IoU; several true cells may take
    the same prediction. The intersections are divided by the unions plus the areas of all predictions that no true cell
    has taken. A true cell without any overlap adds its area to the denominator, as in the released code of Graham et
    al. 2019.
    """
    # Two true cells of 10 px and predictions of 4 and 10 px have the pairs (0, 0), (0, 1) and (1, 1) with intersections
    # of 2, 8 and 1 px, hence IoUs of 2 / 12, 8 / 12 and 1 / 19. The order [1, 0, 2] puts the largest IoU of each true
    # cell first: is_first = [True, False, True] chooses the pairs 1 and 2. Both true cells take prediction 1, and
    # AJI = (8 + 1) / (12 + 19 + 4). One-to-one, AJI+ has only pair 1, and AJI+ = 8 / (12 + 10 + 4).
    order = np.lexsort((overlaps.pred_index, -overlaps.ious, overlaps.true_index))
    is_first = np.diff(overlaps.true_index[order], prepend=-1) > 0
    return _jaccard(overlaps, order[is_first])


def aji_plus_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """Returns AJI+, px over px: AJI with the one-to-one matching that has the largest sum of IoU.

    Graham et al., "HoVer-Net", Medical Image Analysis 58, 2019; ``get_fast_aji_plus`` of its released code.
    """
    return _jaccard(overlaps, np.flatnonzero(match_optimally(overlaps.true_index, overlaps.pred_index, overlaps.ious)))


def _jaccard(overlaps: Overlaps, pairs: np.ndarray) -> tuple[float, float]:
    """Returns the intersections of chosen pairs, and their unions plus the areas of the cells in none of them."""
    without_true, without_pred = (
        np.delete(areas, index[pairs]).sum() for areas, index in (
            (overlaps.true_areas_px, overlaps.true_index), (overlaps.pred_areas_px, overlaps.pred_index)))
    return overlaps.intersections_px[pairs].sum(), overlaps.unions_px[pairs].sum() + without_true + without_pred


def dice_ratio(overlaps: Overlaps) -> tuple[float, float]:
    """Returns the Dice coefficient of the two foregrounds, px over px; which instance a pixel belongs to is ignored.

    The formula is 2 |A ∩ B| / (|A| + |B|). Dice, Ecology 26, 1945; "DICE 1" in the released code of Graham et al. 2019.
    """
    return 2 * overlaps.intersections_px.sum(), overlaps.true_areas_px.sum() + overlaps.pred_areas_px.sum()


def detection_ratios(overlaps: Overlaps) -> dict[str, tuple[float, float]]:
    """Returns F1 and the Jaccard index of the detected cells at the IoU thresholds .50, .55 … .90.

    F1 = 2 TP / (2 TP + FP + FN): Caicedo et al., Cytometry A 95, 2019. detection_Jaccard = TP / (TP + FP + FN): the
    Data Science Bowl 2018. Schmidt et al. (StarDist, MICCAI 2018) and Stringer et al. (Cellpose, Nature Methods 18,
    2021) call it average precision, "AP"; it has nothing to do with the AP of COCO. A pair may match if its IoU is at
    least the threshold (:func:`match_at_iou`), as in the code of both.
    """
    n_true, n_pred = len(overlaps.true_areas_px), len(overlaps.pred_areas_px)
    ratios = {}
    for threshold in IOU_THRESHOLDS:
        n_matched = match_at_iou(overlaps.true_index, overlaps.pred_index, overlaps.ious, threshold).sum()
        suffix = f'@IoU{threshold:.2f}'.replace('0.', '.')
        ratios[f'F1{suffix}'] = 2 * n_matched, n_true + n_pred
        ratios[f'detection_Jaccard{suffix}'] = n_matched, n_true + n_pred - n_matched
    return ratios


def centroid_ratios(painted: PaintedPair, n_classes: int) -> ImageStatistics:
    """Returns HoVer-Net's detection score F_d, its classification score F_c of each class, and the type accuracy.

    Graham et al., Medical Image Analysis 58, 2019, section on evaluation metrics. Cells are paired by
    :func:`match_centroids`. There are TP_d pairs, FP_d unpaired predicted cells and FN_d unpaired true cells:

        F_d = 2 TP_d / (2 TP_d + FP_d + FN_d)
        F_c = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d)

    In F_c of a class, TP_c counts the pairs in which both cells have the class, FP_c the pairs in which only the
    prediction has it, and FN_c the pairs in which only the true cell has it; FP_d and FN_d count only the unpaired
    cells of the class. The paper adds TN_c, the correct pairs of other classes, to TP_c. Its released
    ``compute_stats.py`` removes the pairs without the class before it counts, so that its TN_c is always 0. This
    function does the same. type_accuracy is the share of the pairs with equal classes, which that script prints, too.
    """
    # Three true cells of class 1 and three predictions of the classes [1, 2, 2]; two are paired: (1, 1) and (1, 2).
    # F_d = 4 / (3 + 3). Class 1 has one correct pair, one pair with another prediction, and one unpaired true cell:
    # F_c = 2 / (2 + 2 * 1 + 1). Class 2 has no correct pair: F_c = 0 / (2 * 1 + 1). type_accuracy = 1 / 2.
    true_index, pred_index = match_centroids(painted.true_centroids_xy, painted.pred_centroids_xy)
    true_paired, pred_paired = painted.true_classes[true_index], painted.pred_classes[pred_index]
    n_pairs = len(true_index)
    statistics = {('F_d', None): (2 * n_pairs, len(painted.true_classes) + len(painted.pred_classes)),
                  ('type_accuracy', None): ((true_paired == pred_paired).sum(), n_pairs)}
    for place in range(n_classes):
        is_true, is_pred = true_paired == place, pred_paired == place
        n_unpaired = ((painted.true_classes == place).sum() - is_true.sum()
                      + (painted.pred_classes == place).sum() - is_pred.sum())
        n_correct = (is_true & is_pred).sum()
        statistics['F_c', place] = 2 * n_correct, 2 * n_correct + 2 * (is_true != is_pred).sum() + n_unpaired
    return statistics
