"""COCO average precision and recall, under names that tell the cap on detections."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.evaluation.coco_evaluation import evaluate_coco

CAPS = (None, 100)
SIZE_BINS_PX = (16, 32)
PREFIXES = {'segm': '', 'bbox': 'bbox_'}
# Name to table and IoU thresholds, which are .50, .55 … .95.
MEASURES = {'AP': ('precision', slice(None)), 'AP50': ('precision', slice(0, 1)), 'AP75': ('precision', slice(5, 6)),
            'AR': ('recall', slice(None))}


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

    The size of a cell is the root of its ``area``, which is that of its mask in px. As in COCO cells of other sizes are
    neither to be found nor, where they are found, mistakes; nor is a detection of another size that finds none. For
    boxes the size of a detection is that of its box, in pycocotools as well. Both ends belong to a bin.

    Args:
        document: COCO ground truth; cells with ``iscrowd`` may be found or not.
        detections: COCO results with compressed RLE ('segm') and boxes xywh ('bbox').
        kinds: 'segm' for masks, 'bbox' for boxes.
        caps: largest numbers of detections of a class in an image; None: every detection.
        size_bins_px: edges between the size bins, rising; none: no values by size.

    Returns:
        Values from 0 to 1. Without detections 0; NaN where there is no cell to be found.

    Raises:
        as :func:`evaluate_coco`.
    """
    values = {}
    for kind in kinds:
        tables = evaluate_coco(document, detections, kind, caps, size_bins_px).eval
        for cap_index, cap in enumerate(caps):
            for measure, (table, thresholds) in MEASURES.items():
                name = f'{PREFIXES[kind]}{measure}' + ('' if cap is None else f'@{cap}')
                at_cap = tables[table][thresholds, ..., cap_index]
                for part, of_part in _parts(at_cap, document['categories'], size_bins_px):
                    values[name + part] = mean_of_defined(of_part)
    return values


def _parts(table: np.ndarray, categories: list[dict], size_bins_px: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Endings of names with their parts of a table (…, classes, sizes)."""
    yield '', table[..., 0]
    for index, category in enumerate(sorted(categories, key=lambda category: category['id'])):
        yield f"/{category['name']}", table[..., index, 0]
    for index, name in enumerate(size_names(size_bins_px), start=1):
        yield f'/{name}', table[..., index]


def size_names(size_bins_px: Sequence[float]) -> list[str]:
    """0-16px, 16-32px, 32px+ for the edges 16 and 32; none without edges."""
    if not size_bins_px:
        return []
    edges = [0, *size_bins_px]
    return [f'{low}-{high}px' for low, high in zip(edges, edges[1:], strict=False)] + [f'{edges[-1]}px+']


def mean_of_defined(table: np.ndarray) -> float:
    """Mean of the values that are not -1; NaN where there is none."""
    defined = table[table > -1]
    return float(defined.mean()) if defined.size else float('nan')
