"""Finds images whose scales differ, so that equal cells have different sizes."""

from collections.abc import Sequence

import numpy as np

from mmcell.images.scale import SAME_SCALE, same_scale
from mmcell.inspection.findings import Finding
from mmcell.inspection.sets import InspectedSet


def find_scales(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports the scales that the annotation files state, if they differ or some images have none.

    The usual scale is the one that is about that of most images. If it is about that of all, but the smallest and the
    largest differ from each other, the images that differ from one of these two are named.
    """
    stated = [(part, image, part.truth.mpps[image]) for part in sets for image in range(len(part.images))]
    known = [entry for entry in stated if entry[2] is not None]
    if not known:
        return []
    lowest, highest = min(entry[2] for entry in known), max(entry[2] for entry in known)
    usual = _usual_scale([entry[2] for entry in known])
    if not same_scale(lowest, highest):
        others = [entry for entry in known if not same_scale(entry[2], usual)]
        compared = f'{len(others)} of {len(stated)} another scale'
        if not others:
            others = [entry for entry in known if not (same_scale(entry[2], lowest) and same_scale(entry[2], highest))]
            compared = f'{len(others)} of {len(stated)} differ by {SAME_SCALE - 1:.0%} or more from one another'
        others.sort(key=lambda entry: -max(entry[2] / usual, usual / entry[2]))
        return [Finding('mixed-scales', 'warning',
                        f'Images have from {lowest:g} to {highest:g} um per pixel, so that equal cells have different '
                        f'sizes; most have about {usual:g}, and {compared}.',
                        f"Bring all to one scale: dict(type='ResizeToScale', mpp={usual:g}) after LoadCellAnnotations "
                        'in each pipeline.',
                        tuple(part.place(image, detail=f'{mpp:g} um per pixel') for part, image, mpp in others))]
    if len(known) < len(stated):
        return [Finding('unknown-scales', 'note',
                        f'{len(stated) - len(known)} of {len(stated)} images do not state their scale; the others have '
                        f'{usual:g} um per pixel.',
                        'If all have the same, convert them with --mpp.',
                        tuple(part.place(image) for part, image, mpp in stated if mpp is None))]
    return []


def _usual_scale(mpps: Sequence[float]) -> float:
    """Returns the scale that counts as equal to most others; of several, the most frequent, then the smallest."""
    # Files often state one scale in slightly different numbers, so that none of them is frequent by itself.
    ascending = np.sort(mpps)
    n_about = (np.searchsorted(ascending, ascending * SAME_SCALE, 'left')
               - np.searchsorted(ascending, ascending / SAME_SCALE, 'right'))
    n_equal = np.searchsorted(ascending, ascending, 'right') - np.searchsorted(ascending, ascending, 'left')
    return float(ascending[np.lexsort((ascending, -n_equal, -n_about))[0]])
