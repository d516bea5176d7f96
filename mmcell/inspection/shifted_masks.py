"""Finds images whose masks are shifted, mirrored or turned, or belong to another image."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.inspection.findings import Finding
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.measures.edge_fit import REACH_PX, EdgeFit
from mmcell.inspection.sets import InspectedSet

# Masks of one set are often shifted by a pixel or two, all in the same way: by (-1, -1) px in the challenge's images.
# Half a pixel more than that differs from what is usual in the set.
MIN_SHIFT_PX = 2.5
# In fewer images, nothing is usual, and a shift is one against no shift.
MIN_USUAL_IMAGES = 5
# The paired t-statistic of the gain over the cells. 441 shifts are tried: at t = 6 (p = 1e-9 for many cells, .002 for
# five), no shift passes by chance in one of thousands of images.
MIN_GAIN, MIN_CELLS, MIN_SHARE_BETTER = 6., 5, .8
# Below this fit, outlines and edges have nothing to do with each other. Without a shift, images fit with .2 to .95.
MIN_FIT = .2
# Masks fit nowhere if even the upper end of the fit's interval (3 standard errors) is below this share of the usual.
MAX_SHARE_OF_USUAL, MIN_CELLS_WITHOUT_FIT = .25, 10


def find_shifted_masks(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports masks that would fit their image better elsewhere.

    The criterion: with a shift of up to 10 px that differs from the usual one of the set by 2.5 px or more, the fit of
    the cells (:class:`mmcell.inspection.measures.edge_fit.EdgeFit`) grows by at least 6 standard errors and for at
    least 80 % of the cells, and reaches .2 or more. Masks that are mirrored or turned fit, turned back, at least twice
    as well as they are, with a difference of 6 standard errors. Masks that fit nowhere have less than a quarter of the
    fit that is usual in the set.
    """
    images = [image for image in list_images(sets) if image.measures.edge_fit is not None]
    return list(_inspect(images))


def _inspect(images: Sequence[ListedImage]) -> Iterator[Finding]:
    fits = [image.measures.edge_fit for image in images]
    good = [fit for fit in fits if fit.n_cells >= MIN_CELLS and fit.mean.max() >= MIN_FIT]
    if not good:
        return
    usual_px = (np.median([fit.best_shift_px for fit in good], axis=0) if len(good) >= MIN_USUAL_IMAGES
                else np.zeros(2))
    usual_fit = float(np.median([fit.mean.max() for fit in good]))
    if np.hypot(*usual_px) >= MIN_SHIFT_PX:
        yield Finding('shifted-masks', 'warning', 'Most masks lie beside their cells: they fit best if they are moved '
                      f'{describe_shift(usual_px)} (median of {len(good)} images).',
                      'Look at some images with tools/overlay.py, and correct the program that wrote the masks.')
    elif np.hypot(*usual_px) >= 1:
        yield Finding('masks-off-by-a-pixel', 'note', 'The outlines of most masks fit best if they are moved '
                      f'{describe_shift(usual_px)} (median of {len(good)} images).')
    yield from _report('shifted-masks', 'error', 'the masks are shifted against the image', images,
                       [_find_shift(fit, usual_px) for fit in fits])
    turns = [_find_turn(fit) for fit in fits]
    yield from _report('turned-masks', 'error', 'the masks are mirrored or turned against the image', images, turns)
    yield from _report('masks-of-another-image', 'warning', 'the masks fit the image nowhere', images,
                       [None if turn else _find_no_fit(fit, usual_fit) for fit, turn in zip(fits, turns, strict=True)])


def _report(kind: str, level: str, predicate: str, images: Sequence[ListedImage],
            texts: Sequence[str | None]) -> Iterator[Finding]:
    places = tuple(image.place(detail=text) for image, text in zip(images, texts, strict=True) if text)
    if places:
        yield Finding(kind, level, f'In {len(places)} of {len(images)} images, {predicate}.',
                      'Look at them with tools/overlay.py. Convert them again from masks that fit, or leave these '
                      'images out.', places)


def _find_shift(fit: EdgeFit, usual_px: np.ndarray) -> str | None:
    """Returns what is seen if the masks are shifted."""
    down, right = fit.best_shift_px
    place = down + REACH_PX, right + REACH_PX
    if (fit.n_cells < MIN_CELLS or np.hypot(down - usual_px[0], right - usual_px[1]) < MIN_SHIFT_PX
            or fit.gain[place] < MIN_GAIN or fit.share_better[place] < MIN_SHARE_BETTER or fit.mean[place] < MIN_FIT):
        return None
    return (f'the masks fit best if they are moved {describe_shift((down, right))}: the fit grows from {fit.here:.2f} '
            f'to {fit.mean[place]:.2f}, and for {fit.share_better[place]:.0%} of {fit.n_cells} cells')


def _find_turn(fit: EdgeFit) -> str | None:
    for name, (value, error) in fit.turned.items():
        is_clear = value - abs(fit.here) >= MIN_GAIN * np.hypot(error, fit.error)
        if is_clear and value >= max(MIN_FIT, 2 * abs(fit.here)) and fit.n_cells >= MIN_CELLS:
            return f'the masks fit if they are {name}: {value:.2f} in place of {fit.here:.2f} ({fit.n_cells} cells)'
    return None


def _find_no_fit(fit: EdgeFit, usual_fit: float) -> str | None:
    bound = abs(fit.here) + 3 * fit.error
    if fit.n_cells < MIN_CELLS_WITHOUT_FIT or bound > MAX_SHARE_OF_USUAL * usual_fit or fit.mean.max() >= MIN_FIT:
        return None
    return f'the outlines of {fit.n_cells} cells fit with {fit.here:.2f}; usual in this set is {usual_fit:.2f}'


def describe_shift(shift_px: Sequence[float]) -> str:
    """Returns a shift (down, right) in px in words: "5 px up and 1 px to the right"."""
    down, right = shift_px
    words = [f'{abs(value):g} px {forward if value > 0 else backward}' for value, forward, backward in (
        (down, 'down', 'up'), (right, 'to the right', 'to the left')) if value]
    return ' and '.join(words) or 'by 0 px'
