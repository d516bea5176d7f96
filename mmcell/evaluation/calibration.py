"""Do scores tell how often predictions are right?"""

import numpy as np

N_BINS = 15


def reliability(scores: np.ndarray, is_correct: np.ndarray, n_bins: int = N_BINS) -> dict:
    """Expected calibration error and the reliability table behind it.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: over bins of equal width,
    the mean of |precision - mean score|, weighted by the number of predictions. 0 is best, 1 worst.

    Args:
        scores: (n,) float, 0 to 1.
        is_correct: (n,) bool.
        n_bins: 15, as in the paper.

    Returns:
        ``{'expected_calibration_error': float, 'bins': [{'from', 'to', 'n', 'mean_score', 'precision'}]}``. A score on
        a bound counts in the lower bin, as in eq. 3's intervals, and 0 in the first. Empty bins are left out; without
        any prediction the error is NaN.
    """
    bin_of = np.clip(np.ceil(scores * n_bins).astype(int) - 1, 0, n_bins - 1)
    bins = []
    for i in np.unique(bin_of):
        inside = bin_of == i
        bins.append({'from': float(i / n_bins), 'to': float((i + 1) / n_bins), 'n': int(inside.sum()),
                     'mean_score': float(scores[inside].mean()), 'precision': float(is_correct[inside].mean())})
    gaps = sum(one['n'] * abs(one['precision'] - one['mean_score']) for one in bins)
    return {'expected_calibration_error': gaps / len(scores) if len(scores) else float('nan'), 'bins': bins}
