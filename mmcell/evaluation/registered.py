"""Importing this module registers the metrics and the result writers with MMDetection."""

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.predictions.dump_metric import DumpCellResults
from mmcell.predictions.submission_formatter import SubmissionFormatter

__all__ = ['CellMetric', 'DumpCellResults', 'SubmissionFormatter']
