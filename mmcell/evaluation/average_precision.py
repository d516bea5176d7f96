"""COCO average precision and recall, under names that tell the cap on detections."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from mmcell.evaluation.coco_matching import IOU_THRESHOLDS, ClassMatches, match_classes

CAPS = (None, 100)
SIZE_BINS_PX = (16, 32)
PREFIXES = {'segm': '', 'bbox': 'bbox_'}
RECALLS = np.linspace(0, 1, 101)
# Name to table and IoU thresholds, which are .50, .55 … .95.
MEASURES = {'AP': ('precision', slice(None)), 'AP50': ('precision', slice(0, 1)), 'AP75': ('precision', slice(5, 6)),
            'AR': ('recall', slice(None))}
# Numbers of one array of resampled curves: about 32 MB.
_CHUNK = 2 ** 22


def average_precisions(document: dict, detections: list[dict], *, kinds: Sequence[str] = ('segm', 'bbox'),
                       caps: Sequence[int | None] = CAPS,
                       size_bins_px: Sequence[float] = SIZE_BINS_PX) -> dict[str, float]:
    """COCO's averages over images, classes and IoU thresholds, equal to pycocotools at equal caps.

    Names are put together from

    - ``bbox_`` for boxes, nothing for masks;
    - AP: mean over IoU .5, .55 … .95 of the interpolated precision at 101 recalls; AP50, AP75: at one IoU; AR: mean
      over the IoU thresholds of the largest recall;
    - ``@100``: at most 100 detections of a class in an image count, those with the best scores, as COCO's ``maxDets``
      has it; nothing: every detection counts;
    - ``/name`` of a class; or ``/0-16px``, ``/16-32px``, ``/32px+``, a size; nothing: the mean of the classes that have
      a cell.

    ``AP50@100/16-32px`` is mask AP50 of cells of 16 to 32 px at 100 detections.

    The size of a cell is the root of its ``area`` in the annotation file, which is that of its mask in px. As in COCO
    cells of other sizes are neither to be found nor, where they are found, mistakes; nor is a detection of another size
    that finds none. For boxes the size of a detection is that of its box, in pycocotools as well. Both ends belong to
    a bin.

    Args:
        document: COCO ground truth; cells with ``iscrowd`` may be found or not.
        detections: COCO results with compressed RLE ('segm') and boxes xywh ('bbox').
        kinds: 'segm' for masks, 'bbox' for boxes.
        caps: largest numbers of detections of a class in an image; None: every detection.
        size_bins_px: edges between the size bins, rising; none: no values by size.

    Returns:
        Values from 0 to 1. Without detections 0; NaN where there is no cell to be found.

    Raises:
        as :func:`match_classes`.
    """
    hidden = {category['name'] for category in document['categories']} & set(size_names(size_bins_px))
    if hidden:
        raise ValueError(f'classes have names of sizes, under which their values would be lost: {sorted(hidden)}')
    values = {}
    for kind in kinds:
        matches = match_classes(document, detections, kind, size_bins_px, _largest(caps))
        for cap in caps:
            tables = _tables(matches, cap)
            for measure, (table, thresholds) in MEASURES.items():
                name = PREFIXES[kind] + measure + _ending(cap)
                for part, of_part in _parts(tables[table][:, :, thresholds], document['categories'], size_bins_px):
                    values[name + part] = mean_of_defined(of_part)
    return values


def resampled_average_precisions(document: dict, detections: list[dict], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Mask AP, AP50, AP@100 and AP50@100 of sets of images drawn with replacement.

    Detections are matched once. An image that is drawn twice counts twice, with its cells and detections; with each
    image drawn once the values are those of :func:`average_precisions`. Classes without a cell among the images drawn
    do not count. Among equal scores the copies of a detection stand side by side, not copy after copy of the image:
    with scores of two digits this makes about .0001, where all scores are equal some hundredths.

    Args:
        document, detections: as there.
        weights: (n_resamples, n_images) how often each image of ``document['images']`` is drawn.

    Returns:
        Name to (n_resamples,) float64.

    Raises:
        as :func:`match_classes`; ValueError: weights of another shape, or negative ones.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(document['images']) or (weights < 0).any():
        raise ValueError(f"weights must be (n_resamples, {len(document['images'])}) and not negative, "
                         f'got {weights.shape}')
    matches = match_classes(document, detections, 'segm')
    values = {}
    for cap in CAPS:
        precision = np.stack([_resampled_precision(of_class, cap, weights) for of_class in matches], axis=1)
        for name, thresholds in (('AP', slice(None)), ('AP50', slice(0, 1))):
            values[name + _ending(cap)] = np.array([mean_of_defined(table[:, thresholds]) for table in precision])
    return values


def _resampled_precision(matches: ClassMatches, cap: int | None, weights: np.ndarray) -> np.ndarray:
    """Precision of one class and cells of every size: (n, thresholds, recalls), in pieces that fit into memory."""
    step = max(1, _CHUNK // max(1, len(matches.images)))
    return np.concatenate([_curves(matches, 0, cap, weights[start:start + step])[0]
                           for start in range(0, len(weights), step)])


def _ending(cap: int | None) -> str:
    return '' if cap is None else f'@{cap}'


def _largest(caps: Sequence[int | None]) -> int | None:
    if not caps or any(cap is not None and cap < 1 for cap in caps):
        raise ValueError(f'caps must be positive or None, got {list(caps)}')
    return None if None in caps else max(caps)


def _tables(matches: list[ClassMatches], cap: int | None) -> dict[str, np.ndarray]:
    """Precision (classes, sizes, thresholds, recalls), and recall (classes, sizes, thresholds)."""
    curves = [[_curves(of_class, size, cap, np.ones((1, of_class.n_true.shape[1])))
               for size in range(len(of_class.n_true))] for of_class in matches]
    return {name: np.array([[of_size[index][0] for of_size in of_class] for of_class in curves])
            for index, name in enumerate(('precision', 'recall'))}


def _curves(matches: ClassMatches, size: int, cap: int | None, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``COCOeval.accumulate`` of pycocotools, with images counted several times or not at all.

    Args:
        matches: of N images.
        size: index of the size.
        cap: most detections in an image; None: all.
        weights: (n, N) float64, how often each image counts.

    Returns:
        Interpolated precision (n, thresholds, recalls), and the largest recall (n, thresholds); NaN without a cell.
    """
    is_counted = ~matches.is_ignored[size] & (matches.ranks < (np.inf if cap is None else cap))
    weights_found, n_true = weights[:, matches.images], weights @ matches.n_true[size]
    precision = np.zeros((len(weights), len(IOU_THRESHOLDS), len(RECALLS)))
    recall = np.zeros(precision.shape[:2])
    for index, counted in enumerate(is_counted):
        # Without sizes and crowds these are the same at every threshold.
        if index == 0 or (counted != is_counted[index - 1]).any():
            weights_counted = weights_found[:, counted]
            n_counted = np.cumsum(weights_counted, axis=1)
        # Precision is largest and a recall is reached at hits alone.
        is_hit = matches.is_hit[size, index, counted]
        if is_hit.any():
            n_hits = np.cumsum(weights_counted[:, is_hit], axis=1)
            precision[:, index] = _interpolate(n_hits, n_counted[:, is_hit], n_true)
            recall[:, index] = n_hits[:, -1] / np.maximum(n_true, 1)
    precision[n_true == 0] = recall[n_true == 0] = np.nan
    return precision, recall


