"""COCO's greedy matching of detections with true cells, of all images, sizes and IoU thresholds at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from faster_coco_eval.core import mask as rle_functions
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmcell.coco_json import AnnotationError
from mmcell.results import ResultsError
from mmcell.rle import areas_px

IOU_THRESHOLDS = np.linspace(.5, .95, 10)
# sqrt of COCO's largest area.
LARGEST_PX = 1e5


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class in all images, best score first, with what COCO makes of them.

    Detections of equal score stand in the order of image ids, within an image in the order given.

    Attributes:
        images: (D,) int64 index into the images of the annotation file.
        ranks: (D,) int64, 0 for the best score of its class and image.
        is_hit: (sizes, 10 IoU thresholds, D) bool: finds a true cell. Size 0 is every size.
        is_ignored: likewise: neither hit nor mistake.
        n_true: (sizes, images) int64 true cells to be found.
    """

    images: np.ndarray
    ranks: np.ndarray
    is_hit: np.ndarray
    is_ignored: np.ndarray
    n_true: np.ndarray


@dataclass(frozen=True)
class _Side:
    """True cells or detections sorted by class, image and score.

    ``keys`` (N,) counts class and image in one number, ``areas`` (N,) are in px².
    """

    keys: np.ndarray
    areas: np.ndarray
    shapes: list
    is_crowd: np.ndarray


def match_classes(document: dict, detections: list[dict], kind: str, size_bins_px: Sequence[float] = (),
                  cap: int | None = None) -> list[ClassMatches]:
    """Matches detections with true cells as COCOeval.evaluateImg of pycocotools does.

    In each class and image, by descending score, a detection gets the true cell that has the largest IoU of those left
    with at least the threshold; of a cell to be found before one to be ignored (crowds, other sizes).

    Args:
        document: COCO ground truth.
        detections: COCO results with compressed RLE ('segm') or boxes xywh ('bbox').
        kind: 'segm' or 'bbox'.
        size_bins_px: edges between size bins, sqrt(area) in px, rising; both ends belong to a bin.
        cap: most detections of a class in an image, those with the best scores; None: all.

    Returns:
        The matches of each class, by category id.

    Raises:
        AnnotationError: an annotation without area.
        ResultsError: detections of unknown images or categories.
        ValueError: an argument out of its range; an RLE that cannot be decoded.
    """
    if kind not in ('segm', 'bbox'):
        raise ValueError(f"kind must be 'segm' or 'bbox', got {kind!r}")
    ranges_px2 = _area_ranges(size_bins_px)
    image_ids, category_ids = ([record['id'] for record in document[name]] for name in ('images', 'categories'))
    _check_known(detections, image_ids, category_ids)
    keys = _Keys(image_ids, category_ids)
    order, det_keys, ranks = keys.sorted_by_score(detections)
    kept = ranks < (np.inf if cap is None else cap)
    order, det_keys, ranks = order[kept], det_keys[kept], ranks[kept]
    found = _found_side([detections[index] for index in order], det_keys, kind)
    truth = _truth_side(document, keys, kind)
    is_ignored_cell = truth.is_crowd | _is_outside(truth.areas, ranges_px2)
    is_hit, is_ignored = _match_greedily(*_pairs(truth, found), len(found.keys), is_ignored_cell, truth.is_crowd)
    is_ignored |= ~is_hit & _is_outside(found.areas, ranges_px2)[:, None]
    scores = np.array([detections[index]['score'] for index in order], np.float64)
    return [_of_class(number, keys, det_keys, scores, ranks, is_hit, is_ignored, truth.keys, is_ignored_cell)
            for number in range(len(category_ids))]


def _area_ranges(size_bins_px: Sequence[float]) -> np.ndarray:
    """(sizes, 2) least and largest area in px², first that of all."""
    edges = [0, *size_bins_px, LARGEST_PX]
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError(f'size_bins_px must rise between 0 and {LARGEST_PX:.0f}, got {list(size_bins_px)}')
    bins = list(pairwise(edges)) if len(size_bins_px) else []
    return np.array([(0, LARGEST_PX), *bins]) ** 2


