"""COCO evaluation of detections at chosen caps and size bins, on faster-coco-eval."""

from collections import Counter
from collections.abc import Sequence

from faster_coco_eval import COCO, COCOeval_faster

from mmcell.coco_json import AnnotationError
from mmcell.results import ResultsError
from mmcell.rle import areas_px

# sqrt(area) of what COCO calls an infinite area.
LARGEST_PX = 1e5


def evaluate_coco(document: dict, detections: list[dict], kind: str, caps: Sequence[int | None],
                  size_bins_px: Sequence[float] = ()) -> COCOeval_faster:
    """Runs COCO's matching and accumulation.

    Args:
        document: COCO ground truth; stays as it is.
        detections: COCO results; stay as they are. 'segm' needs masks as compressed RLE, 'bbox' boxes xywh.
        kind: 'segm' or 'bbox'.
        caps: most detections of a class in an image, each its own index in the tables; None: every detection.
        size_bins_px: edges between the size bins, sqrt(area) in px, rising.

    Returns:
        The evaluation. ``eval['precision']`` (10 IoU thresholds from .5, 101 recalls, classes by id, sizes, caps) and
        ``eval['recall']`` (thresholds, classes, sizes, caps) are -1 where a class has no cell. Size 0 is every cell.

    Raises:
        AnnotationError: an annotation without area.
        ResultsError: a detection of an unknown image or category, which COCO would drop or stumble over.
        ValueError: an argument out of its range; an RLE that cannot be decoded.
    """
    truth = _truth_of(document)
    evaluation = COCOeval_faster(truth, _found_of(document, detections, kind), kind, print_function=lambda *_: None,
                                 rle_iou_max_workers=1)
    evaluation.params.areaRng = _area_ranges(size_bins_px)
    evaluation.params.areaRngLbl = [str(index) for index in range(len(evaluation.params.areaRng))]
    numbers = _numbers(caps, detections)
    evaluation.params.maxDets = sorted(numbers)
    evaluation.evaluate()
    evaluation.accumulate()
    for table in ('precision', 'recall'):
        evaluation.eval[table] = evaluation.eval[table][..., [sorted(numbers).index(number) for number in numbers]]
    return evaluation


def _truth_of(document: dict) -> COCO:
    for annotation in document['annotations']:
        if 'area' not in annotation:
            raise AnnotationError(f"annotation {annotation['id']} has no area, by which COCO sorts cells by size")
    # Copies, because evaluation writes into the records.
    return COCO({**document, 'annotations': [dict(annotation) for annotation in document['annotations']]})


def _found_of(document: dict, detections: list[dict], kind: str) -> COCO:
    """Detections as ``COCO.loadRes`` makes them, with all areas in one pass.

    The area is that of the mask for 'segm', of the box for 'bbox', as in pycocotools (which takes the box's for masks,
    too, where results hold both).
    """
    for key, records in (('image_id', 'images'), ('category_id', 'categories')):
        unknown = {detection[key] for detection in detections} - {record['id'] for record in document[records]}
        if unknown:
            raise ResultsError(f'detections have {key} {sorted(unknown)[:5]}, which the annotation file does not define')
    if kind == 'segm':
        areas = areas_px([detection['segmentation'] for detection in detections]).tolist()
        shapes = [{'segmentation': detection['segmentation']} for detection in detections]
    elif kind == 'bbox':
        shapes = [{'bbox': detection['bbox']} for detection in detections]
        areas = [shape['bbox'][2] * shape['bbox'][3] for shape in shapes]
    else:
        raise ValueError(f"kind must be 'segm' or 'bbox', got {kind!r}")
    coco = COCO()
    coco.dataset = {'images': document['images'], 'categories': document['categories'], 'annotations': [
        {'id': number, 'image_id': detection['image_id'], 'category_id': detection['category_id'],
         'score': detection['score'], 'area': area, 'iscrowd': 0, **shape}
        for number, (detection, area, shape) in enumerate(zip(detections, areas, shapes, strict=True), start=1)]}
    coco.createIndex()
    return coco


def _area_ranges(size_bins_px: Sequence[float]) -> list[list[float]]:
    edges = [0, *size_bins_px, LARGEST_PX]
    if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
        raise ValueError(f'size_bins_px must rise between 0 and {LARGEST_PX:.0f}, got {list(size_bins_px)}')
    bins = zip(edges, edges[1:], strict=False) if size_bins_px else ()
    return [[0, LARGEST_PX ** 2], *([low ** 2, high ** 2] for low, high in bins)]


def _numbers(caps: Sequence[int | None], detections: list[dict]) -> list[int]:
    """Caps as numbers; for None one that no detection exceeds."""
    if not caps or any(cap is not None and cap < 1 for cap in caps):
        raise ValueError(f'caps must be positive or None, got {list(caps)}')
    counts = Counter((detection['image_id'], detection['category_id']) for detection in detections)
    largest = max([1, *counts.values()])
    return [largest if cap is None else cap for cap in caps]
