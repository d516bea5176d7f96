"""Checks that the samples of a mask file are instance ids."""

import numpy as np

MAX_ID = np.iinfo(np.int32).max


def to_label_map(samples: np.ndarray) -> np.ndarray:
    """Turns the samples of a mask file into a label map.

    Args:
        samples: (H, W, C) array of any dtype, as the file holds it.

    Returns:
        (H, W) int32, 0 for background.

    Raises:
        ValueError: The array has several channels, or values that are not instance ids: values that are not whole, not
            finite, negative or above 2^31 - 1, or floating-point values so large that neighbouring whole numbers
            become equal. The message is the predicate of a sentence about the file.
    """
    if samples.shape[2] != 1:
        raise ValueError(f'has {samples.shape[2]} channels; an instance-id map has one channel: save the ids as grey '
                         'values, not as colours')
    ids = samples[:, :, 0]
    if ids.dtype.kind not in 'biuf':
        kind = 'complex values' if ids.dtype.kind == 'c' else f'values of type {ids.dtype}'
        raise ValueError(f'has {kind}; an instance-id map has whole numbers')
    if ids.dtype.kind == 'f' and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ValueError('has ids that are not whole numbers; an instance-id map has 0 for background and one positive '
                         'integer per cell')
    lowest, highest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if lowest < 0 or highest > MAX_ID:
        raise ValueError(f'has ids from {lowest} to {highest}; ids from 0 to {MAX_ID} are expected: write 0 for '
                         'background, and give the cells new numbers')
    # A float32 has 23 bits after the leading one: from 2^24 on, 16777217 would become 16777216.
    if ids.dtype.kind == 'f' and highest > 2 << np.finfo(ids.dtype).nmant:
        raise ValueError(f'has ids up to {highest}, but {ids.dtype} is exact only up to '
                         f'{2 << np.finfo(ids.dtype).nmant}, so that different cells may have got the same id: save '
                         'the ids as uint32')
    return np.ascontiguousarray(ids, np.int32)
