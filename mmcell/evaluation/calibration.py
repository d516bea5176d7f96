"""Calibration: whether the score of a prediction is the probability that it is correct."""

import numpy as np

N_BINS = 15


def reliability(scores: np.ndarray, is_correct: np.ndarray, n_bins: int = N_BINS) -> dict:
    """Returns the expected calibration error and the table from which it is computed.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: scores are sorted into bins of equal
    width. The error is the mean over the bins of |precision - mean score|, weighted by the number of predictions. 0 is
    best, 1 is worst.

    Args:
        scores: (n,) float, from 0 to 1.
        is_correct: (n,) bool, whether each prediction is correct.
        n_bins: The number of bins. The paper uses 15.

    Returns:
        ``{'expected_calibration_error': float, 'bins': [{'from', 'to', 'n', 'mean_score', 'precision'}]}``. A score on
        the border of two bins counts in the lower one, as in eq. 3, and a score of 0 in the first. Empty bins are left
        out. The error is NaN if there are no predictions.
    """
    # With ten bins the scores [0, .05, .1, .62] are in the bins [0, 0, 0, 6].
    bin_indices = np.clip(np.ceil(scores * n_bins).astype(int) - 1, 0, n_bins - 1)
    bins = []
    for i in np.unique(bin_indices):
        inside = bin_indices == i
        bins.append({'from': float(i / n_bins), 'to': float((i + 1) / n_bins), 'n': int(inside.sum()),
                     'mean_score': float(scores[inside].mean()), 'precision': float(is_correct[inside].mean())})
    weighted_gaps = sum(row['n'] * abs(row['precision'] - row['mean_score']) for row in bins)
    return {'expected_calibration_error': weighted_gaps / len(scores) if len(scores) else float('nan'), 'bins': bins}
