"""Finds images in which the cells of two classes look as if their classes were swapped."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from mmcell.inspection.findings import Finding
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.measuring import ImageMeasures
from mmcell.inspection.sets import InspectedSet

# A class needs so many cells in the image, and two classes so many images, before anything is said.
MIN_CELLS, MIN_IMAGES = 5, 6
# The mean log-likelihood ratio of a cell. exp(.3) = 1.35: every cell, on average, is a third more probable in the other
# class. Where nothing is swapped, classes that a classifier cannot tell apart have a ratio around 0 or below.
MIN_LOG_RATIO, MIN_STANDARD_ERRORS = .3, 2.
N_PARTS, MAX_CELLS_PER_CLASS = 5, 5000
# Probabilities are not taken to be more certain than this, so that no single cell decides.
_LEAST_PROBABILITY = .02


def find_swapped_classes(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports pairs of classes that look swapped in an image.

    The criterion: gradient-boosted trees learn the classes of cells from size, shape, colours and texture. Each image
    is judged by trees that learned from other images. For the cells given as class a, the mean logarithm of the ratio
    of the probabilities of b and a is at least .3 and two standard errors above 0; and for the cells given as class b,
    the other way round. Both must look swapped, so that cells of an unusual image are no alarm: those rarely look like
    the other class on both sides.
    """
    listed = [image for image in list_images(sets) if len(image.cells)]
    if not listed:
        return []
    features = np.concatenate([describe_cells(image.measures) for image in listed])
    names = np.concatenate([image.class_names for image in listed])
    images = np.repeat(np.arange(len(listed)), [len(image.cells) for image in listed])
    is_used = ~np.concatenate([image.is_crowd for image in listed])
    common = [name for name in dict.fromkeys(names.tolist())
              if len(np.unique(images[is_used & (names == name)])) >= MIN_IMAGES]
    is_used &= np.isin(names, common)
    if len(common) < 2:
        return []
    features, images = features[is_used], images[is_used]
    classes = np.array([common.index(name) for name in names[is_used]])
    logs = np.log(_out_of_part_probabilities(features, classes, images, len(common)) + _LEAST_PROBABILITY)
    swaps = [swap for image in np.unique(images)
             for swap in _find_swaps(logs[images == image], classes[images == image], int(image))]
    return list(_report(sorted(swaps, reverse=True), common, listed))


def _report(swaps: list[tuple], names: list[str], listed: Sequence[ListedImage]) -> Iterator[Finding]:
    if swaps:
        yield Finding(
            'swapped-classes', 'warning', f'In {len({swap[1] for swap in swaps})} of {len(listed)} images, the cells '
            'of two classes look as if the classes were swapped.',
            'Look at these images in QuPath or with tools/overlay.py, and exchange the classes (the files '
            'class<k>.tif) if they are.',
            tuple(listed[image].place(class_name=names[first], detail=(
                f'{n_first} cells of {names[first]} look like {names[second]}, and {n_second} cells of {names[second]} '
                f'like {names[first]}: that is {np.exp(ratio):.1f} times or more as probable, on average'))
                for ratio, image, first, second, n_first, n_second in swaps))


def describe_cells(measures: ImageMeasures) -> np.ndarray:
    """Returns what the classes of M cells are learned from, (M, 15) float: size, shape, colours and texture."""
    shapes, looks = measures.shapes, measures.looks
    return np.nan_to_num(np.column_stack([
        np.log(shapes.areas_px), shapes.solidity, np.log(shapes.elongation), shapes.n_pieces, shapes.neck,
        looks.inside, looks.inside - looks.background, looks.inside - looks.around, looks.texture]))


def _out_of_part_probabilities(features: np.ndarray, classes: np.ndarray, images: np.ndarray,
                               n_classes: int) -> np.ndarray:
    """Returns the probabilities (N, C) of the classes 0 to C - 1, each learned without the image of the cell."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    probabilities = np.zeros((len(classes), n_classes))
    rng = np.random.default_rng(0)
    numbers = np.unique(images)
    part_of_image = dict(zip(numbers.tolist(), (rng.permutation(len(numbers)) % N_PARTS).tolist(), strict=True))
    parts = np.array([part_of_image[image] for image in images.tolist()])
    for number in np.unique(parts):
        is_judged = parts == number
        learned = np.concatenate([_at_most(rng, np.flatnonzero(~is_judged & (classes == place)))
                                  for place in range(n_classes)])
        model = HistGradientBoostingClassifier(learning_rate=.15, max_iter=60, max_depth=4, class_weight='balanced',
                                               early_stopping=False, random_state=0)
        model.fit(features[learned], classes[learned])
        probabilities[np.ix_(is_judged, model.classes_)] = model.predict_proba(features[is_judged])
    return probabilities


def _at_most(rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
    return cells if len(cells) <= MAX_CELLS_PER_CLASS else rng.choice(cells, MAX_CELLS_PER_CLASS, replace=False)


def _find_swaps(logs: np.ndarray, classes: np.ndarray, image: int) -> Iterator[tuple]:
    """Yields the ratio, the image, the two classes and their numbers of cells of each swap in one image."""
    for first, second in combinations(range(logs.shape[1]), 2):
        ratios = [logs[classes == given, other] - logs[classes == given, given]
                  for given, other in ((first, second), (second, first))]
        if min(map(len, ratios)) >= MIN_CELLS and all(map(_is_clear, ratios)):
            yield min(values.mean() for values in ratios), image, first, second, *map(len, ratios)


def _is_clear(values: np.ndarray) -> bool:
    error = values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() >= MIN_LOG_RATIO and values.mean() > MIN_STANDARD_ERRORS * error
