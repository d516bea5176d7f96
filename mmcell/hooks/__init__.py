"""Hooks that are registered with MMDetection."""

from mmcell.hooks.budget import ParameterBudgetError, ParameterBudgetHook
from mmcell.hooks.checkpoints import CellCheckpointHook
from mmcell.hooks.convolutions import WinogradHook
from mmcell.hooks.first_screen import FirstScreenHook
from mmcell.hooks.first_step import FirstStepHook
from mmcell.hooks.fit import ClassCountHook, FittingCheckpointHook, StartingCheckpointHook
from mmcell.hooks.matmul_precision import MatmulPrecisionHook
from mmcell.hooks.multi_ema import MultiEMAHook
from mmcell.hooks.pictures import CellVisualizationHook
from mmcell.hooks.precision import PrecisionHook
from mmcell.hooks.progress import ProgressHook
from mmcell.hooks.steps import FiniteLossHook, NonFiniteLossError, StepSeedHook
from mmcell.hooks.stopping import MissedValidationHook, StopHook
from mmcell.hooks.trackers import TrackerHook
from mmcell.hooks.watched_values import CellEarlyStoppingHook, WatchedValueHook

__all__ = ['CellCheckpointHook', 'CellEarlyStoppingHook', 'CellVisualizationHook', 'ClassCountHook', 'FiniteLossHook',
           'FirstScreenHook', 'FirstStepHook', 'FittingCheckpointHook', 'MatmulPrecisionHook', 'MissedValidationHook',
           'MultiEMAHook', 'NonFiniteLossError', 'ParameterBudgetError', 'ParameterBudgetHook', 'PrecisionHook',
           'ProgressHook', 'StartingCheckpointHook', 'StepSeedHook', 'StopHook', 'TrackerHook', 'WatchedValueHook',
           'WinogradHook']
