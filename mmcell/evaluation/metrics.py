"""Metrics and result writers, registered with MMDetection."""

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.evaluation.dump import DumpCellResults
from mmcell.evaluation.submission_formatter import SubmissionFormatter

__all__ = ['CellMetric', 'DumpCellResults', 'SubmissionFormatter']
