"""An evaluator that writes the submission."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmcell.annotations.ground_truth import ImageSet
from mmcell.predictions.cells import Predictions, join_predictions, to_predictions
from mmcell.predictions.submission import read_test_set, write_submission


@METRICS.register_module()
class SubmissionFormatter(BaseMetric):
    """Writes the predictions of the test images as a checked submission zip, and measures nothing.

    Labels become the category ids of the annotation file by the names of the classes.

    Args:
        ann_file: The annotation file of the test images; None takes the annotation file of the data set that is tested.
        out: The zip file to write; None writes ``submission.zip`` next to the log file of the run.
        collect_device: How the results of several processes are gathered, see :class:`CellMetric`.
        collect_dir: The folder for the files of 'cpu', see :class:`CellMetric`.

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
    def test_set(self) -> ImageSet:
        """The images and categories of the annotation file, which is read only once."""
        return read_test_set(self.ann_file or self.dataset_meta['ann_file'])

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the predicted cells of each image."""
        # Joined data sets have a list as meta information, which names no annotation file either.
        names = self.dataset_meta.get('classes') if isinstance(self.dataset_meta, dict) else None
        classes = self.test_set.classes_of_labels(names, 'the test data')
        self.results.extend(to_predictions(sample, self.test_set, classes) for sample in data_samples)

    def compute_metrics(self, results: list[Predictions]) -> dict[str, int]:
        """Writes the file and returns the number of detections in it."""
        logger = MMLogger.get_current_instance()
        out = self.out or str(Path(logger.log_file or '.').parent / 'submission.zip')
        report = write_submission(join_predictions(results), self.test_set, out)
        for remark in report.remarks:
            logger.info(remark)
        logger.info(f'wrote a submission of {report.n_detections} detections to {out}')
        return {'detections': report.n_detections}