def _is_outside(areas_px2: np.ndarray, ranges_px2: np.ndarray) -> np.ndarray:
    """(sizes, N) bool."""
    return (areas_px2 < ranges_px2[:, :1]) | (areas_px2 > ranges_px2[:, 1:])


def _check_known(detections: list[dict], image_ids: list[int], category_ids: list[int]) -> None:
    for key, known in (('image_id', image_ids), ('category_id', category_ids)):
        unknown = {detection[key] for detection in detections} - set(known)
        if unknown:
            raise ResultsError(f'detections have {key} {sorted(unknown, key=str)[:5]}, which the annotation file does '
                               'not define')


class _Keys:
    """Class and image as one number: the class's position by id * number of images + the image's position by id."""

    def __init__(self, image_ids: list[int], category_ids: list[int]) -> None:
        self.n_images = len(image_ids)
        # Position by id to index in the file.
        self.image_order = np.argsort(image_ids, kind='stable')
        positions = {image_ids[index]: position for position, index in enumerate(self.image_order)}
        self.of_image = positions
        self.of_class = {category_id: position for position, category_id in enumerate(sorted(category_ids))}

    def keys(self, records: list[dict]) -> np.ndarray:
        """(N,) int64."""
        return np.array([self.of_class[record['category_id']] * self.n_images + self.of_image[record['image_id']]
                         for record in records], np.int64)

    def sorted_by_score(self, detections: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Order by key, then descending score; sorted keys; ranks within a key. All (N,)."""
        keys = self.keys(detections)
        order = np.lexsort((-np.array([detection['score'] for detection in detections], np.float64), keys))
        keys = keys[order]
        return order, keys, np.arange(len(keys)) - np.searchsorted(keys, keys)


def _found_side(detections: list[dict], keys: np.ndarray, kind: str) -> _Side:
    if kind == 'segm':
        shapes = [detection['segmentation'] for detection in detections]
        areas = areas_px(shapes)
    else:
        shapes = [detection['bbox'] for detection in detections]
        areas = np.array([width * height for _, _, width, height in shapes])
    return _Side(keys, areas, shapes, np.zeros(len(keys), bool))


def _truth_side(document: dict, keys: _Keys, kind: str) -> _Side:
    for annotation in document['annotations']:
        if 'area' not in annotation:
            raise AnnotationError(f"annotation {annotation['id']} has no area, by which COCO sorts cells by size")
    numbers = keys.keys(document['annotations'])
    order = np.argsort(numbers, kind='stable')
    annotations = [document['annotations'][index] for index in order]
    sizes = {image['id']: (image['width'], image['height']) for image in document['images']}
    shapes = [annotation['bbox'] if kind == 'bbox' else _rle_of(annotation['segmentation'],
                                                               *sizes[annotation['image_id']])
              for annotation in annotations]
    return _Side(numbers[order], np.array([annotation['area'] for annotation in annotations], np.float64), shapes,
                 np.array([bool(annotation.get('iscrowd', 0)) for annotation in annotations], bool))


def _rle_of(segmentation: dict | list, width_px: int, height_px: int) -> dict:
    """Compressed RLE of polygons, or of an RLE."""
    if isinstance(segmentation, dict) and isinstance(segmentation['counts'], str | bytes):
        return segmentation
    return rle_functions.segmToRle(segmentation, width_px, height_px)


def _pairs(truth: _Side, found: _Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detection, true cell and IoU of all pairs with an IoU of at least the least threshold, by detection and cell."""
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for cells, candidates in _groups(truth.keys, found.keys):
        ious = np.asarray(rle_functions.iou(found.shapes[candidates], truth.shapes[cells],
                                            truth.is_crowd[cells].astype(int).tolist()))
        i, j = np.nonzero(ious >= IOU_THRESHOLDS[0])
        parts.append((i + candidates.start, j + cells.start, ious[i, j]))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _groups(truth_keys: np.ndarray, found_keys: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """True cells and detections of each class and image that has both."""
    common = np.intersect1d(truth_keys, found_keys)
    edges = [np.searchsorted(keys, common, side) for keys in (truth_keys, found_keys) for side in ('left', 'right')]
    for first_cell, last_cell, first, last in zip(*edges, strict=True):
        yield slice(first_cell, last_cell), slice(first, last)


def _match_greedily(found: np.ndarray, cells: np.ndarray, ious: np.ndarray, n_found: int,
                    is_ignored_cell: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO's matching over pairs (P,) that are sorted by detection, best score first, and cell.

    Detections that have no candidate in common, not even by way of others, do not touch one another. So the first of
    each such cluster is matched, in all clusters at once, then the second, and so on.

    Returns:
        (sizes, thresholds, n_found) bool: matched with a cell to be found; with one to be ignored.
    """
    n_sizes, n_cells = is_ignored_cell.shape
    is_hit, is_ignored = np.zeros((2, n_sizes, len(IOU_THRESHOLDS), n_found), bool)
    is_taken = np.zeros((n_sizes, len(IOU_THRESHOLDS), n_cells), bool)
    rounds = _rounds(found, cells, n_found, n_cells)
    order = np.argsort(rounds, kind='stable')
    for pairs in np.split(order, np.flatnonzero(np.diff(rounds[order])) + 1) if len(order) else ():
        cell, iou = cells[pairs], ious[pairs]
        starts = np.flatnonzero(np.diff(found[pairs], prepend=-1))
        is_open = (iou >= IOU_THRESHOLDS[:, None]) & (~is_taken[:, :, cell] | is_crowd[cell])
        is_wanted = is_open & ~is_ignored_cell[:, None, cell]
        of_detection = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(pairs)))
        is_open &= is_wanted | ~np.logical_or.reduceat(is_wanted, starts, axis=-1)[..., of_detection]
        best = np.maximum.reduceat(np.where(is_open, iou, -1), starts, axis=-1)[..., of_detection]
        # Of equal ones COCO takes the last.
        last = np.maximum.reduceat(np.where(is_open & (iou == best), np.arange(len(pairs)), -1), starts, axis=-1)
        size, threshold, detection = np.nonzero(last >= 0)
        chosen = cell[last[size, threshold, detection]]
        is_taken[size, threshold, chosen] = True
        is_ignored[size, threshold, found[pairs][starts][detection]] = is_ignored_cell[size, chosen]
        is_hit[size, threshold, found[pairs][starts][detection]] = ~is_ignored_cell[size, chosen]
    return is_hit, is_ignored


def _rounds(found: np.ndarray, cells: np.ndarray, n_found: int, n_cells: int) -> np.ndarray:
    """For each pair the rank of its detection among those of its cluster, (P,)."""
    graph = coo_array((np.ones(len(found), bool), (found, n_found + cells)), shape=(n_found + n_cells,) * 2)
    _, clusters = connected_components(graph, directed=False)
    candidates = np.unique(found)
    order = np.argsort(clusters[candidates], kind='stable')
    labels = clusters[candidates][order]
    ranks = np.empty(len(candidates), np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return ranks[np.searchsorted(candidates, found)]


def _of_class(number: int, keys: _Keys, det_keys: np.ndarray, scores: np.ndarray, ranks: np.ndarray, is_hit: np.ndarray,
              is_ignored: np.ndarray, truth_keys: np.ndarray, is_ignored_cell: np.ndarray) -> ClassMatches:
    first = number * keys.n_images
    here = slice(*np.searchsorted(det_keys, [first, first + keys.n_images]))
    by_score = np.argsort(-scores[here], kind='stable')
    cells = slice(*np.searchsorted(truth_keys, [first, first + keys.n_images]))
    n_true = np.stack([np.bincount(keys.image_order[truth_keys[cells] - first][~ignored[cells]],
                                   minlength=keys.n_images) for ignored in is_ignored_cell])
    return ClassMatches(keys.image_order[det_keys[here] - first][by_score], ranks[here][by_score],
                        is_hit[..., here][..., by_score], is_ignored[..., here][..., by_score], n_true)
