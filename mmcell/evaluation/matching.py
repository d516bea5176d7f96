"""One-to-one matching of true and predicted cells, from the sparse table of the pairs that may match."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist


def match_greedily(true_index: np.ndarray, pred_index: np.ndarray, ious: np.ndarray,
                   pred_scores: np.ndarray) -> np.ndarray:
    """Gives each prediction, by descending score, the free true cell that it overlaps most, as COCO evaluation does.

    Equal scores keep the order of the predictions; of equal overlaps the first true cell is taken.

    Args:
        true_index: (P,) int, true cell of each pair that may match.
        pred_index: (P,) int, prediction of each pair.
        ious: (P,) float.
        pred_scores: (M,) float, of all predictions.

    Returns:
        (P,) bool: the pairs matched.
    """
    order = np.lexsort((true_index, -ious, pred_index, -pred_scores[pred_index]))
    is_matched = np.zeros(len(order), bool)
    taken, done = set(), set()
    for pair, true, pred in zip(order.tolist(), true_index[order].tolist(), pred_index[order].tolist(), strict=True):
        if true not in taken and pred not in done:
            is_matched[pair] = True
            taken.add(true)
            done.add(pred)
    return is_matched


def match_optimally(true_index: np.ndarray, pred_index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The matching with the largest sum of weights (Hungarian method).

    Pairs that share no cell with another pair are taken as they are, and each connected group of the others is solved
    by itself, so that no N x M table is made.

    Args:
        true_index: (P,) int, true cell of each pair that may match; a pair is given once.
        pred_index: (P,) int, prediction of each pair.
        weights: (P,) float, more than 0.

    Returns:
        (P,) bool: the pairs matched.
    """
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
    """Some of the pairs, parted so that those of different groups have no cell in common."""
    if len(pairs) == 0:
        return []
    n_true, n_nodes = true_index.max() + 1, true_index.max() + pred_index.max() + 2
    graph = coo_array((np.ones(len(pairs), bool), (true_index[pairs], n_true + pred_index[pairs])), (n_nodes, n_nodes))
    group_of_pair = connected_components(graph, directed=False)[1][true_index[pairs]]
    order = np.argsort(group_of_pair, kind='stable')
    return np.split(pairs[order], np.flatnonzero(np.diff(group_of_pair[order])) + 1)


def match_at_iou(true_index: np.ndarray, pred_index: np.ndarray, ious: np.ndarray, min_iou: float) -> np.ndarray:
    """As many pairs with IoU >= ``min_iou`` as possible and, among those matchings, the largest sum of IoU.

    The convention of ``stardist.matching`` and of the Data Science Bowl 2018.

    Returns:
        (P,) bool: the pairs matched.
    """
    allowed = np.flatnonzero(ious >= min_iou)
    # The IoUs of a matching add up to less than its size, so that they decide among matchings of one size alone.
    weights = 1 + ious[allowed] / (2 * max(len(allowed), 1))
    is_matched = np.zeros(len(ious), bool)
    is_matched[allowed] = match_optimally(true_index[allowed], pred_index[allowed], weights)
    return is_matched


def match_centroids(true_xy: np.ndarray, pred_xy: np.ndarray, radius_px: float = 12.) -> tuple[np.ndarray, np.ndarray]:
    """Pairs centroids by the least sum of distances and keeps the pairs within a radius.

    As HoVer-Net's evaluation does (Graham et al. 2019; ``pair_coordinates`` of its released code): all are assigned
    first and far pairs are dropped afterwards. Makes one (N, M) float64 table of distances.

    Args:
        true_xy: (N, 2) float, px.
        pred_xy: (M, 2) float, px.
        radius_px: 12 at 40x, as in the paper; a pair at exactly this distance counts.

    Returns:
        Positions of the paired true and predicted cells, (K,) int each.
    """
    distances_px = cdist(true_xy, pred_xy)
    true_index, pred_index = linear_sum_assignment(distances_px)
    is_near = distances_px[true_index, pred_index] <= radius_px
    return true_index[is_near], pred_index[is_near]
