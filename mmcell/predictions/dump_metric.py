"""An evaluator that writes the dump of predictions."""

from collections.abc import Sequence
from pathlib import Path

from mmdet.evaluation import DumpDetResults
from mmdet.registry import METRICS
from mmengine.fileio import dump
from mmengine.logging import print_log

from mmcell.files.whole_files import written_whole
from mmcell.predictions.dump_file import with_bytes


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
