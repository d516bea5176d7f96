"""Evaluators that measure nothing, but write the predictions of a test: as a dump, or as a submission."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmdet.evaluation import DumpDetResults
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import MMLogger, print_log

from mmcell.annotations.ground_truth import ImageSet
from mmcell.files.whole_files import written_whole
from mmcell.predictions.cells import Predictions, join_predictions, to_predictions
from mmcell.predictions.dump_file import with_bytes
from mmcell.predictions.submission import read_test_set, write_submission


@METRICS.register_module()
class DumpCellResults(DumpDetResults):
    """``DumpDetResults`` that also accepts masks as RLE, and writes the file completely or not at all.

    The file has MMDetection's format: a pickled list with one dict per image, with masks as COCO RLE and counts as
    bytes. Each dict also contains the names of the classes, if they are known.

    Args:
        out_file_path: The file to write. It must end with .pkl or .pickle.
        collect_device: How the results of several processes are gathered, see :class:`CellMetric`.
        collect_dir: The folder for the files of 'cpu', see :class:`CellMetric`.
    """

    default_prefix = ''

    def __init__(self, out_file_path: str, collect_device: str = 'gpu', collect_dir: str | None = None) -> None:
        super().__init__(out_file_path, collect_device=collect_device, collect_dir=collect_dir)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keeps the predictions of each image, but not its ground truth."""
        for sample in data_samples:
            instances = dict(sample['pred_instances'])
            masks = instances.pop('masks', None)
            super().process(data_batch, [{**sample, 'pred_instances': instances}])
            if masks is not None:
                self.results[-1]['pred_instances']['masks'] = with_bytes(masks)
            if isinstance(self.dataset_meta, dict) and 'classes' in self.dataset_meta:
                self.results[-1]['classes'] = list(self.dataset_meta['classes'])

    def compute_metrics(self, results: list[dict]) -> dict:
        """Writes the file; returns no values."""
        with written_whole([self.out_file_path]) as (temporary,):
            dump(results, str(temporary), file_format='pkl')
        print_log(f'Results are in {Path(self.out_file_path)}', logger='current')
        return {}


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
