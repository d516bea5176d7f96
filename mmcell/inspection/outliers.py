"""Finds images whose stain, brightness or focus differs from the other images, and images that show nothing."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.inspection.findings import Finding
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.measures.stain import Stain
from mmcell.inspection.sets import InspectedSet

# Robust z-scores: the distance from the median, divided by 1.4826 times the median absolute deviation (Iglewicz and
# Hoaglin 1993, who take 3.5 for one value of a normal distribution; here up to ten values per image are compared, and
# laboratories differ more than normal distributions).
MIN_Z, MIN_IMAGES = 6., 10
# The least scatter that counts, so that sets with hardly any are not full of outliers: of optical densities in HED, of
# grey values of 255, and of the logarithm of the sharpness.
_NAMES = ('haematoxylin', 'eosin', 'red', 'green', 'blue', 'focus')
_LEAST_HED, _LEAST_RGB, _LEAST_FOCUS = .01, 4., .15
# An image is empty if more than this share is white, or if its brightest and darkest parts differ by less (of 255).
# Faint fluorescence in the Data Science Bowl 2018 has 28 and more.
MAX_WHITE, MIN_CONTRAST = .98, 5.


def find_outliers(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports empty images, and notes images that look unlike the others.

    The criterion for an outlier: a robust z-score of 6 or more of the mean of haematoxylin or eosin, of the mean of
    red, green or blue, or of the focus, among ten images or more. Laboratories and organs differ, so that it is a note.
    An image is empty if 98 % of it are white, or if its brightness differs by less than 5 of 255 (between the
    percentiles .1 and 99.9). If it has cells, it is a warning.
    """
    images = list_images(sets)
    texts = [_describe_emptiness(image.measures.stain) for image in images]
    empty = [(image, text) for image, text in zip(images, texts, strict=True) if text]
    others = [image for image, text in zip(images, texts, strict=True) if not text]
    return [*_report_empty(empty, len(images)), *(_report_outliers(others) if len(others) >= MIN_IMAGES else [])]


def _report_empty(empty: Sequence[tuple[ListedImage, str]], n_images: int) -> Iterator[Finding]:
    for with_cells in (True, False):
        places = tuple(image.place(detail=f'{text}; {len(image.cells)} cells') for image, text in empty
                       if bool(len(image.cells)) == with_cells)
        if places and with_cells:
            yield Finding('empty-images-with-cells', 'warning', f'{len(places)} of {n_images} images show nothing, but '
                          'have cells.', 'Compare the image files with the files that were annotated.', places)
        elif places:
            yield Finding('empty-images', 'note', f'{len(places)} of {n_images} images show nothing.', '', places)


def _describe_emptiness(stain: Stain) -> str:
    if stain.white > MAX_WHITE:
        return f'{stain.white:.0%} white'
    return f'brightness differs by {stain.contrast:.0f} of 255' if stain.contrast < MIN_CONTRAST else ''


def _report_outliers(images: Sequence[ListedImage]) -> Iterator[Finding]:
    stains = [image.measures.stain for image in images]
    values = np.array([(*stain.hed[0, :2], *stain.rgb[0], stain.focus) for stain in stains], float)
    z = robust_z(values, np.array([_LEAST_HED] * 2 + [_LEAST_RGB] * 3 + [_LEAST_FOCUS]))
    # A focus that is sharper than usual is no defect: noise and scale do that, too.
    z[:, -1] = np.minimum(z[:, -1], 0)
    for kind, columns, what in (('stain-outliers', slice(0, 5), 'stained or lit unlike'),
                                ('blurred-images', slice(5, 6), 'less sharp than')):
        scores = np.abs(z[:, columns]).max(axis=1)
        places = tuple(images[index].place(detail=_describe_outlier(_NAMES[columns], z[index, columns]))
                       for index in np.argsort(-scores, kind='stable') if scores[index] >= MIN_Z)
        if places:
            yield Finding(kind, 'note', f'{len(places)} of {len(images)} images are {what} the others.', '', places)


def robust_z(values: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Returns the robust z-scores (N, K) of K values of N images; ``least`` (K,) is the least scatter that counts."""
    differences = values - np.median(values, axis=0)
    return differences / np.maximum(1.4826 * np.median(np.abs(differences), axis=0), least)


def _describe_outlier(names: Sequence[str], z: np.ndarray) -> str:
    most = int(np.abs(z).argmax())
    return f'{names[most]} is {abs(z[most]):.0f} deviations {"above" if z[most] > 0 else "below"} the median of the set'
