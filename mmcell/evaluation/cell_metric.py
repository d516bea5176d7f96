"""The metric of training and testing: COCO average precision, with the cap on detections in its names."""

import logging
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmcell.annotations.ground_truth import GroundTruth, read_true_cells
from mmcell.evaluation.average_precision import SIZE_BINS_PX, average_precisions
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.pairs import Pairs
from mmcell.evaluation.report_files import write_metrics
from mmcell.evaluation.segmentation_scores import segmentation_scores
from mmcell.predictions.cells import Predictions, join_predictions, to_predictions

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

    Labels become the category ids of the annotation file by the names of the classes.

    Only these four values are logged, and the best checkpoint is chosen by one of them. ``out_file`` contains all
    values of :func:`average_precisions` (AP75, recall, boxes, every class and size) and of
    :func:`segmentation_scores` (PQ, AJI, Dice, F1). No value is rounded.

    Images that were not predicted do not count, and a warning says how many they are: a data set with ``indices`` is
    measured only on its own images. An image that was predicted twice, which samplers of several processes may cause,
    counts once.

    Why is this neither MMDetection's ``FasterCocoMetric`` nor faster-coco-eval's evaluator, which that metric uses?
    ``FasterCocoMetric`` rounds to three digits, and takes its caps from ``proposal_nums`` and its values from the last
    cap, under names that do not contain the cap (``segm_mAP``). The evaluator does not give away the matches of each
    image, which intervals over images need. Here the matches are arrays (:func:`match_classes`), and the values are
    those of pycocotools.

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
    def ground_truth(self) -> GroundTruth:
        """The content of the annotation file, which is read only once; of a held-out fold, only its images."""
        meta = self.dataset_meta if isinstance(self.dataset_meta, dict) else {}
        return read_true_cells(self.ann_file or meta['ann_file'],
                               fold=meta.get('fold') if meta.get('held_out') else None)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the predicted cells of each image, with masks as RLE."""
        names = self.dataset_meta.get('classes') if isinstance(self.dataset_meta, dict) else None
        classes = self.ground_truth.classes_of_labels(names, 'the tested data')
        self.results.extend((sample['img_id'], to_predictions(sample, self.ground_truth, classes))
                            for sample in data_samples)

    def compute_metrics(self, results: list[tuple[int, Predictions]]) -> dict[str, float]:
        """Returns the four values over all predicted images, and writes the file if there is one to write."""
        pairs = self._pairs_of(dict(results))
        if self.out_file is None:
            values = average_precisions(pairs, kinds=('segm',), size_bins_px=())
        else:
            values = average_precisions(pairs, size_bins_px=self.size_bins_px)
            names = pairs.truth.class_names
            statistics = [image_statistics(image.above(self.score_threshold), len(names)) for image in pairs.painted]
            write_metrics({**values, **segmentation_scores(statistics, names)}, self.out_file)
        return {name: values[name] for name in HEADLINES}

    def _pairs_of(self, by_image: dict[int, Predictions]) -> Pairs:
        """Returns the cells of the predicted images, and warns if the annotation file has other images."""
        truth = self.ground_truth
        is_predicted = np.array([image_id in by_image for image_id in truth.image_ids], bool)
        if not is_predicted.all():
            print_log(f'{is_predicted.sum()} of {len(is_predicted)} images were predicted; values are for these only',
                      logger='current', level=logging.WARNING)
        return Pairs(truth.of_images(is_predicted),
                     join_predictions(list(by_image.values())).of_images(is_predicted))
