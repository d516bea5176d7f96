"""Finds images in which cells seem to have no label."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom, mannwhitneyu

from mmcell.inspection.findings import Finding
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.measures.unlabeled import Regions, Unlabeled
from mmcell.inspection.sets import InspectedSet

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# A region looks like a cell if this probability, in which both sorts of regions have the same weight, is exceeded.
MIN_PROBABILITY = .7
# Each image is judged by what was learned from the other parts of the images.
_N_PARTS = 5
# From fewer unlabelled regions, nothing is learned, and all regions are taken to look like cells.
_MIN_EXAMPLES = 20
# The share of unlabelled regions must be above what is usual in the set with this probability of an alarm by chance,
# for a set of any size, and there must be so many regions.
P_VALUE, MIN_REGIONS, MIN_IMAGES = .01, 3, 6
# Usual is the share that nine tenths of the other images do not exceed, or the share in all of them together with three
# regions more, if that is larger: if n regions all have labels, the true share is 3 / n at most (95 % confidence).
_USUAL_QUANTILE, _MORE_REGIONS = .9, 3
# Cells whose labels were forgotten look like the others. Ink and debris do not: their likeness, contrast, solidity or
# size is mostly above or mostly below that of the labelled cells. The first is the p-value of a Mann-Whitney test, the
# second by how much the share of pairs in which the region without label has the greater value differs from one half.
_UNLIKE_P, _UNLIKE_SHARE = .001, .2
# In complete data sets, at most 4.9 % of the regions that look like cells had no label (the challenge's images; CoNSeP
# 3.8 %, DSB2018 .8 %). After a tenth of all labels was removed at random, 7.8 to 10.9 % had none.
MAX_SHARE_OF_SET, MIN_REGIONS_OF_SET = .07, 20
_MAX_NAMED = 10


def find_missing_labels(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports images with more unlabelled regions that look like cells than is usual in their set.

    Regions in which the colours are like those of the labelled cells of the image are measured in one way with and
    without a label (:mod:`mmcell.inspection.measures.unlabeled`). From other images, a logistic regression learns to
    tell the two apart by likeness, contrast, solidity and size. Most unlabelled regions are no cells, so that those
    which it takes for labelled ones look like cells. The criterion: of the regions of an image that look like cells, K
    of N have no label; and if the share that nine tenths of the other images do not exceed were the true one, K or more
    would have a probability below .01, divided by the number of images. Where these regions as a whole differ clearly
    from the labelled cells of their image, as ink and debris do, there is no alarm. If labels are missing everywhere,
    no image differs from the others: there is one alarm for all of them if more than 7 % of all these regions have no
    label. Predictions of a model find single missing labels better; this needs none.
    """
    images = [image for image in list_images(sets) if image.measures.unlabeled is not None]
    return list(_inspect(images)) if len(images) >= MIN_IMAGES else []


def _inspect(images: Sequence[ListedImage]) -> Iterator[Finding]:
    found = _cell_like([image.measures.unlabeled for image in images])
    n_unlabeled = np.array([len(index) for index, _ in found])
    n_all = n_unlabeled + [n_labeled for _, n_labeled in found]
    shares = n_unlabeled / n_all.clip(1)
    is_alarm = exceeds_usual(n_unlabeled, n_all) & [not _is_unlike(image.measures.unlabeled, index)
                                                    for image, (index, _) in zip(images, found, strict=True)]
    order = [int(index) for index in np.argsort(-shares, kind='stable') if n_unlabeled[index]]
    places = {index: images[index].place(detail=_describe(images[index].measures.unlabeled.unlabeled, found[index][0],
                                                          n_all[index])) for index in order}
    alarms = tuple(places[index] for index in order if is_alarm[index])
    if alarms:
        yield Finding('missing-labels', 'warning', f'In {len(alarms)} of {len(images)} images, more regions than usual '
                      'look like cells, but have no label.',
                      'Look at these places, and label the cells there. Predictions of folds rank single cells better '
                      '(--predictions).', alarms)
    others = tuple(places[index] for index in order if not is_alarm[index])
    share, text = n_unlabeled.sum() / max(n_all.sum(), 1), ''
    if others:
        text = (f'{share:.1%} of the regions that look like cells have no label: {n_unlabeled.sum()} regions in '
                f'{len(places)} images.')
    if others and share > MAX_SHARE_OF_SET and n_unlabeled.sum() >= MIN_REGIONS_OF_SET:
        yield Finding('missing-labels-everywhere', 'warning', f'{text} In complete data sets, it is at most 5 %.',
                      'Look at these places: are cells without a label? Predictions of folds rank single cells '
                      '(--predictions).', others)
    elif others:
        yield Finding('unlabeled-regions', 'note', f'{text} Some may be cells.', '', others)


