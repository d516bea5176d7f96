"""COCO average precision with the cap on detections in its names."""

import logging
from collections.abc import Sequence
from functools import cached_property

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmcell.annotations.coco_json import read_annotations
from mmcell.evaluation.average_precision import SIZE_BINS_PX, average_precisions
from mmcell.evaluation.image_pairs import pair_images
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.metrics_file import write_metrics
from mmcell.evaluation.segmentation_scores import segmentation_scores
from mmcell.predictions.dump_file import to_coco_detections

HEADLINES = ('AP', 'AP50', 'AP@100', 'AP50@100')


@METRICS.register_module()
class CellMetric(BaseMetric):
    """Mask AP and AP50, with every detection counted and at COCO's default cap; with a file, much more.

    COCO evaluation keeps at most ``maxDets`` detections of each class in an image, 100 by default. Images here
    have hundreds of cells, so that the cap decides the value. Both are given, and the names say which is which:

    - AP, AP50: every detection counts. AP is the mean over IoU thresholds .5, .55 … .95 and over the classes
      present, AP50 takes IoU .5 alone. 0 to 1; 0 without detections, NaN without ground truth.
    - AP@100, AP50@100: the same at 100 detections a class and image, as a leaderboard with COCO's default prints.

    These four are what is logged and what the best checkpoint follows. ``out_file`` has all of
    :func:`average_precisions`: AP75 and recall, boxes, every class and size; and all of :func:`segmentation_scores`:
    PQ, AJI, Dice, F1. Values are not rounded.

    Images that were not predicted do not count, which is warned of: a data set with ``indices`` is measured on its own
    images. An image that came twice, as samplers of several processes may have it, counts once.

    Why not MMDetection's ``FasterCocoMetric``, or the evaluator of faster-coco-eval under it? The former rounds to
    three digits, takes its caps from ``proposal_nums`` and its values from the last of them under names that do not
    tell (``segm_mAP``). The latter keeps the matches of each image to itself, which intervals over images need; here
    they are arrays (:func:`match_classes`), its overlaps are used, and the values are those of pycocotools.

    Args:
        ann_file: COCO ground truth; None: the annotation file of the data set that is tested.
        out_file: JSON file for all values of the last evaluation, null where one is not defined; None: no file.
        size_bins_px: edges between the sizes in that file, sqrt(area) of the mask in px.
        score_threshold: least score of what PQ, AJI, Dice and F1 in that file count.
        collect_device, collect_dir: as ``mmengine.evaluator.BaseMetric``. 'gpu' gathers through the process group, on
            the CPU too; 'cpu' through files in ``.dist_test``, which it leaves in the working directory.
    """

    default_prefix = ''

    def __init__(self, ann_file: str | None = None, out_file: str | None = None,
                 size_bins_px: Sequence[float] = SIZE_BINS_PX, score_threshold: float = .5, collect_device: str = 'gpu',
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.ann_file = ann_file
        self.out_file = out_file
        self.size_bins_px = size_bins_px
        self.score_threshold = score_threshold

    @cached_property
    def ground_truth(self) -> dict:
        """The annotation file, read once."""
        return read_annotations(self.ann_file or self.dataset_meta['ann_file'])

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the COCO detections of each image, masks as RLE."""
        category_ids = [category['id'] for category in self.ground_truth['categories']]
        self.results.extend((sample['img_id'], to_coco_detections(sample, category_ids)) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[int, list[dict]]]) -> dict[str, float]:
        """The four values over all predicted images."""
        by_image = dict(results)
        detections = [detection for found in by_image.values() for detection in found]
        document = self._ground_truth_of(by_image.keys())
        if self.out_file is None:
            values = average_precisions(document, detections, kinds=('segm',), size_bins_px=())
        else:
            values = average_precisions(document, detections, size_bins_px=self.size_bins_px)
            class_ids, class_names = ([category[key] for category in document['categories']] for key in ('id', 'name'))
            statistics = [image_statistics(pair, class_ids, self.score_threshold)
                          for pair in pair_images(document, detections)]
            write_metrics({**values, **segmentation_scores(statistics, class_names)}, self.out_file)
        return {name: values[name] for name in HEADLINES}

    def _ground_truth_of(self, image_ids: Sequence[int]) -> dict:
        """The annotations of some images; warns where they are not all."""
        document = self.ground_truth
        images = [image for image in document['images'] if image['id'] in image_ids]
        if len(images) < len(document['images']):
            print_log(f"{len(images)} of {len(document['images'])} images were predicted; values are of these alone",
                      logger='current', level=logging.WARNING)
        return {**document, 'images': images, 'annotations': [
            annotation for annotation in document['annotations'] if annotation['image_id'] in image_ids]}