def _interpolate(n_hits: np.ndarray, n_counted: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    """Largest precision at each of the 101 recalls or beyond, 0 where it is not reached, (n, 101).

    Args:
        n_hits, n_counted: (n, hits) hits and detections down to each hit.
        n_true: (n,) true cells.
    """
    precision = n_hits / np.maximum(n_counted, 1)
    # One more for the recalls that are not reached.
    envelope = np.zeros((len(precision), precision.shape[1] + 1))
    envelope[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = n_hits / np.maximum(n_true, 1)[:, None]
    return np.stack([of_row[np.searchsorted(row, RECALLS)] for row, of_row in zip(reached, envelope, strict=True)])


def _parts(table: np.ndarray, categories: list[dict],
           size_bins_px: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Endings of names with their parts of a table (classes, sizes, …)."""
    yield '', table[:, 0]
    for index, category in enumerate(sorted(categories, key=lambda category: category['id'])):
        yield f"/{category['name']}", table[index, 0]
    for index, name in enumerate(size_names(size_bins_px), start=1):
        yield f'/{name}', table[:, index]


def size_names(size_bins_px: Sequence[float]) -> list[str]:
    """0-16px, 16-32px, 32px+ for the edges 16 and 32; none without edges."""
    if not len(size_bins_px):
        return []
    edges = [0, *size_bins_px]
    return [f'{low}-{high}px' for low, high in pairwise(edges)] + [f'{edges[-1]}px+']


def mean_of_defined(table: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    defined = table[~np.isnan(table)]
    return float(defined.mean()) if defined.size else float('nan')
