"""One-to-one matching of true and predicted cells, given the list of the pairs that may be matched."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mmcell.ragged import label_components, split_by


def match_greedily(true_index: np.ndarray, pred_index: np.ndarray, ious: np.ndarray,
                   pred_scores: np.ndarray) -> np.ndarray:
    """Matches greedily: by descending score, each prediction gets the free true cell that it overlaps most.

    Predictions of equal score keep their order, and among equal overlaps the first true cell is taken. COCO evaluation
    matches in the same way, except that it takes the last of equal overlaps.

    Args:
        true_index: (P,) int, the true cell of each pair that may be matched.
        pred_index: (P,) int, the prediction of each pair.
        ious: (P,) float, the IoU of each pair.
        pred_scores: (M,) float, the scores of all predictions.

    Returns:
        (P,) bool, whether a pair is matched.
    """
    # The pairs (true, predicted) (0, 0), (1, 0) and (0, 1) have the IoUs .6, .7 and .9, and the predictions have the
    # scores .8 and .9. The order is [2, 1, 0]: prediction 1 takes cell 0, then prediction 0 takes cell 1, and the last
    # pair is left over: [False, True, True].
    order = np.lexsort((true_index, -ious, pred_index, -pred_scores[pred_index]))
    is_matched = np.zeros(len(order), bool)
    taken_cells, done_predictions = set(), set()
    for pair, true, pred in zip(order.tolist(), true_index[order].tolist(), pred_index[order].tolist(), strict=True):
        if true not in taken_cells and pred not in done_predictions:
            is_matched[pair] = True
            taken_cells.add(true)
            done_predictions.add(pred)
    return is_matched


def match_optimally(true_index: np.ndarray, pred_index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Finds the one-to-one matching with the largest sum of weights (Hungarian method).

    A pair that shares no cell with another pair is always matched. The other pairs form connected groups, and each
    group is solved by itself, so that no N x M table is needed.

    Args:
        true_index: (P,) int, the true cell of each pair that may be matched. No pair occurs twice.
        pred_index: (P,) int, the prediction of each pair.
        weights: (P,) float, the weight of each pair, above 0.

    Returns:
        (P,) bool, whether a pair is matched.
    """
    # The pairs (0, 0), (1, 1), (1, 2) and (2, 2) have the weights .3, .6, .9 and .5. The first pair shares no cell. The
    # others are one group with the table [[.6, .9], [0, .5]], in which .6 + .5 is more than .9 + 0. A pair that is
    # not in the list has the weight 0; even if it is assigned, it is not returned. Result: [True, True, False, True].
    if len(weights) == 0:
        return np.zeros(0, bool)
    is_matched = (np.bincount(true_index)[true_index] == 1) & (np.bincount(pred_index)[pred_index] == 1)
    for group in _connected_groups(true_index, pred_index, np.flatnonzero(~is_matched)):
        true_cells, rows = np.unique(true_index[group], return_inverse=True)
        pred_cells, columns = np.unique(pred_index[group], return_inverse=True)
        table = np.zeros((len(true_cells), len(pred_cells)))
        table[rows, columns] = weights[group]
        assigned = np.zeros(table.shape, bool)
        assigned[linear_sum_assignment(table, maximize=True)] = True
        is_matched[group] = assigned[rows, columns]
    return is_matched


def _connected_groups(true_index: np.ndarray, pred_index: np.ndarray, pairs: np.ndarray) -> list[np.ndarray]:
    """Divides the indices of some pairs into groups, so that pairs of different groups have no cell in common."""
    if len(pairs) == 0:  # the largest index of no cell is not defined
        return []
    # The pairs 1 … 5 of true_index = [0, 1, 1, 2, 3, 3] and pred_index = [0, 1, 2, 2, 3, 4] are edges of a graph in
    # which the four true cells are the nodes 0 … 3 and the predictions the nodes 4 … 8: 1-5, 1-6, 2-6, 3-7 and 3-8.
    # Its connected groups are the pairs [1, 2, 3] and [4, 5].
    n_true, n_nodes = true_index.max() + 1, true_index.max() + pred_index.max() + 2
    groups = label_components(true_index[pairs], n_true + pred_index[pairs], n_nodes)[true_index[pairs]]
    return [pairs[group] for group in split_by(groups)]


def match_at_iou(true_index: np.ndarray, pred_index: np.ndarray, ious: np.ndarray, min_iou: float) -> np.ndarray:
    """Matches as many pairs with an IoU of at least ``min_iou`` as possible; among those, with the largest sum of IoU.

    This is the convention of ``stardist.matching`` and of the Data Science Bowl 2018.

    Args:
        true_index: (P,) int, the true cell of each pair that shares pixels. No pair occurs twice.
        pred_index: (P,) int, the prediction of each pair.
        ious: (P,) float, the IoU of each pair.
        min_iou: The lowest IoU of a match, above 0 and at most 1.

    Returns:
        (P,) bool, whether a pair is matched.
    """
    allowed = np.flatnonzero(ious >= min_iou)
    # Each pair weighs 1 plus a share of its IoU. All shares of a matching add up to .5 at most, so that one more pair
    # always outweighs better IoUs. With five allowed pairs, two matches of IoU 1 weigh 1.1 + 1.1 = 2.2, and three
    # matches of IoU .5 weigh 3 * 1.05 = 3.15.
    weights = 1 + ious[allowed] / (2 * max(len(allowed), 1))
    is_matched = np.zeros(len(ious), bool)
    is_matched[allowed] = match_optimally(true_index[allowed], pred_index[allowed], weights)
    return is_matched


def match_centroids(true_xy: np.ndarray, pred_xy: np.ndarray, radius_px: float = 12.) -> tuple[np.ndarray, np.ndarray]:
    """Pairs centroids so that the sum of distances is smallest, and then keeps the pairs within a radius.

    HoVer-Net's evaluation does the same (Graham et al. 2019; ``pair_coordinates`` of its released code): all centroids
    are assigned first, and far pairs are dropped afterwards. It needs an (N, M) float64 table of distances.

    Args:
        true_xy: (N, 2) float, the centroids of the true cells in px.
        pred_xy: (M, 2) float, the centroids of the predicted cells in px.
        radius_px: The largest distance of a pair that is kept. The paper has 12 px for images at 40x.

    Returns:
        The positions of the paired true cells and of the paired predicted cells, (K,) int each.
    """
    distances_px = cdist(true_xy, pred_xy)
    true_index, pred_index = linear_sum_assignment(distances_px)
    is_near = distances_px[true_index, pred_index] <= radius_px
    return true_index[is_near], pred_index[is_near]
