"""An evaluator that writes the submission."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmcell.predictions.dump_file import to_coco_detections
from mmcell.predictions.submission import TestSet, read_test_set, write_submission


@METRICS.register_module()
class SubmissionFormatter(BaseMetric):
    """Writes the predictions of the test images as a checked submission zip, and measures nothing.

    Labels become the category ids of the annotation file by the names of the classes.

    Args:
        ann_file: The annotation file of the test images; None takes the annotation file of the data set that is tested.
        out: The zip file to write; None writes ``submission.zip`` next to the log file of the run.
        collect_device: How the results of several processes are gathered: 'gpu' uses the process group, also on a CPU,
            and 'cpu' uses files in ``.dist_test``, which stay in the current folder.
        collect_dir: The folder for the files of 'cpu', see ``mmengine.evaluator.BaseMetric``.

    Raises:
        ClassesError: The annotation file has other classes than the data set that is tested.
        SubmissionError: The predictions are not a valid submission.
    """

    default_prefix = 'submission'

    def __init__(self, ann_file: str | None = None, out: str | None = None, collect_device: str = 'gpu',
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.ann_file = ann_file
        self.out = out

    @cached_property
    def test_set(self) -> TestSet:
        """The images and categories of the annotation file, which is read only once."""
        return read_test_set(self.ann_file or self.dataset_meta['ann_file'])

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the COCO detections of each image."""
        # Joined data sets have a list as meta information, which names no annotation file either.
        classes = self.dataset_meta.get('classes') if isinstance(self.dataset_meta, dict) else None
        category_ids = self.test_set.categories.ids_of_labels(classes, 'the test data')
        self.results.extend(to_coco_detections(sample, category_ids) for sample in data_samples)

    def compute_metrics(self, results: list[list[dict]]) -> dict[str, int]:
        """Writes the file and returns the number of detections in it."""
        logger = MMLogger.get_current_instance()
        out = self.out or str(Path(logger.log_file or '.').parent / 'submission.zip')
        detections = [detection for image_detections in results for detection in image_detections]
        report = write_submission(detections, self.test_set, out)
        for remark in report.remarks:
            logger.info(remark)
        logger.info(f'wrote a submission of {report.n_detections} detections to {out}')
        return {'detections': report.n_detections}