def exceeds_usual(n_unlabeled: np.ndarray, n_all: np.ndarray) -> np.ndarray:
    """Returns whether each of I images has more unlabelled regions than is usual in the others, (I,) bool.

    Args:
        n_unlabeled: (I,) int, the number of regions without a label.
        n_all: (I,) int, the number of regions with and without.
    """
    shares = n_unlabeled / n_all.clip(1)
    together = (n_unlabeled.sum() - n_unlabeled + _MORE_REGIONS) / (n_all.sum() - n_all + _MORE_REGIONS)
    usual = np.array([max(np.quantile(np.delete(shares, index), _USUAL_QUANTILE), together[index])
                      for index in range(len(shares))])
    tail = binom.sf(n_unlabeled - 1, n_all, usual)
    return (tail < P_VALUE / len(shares)) & (n_unlabeled >= MIN_REGIONS)


def _is_unlike(measured: Unlabeled, index: np.ndarray) -> bool:
    """Whether unlabelled regions (their indices) differ as a whole from the labelled cells of their image."""
    n_pairs = len(index) * len(measured.labeled.areas_px)
    for name in ('likeness', 'contrast', 'solidity', 'areas_px') if n_pairs else ():
        test = mannwhitneyu(getattr(measured.unlabeled, name)[index], getattr(measured.labeled, name))
        if test.pvalue < _UNLIKE_P and abs(test.statistic / n_pairs - .5) > _UNLIKE_SHARE:
            return True
    return False


def _cell_like(measured: Sequence[Unlabeled]) -> list[tuple[np.ndarray, int]]:
    """Returns, for each image, the unlabelled regions that look like cells, the most probable first, and how many
    labelled regions do.
    """
    features = [(_describe_regions(one.labeled, one.labeled), _describe_regions(one.unlabeled, one.labeled))
                for one in measured]
    parts = np.random.default_rng(0).permutation(len(measured)) % _N_PARTS
    models = [_learn([pair for pair, part in zip(features, parts, strict=True) if part != number])
              for number in range(_N_PARTS)]
    found = []
    for (labeled, unlabeled), part in zip(features, parts, strict=True):
        of_labeled, of_unlabeled = (_probabilities(models[part], values) for values in (labeled, unlabeled))
        order = np.argsort(-of_unlabeled, kind='stable')
        found.append((order[of_unlabeled[order] >= MIN_PROBABILITY], int((of_labeled >= MIN_PROBABILITY).sum())))
    return found


def _describe_regions(regions: Regions, cells: Regions) -> np.ndarray:
    """Returns what regions are told apart by, (R, 7) float; ranks and sizes are relative to the labelled cells."""
    sizes = np.log(regions.areas_px / max(np.median(cells.areas_px), 1)) if len(cells.areas_px) else regions.areas_px
    ranks = [(np.searchsorted(np.sort(own), values) + .5) / (len(own) + 1) for values, own in (
        (regions.likeness, cells.likeness), (regions.contrast, cells.contrast))]
    return np.column_stack([regions.likeness, regions.contrast, *ranks, regions.solidity, sizes, np.square(sizes)])


def _learn(features: Sequence[tuple[np.ndarray, np.ndarray]]) -> 'Pipeline | None':
    """Returns a model of whether a region has a label; None if there are too few regions of one sort."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    labeled, unlabeled = (np.concatenate(values) for values in zip(*features, strict=True))
    if min(len(labeled), len(unlabeled)) < _MIN_EXAMPLES:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight='balanced', max_iter=1000))
    return model.fit(np.concatenate([labeled, unlabeled]), np.repeat([1, 0], [len(labeled), len(unlabeled)]))


def _probabilities(model: 'Pipeline | None', features: np.ndarray) -> np.ndarray:
    """Returns the probability of each region to be a cell; 1 if nothing was learned."""
    return np.ones(len(features)) if model is None or not len(features) else model.predict_proba(features)[:, 1]


def _describe(regions: Regions, index: np.ndarray, n_all: int) -> str:
    centers = ', '.join(f'({x:.0f}, {y:.0f})' for y, x in regions.yx[index[:_MAX_NAMED]])
    more = f' and {len(index) - _MAX_NAMED} more' if len(index) > _MAX_NAMED else ''
    return f'{len(index)} of {n_all} regions have no label, around (x, y) = {centers}{more} px'
