"""The metric of training and testing: COCO average precision, with the cap on detections in its names."""

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
    """Mask AP and AP50, both without a cap on detections and at COCO's default cap; many more values in a file.

    COCO evaluation keeps at most ``maxDets`` detections per image and class, 100 by default. Images of cells have
    hundreds, so that this cap decides the value. Therefore both values are given, under names that say which is which:

    - AP, AP50: every detection counts. AP is the mean over the IoU thresholds .50, .55 … .95 and over the classes that
      have a true cell, AP50 has only the IoU threshold .50. They are from 0 to 1, 0 without detections, and NaN without
      true cells.
    - AP@100, AP50@100: the same values with at most 100 detections per image and class, as on a leaderboard with COCO's
      default.

    Only these four values are logged, and the best checkpoint is chosen by one of them. ``out_file`` contains all
    values of :func:`average_precisions` (AP75, recall, boxes, every class and size) and of
    :func:`segmentation_scores` (PQ, AJI, Dice, F1). No value is rounded.

    Images that were not predicted do not count, and a warning says how many they are: a data set with ``indices`` is
    measured only on its own images. An image that was predicted twice, which samplers of several processes may cause,
    counts once.

    Why is this neither MMDetection's ``FasterCocoMetric`` nor faster-coco-eval's evaluator, which that metric uses?
    ``FasterCocoMetric`` rounds to three digits, and takes its caps from ``proposal_nums`` and its values from the last
    cap, under names that do not contain the cap (``segm_mAP``). The evaluator does not give away the matches of each
    image, which intervals over images need. Here the matches are arrays (:func:`match_classes`), overlaps are computed
    by faster-coco-eval, and the values are those of pycocotools.

    Args:
        ann_file: The COCO annotation file with the true cells; None takes the file of the data set that is tested.
        out_file: The JSON file for all values of the last evaluation, with null for undefined values; None writes no
            file.
        size_bins_px: Edges between the sizes in that file, as square roots of mask areas in px.
        score_threshold: The lowest score of the predictions that count for PQ, AJI, Dice and F1 in that file.
        collect_device: How the results of several processes are gathered: 'gpu' uses the process group, also on a CPU,
            and 'cpu' uses files in ``.dist_test``, which stay in the current folder.
        collect_dir: The folder for the files of 'cpu', see ``mmengine.evaluator.BaseMetric``.
    """

    default_prefix = ''
    # What compute_metrics returns; hooks compare the names of the values that they are told to watch with it.
    value_names = HEADLINES

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
        """The content of the annotation file, which is read only once."""
        return read_annotations(self.ann_file or self.dataset_meta['ann_file'])

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the COCO detections of each image, with masks as RLE."""
        category_ids = [category['id'] for category in self.ground_truth['categories']]
        self.results.extend((sample['img_id'], to_coco_detections(sample, category_ids)) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[int, list[dict]]]) -> dict[str, float]:
        """Returns the four values over all predicted images, and writes the file if there is one to write."""
        by_image = dict(results)
        detections = [detection for image_detections in by_image.values() for detection in image_detections]
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
        """Returns the annotations of only these images, and warns if the annotation file has others."""
        document = self.ground_truth
        images = [image for image in document['images'] if image['id'] in image_ids]
        if len(images) < len(document['images']):
            print_log(f"{len(images)} of {len(document['images'])} images were predicted; values are for these only",
                      logger='current', level=logging.WARNING)
        return {**document, 'images': images, 'annotations': [
            annotation for annotation in document['annotations'] if annotation['image_id'] in image_ids]}
