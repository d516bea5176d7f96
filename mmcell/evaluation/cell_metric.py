"""COCO mask average precision with the caps on detections in its names."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from mmcell.coco_json import read_annotations
from mmcell.results import to_coco_detections

CAP = 100


@METRICS.register_module()
class CellMetric(BaseMetric):
    """Mask AP and AP50, with every detection counted and at COCO's default cap.

    COCO evaluation keeps at most ``maxDets`` detections of each class in an image, 100 by default. Images here
    have hundreds of cells, so that the cap decides the value. Both are given, and the names say which is which:

    - AP, AP50: every detection counts. AP is the mean over IoU thresholds .5, .55 … .95 and over the classes
      present, AP50 takes IoU .5 alone. 0 to 1; 0 without detections, NaN without ground truth.
    - AP@100, AP50@100: the same at 100 detections a class and image, as a leaderboard with COCO's default prints.

    MMDetection's ``FasterCocoMetric`` rounds to three digits and takes its caps from ``proposal_nums``, under
    names that do not tell them; this one is built on the same faster-coco-eval.

    Args:
        ann_file: COCO ground truth; None: the annotation file of the data set that is tested.
        collect_device, collect_dir: as ``mmengine.evaluator.BaseMetric``. 'gpu' gathers through the process group, on
            the CPU too; 'cpu' through files in ``.dist_test``, which it leaves in the working directory.
    """

    default_prefix = ''

    def __init__(self, ann_file: str | None = None, collect_device: str = 'gpu',
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.ann_file = ann_file

    @cached_property
    def ground_truth(self) -> dict:
        """The annotation file, read once."""
        return read_annotations(self.ann_file or self.dataset_meta['ann_file'])

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the COCO detections of each image, masks as RLE."""
        category_ids = [category['id'] for category in self.ground_truth['categories']]
        self.results.extend(to_coco_detections(sample, category_ids) for sample in data_samples)

    def compute_metrics(self, results: list[list[dict]]) -> dict[str, float]:
        """The four values over all images."""
        detections = [detection for found in results for detection in found]
        precisions = mask_precisions(self.ground_truth, detections)
        return {f'{name}{suffix}': mean_of_defined(values[..., index])
                for index, suffix in ((1, ''), (0, f'@{CAP}'))
                for name, values in (('AP', precisions), ('AP50', precisions[:1]))}


def mask_precisions(document: dict, detections: list[dict]) -> np.ndarray:
    """Interpolated mask precision of COCO evaluation (faster-coco-eval, equal to pycocotools).

    Args:
        document: COCO ground truth.
        detections: COCO results with compressed RLE.

    Returns:
        (10 IoU thresholds from .5, 101 recalls, classes, 2 caps), -1 where a class has no ground truth. The caps are
        100 detections of a class in an image, and one that lets every detection count.
    """
    largest = max(Counter((d['image_id'], d['category_id']) for d in detections).values(), default=0)
    # Results carry no bbox here: from a box COCO's loader would take the area, and with it the size class.
    results = [{key: value for key, value in d.items() if key != 'bbox'} for d in detections]
    ground_truth = COCO(document)
    evaluation = COCOeval_faster(ground_truth, ground_truth.loadRes(results), 'segm', print_function=lambda *_: None)
    evaluation.params.maxDets = [CAP, max(largest, CAP + 1)]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval['precision'][:, :, :, 0, :]


def mean_of_defined(precisions: np.ndarray) -> float:
    """Mean of the values that are not -1; NaN where there is none."""
    defined = precisions[precisions > -1]
    return float(defined.mean()) if defined.size else float('nan')
