"""Importing this module registers the metrics and the result writers with MMDetection."""

from mmcell.evaluation.cell_metric import CellMetric
from mmcell.predictions.evaluators import DumpCellResults, SubmissionFormatter

__all__ = ['CellMetric', 'DumpCellResults', 'SubmissionFormatter']
