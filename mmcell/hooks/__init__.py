"""Hooks that are registered with MMDetection."""

from mmcell.hooks.budget import ParameterBudgetError, ParameterBudgetHook
from mmcell.hooks.checkpoints import CellCheckpointHook
from mmcell.hooks.early_stopping import CellEarlyStoppingHook
from mmcell.hooks.first_screen import FirstScreenHook
from mmcell.hooks.first_step import FirstStepHook
from mmcell.hooks.fit import ClassCountHook, FittingCheckpointHook
from mmcell.hooks.pictures import CellVisualizationHook
from mmcell.hooks.progress import ProgressHook
from mmcell.hooks.start import StartingCheckpointHook, WatchedValueHook
from mmcell.hooks.steps import FiniteLossHook, NonFiniteLossError, StepSeedHook

__all__ = ['CellCheckpointHook', 'CellEarlyStoppingHook', 'CellVisualizationHook', 'ClassCountHook', 'FiniteLossHook',
           'FirstScreenHook', 'FirstStepHook', 'FittingCheckpointHook', 'NonFiniteLossError', 'ParameterBudgetError',
           'ParameterBudgetHook', 'ProgressHook', 'StartingCheckpointHook', 'StepSeedHook', 'WatchedValueHook']
