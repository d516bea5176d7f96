"""Hooks that are registered with MMDetection."""

from mmcell.hooks.budget import ParameterBudgetError, ParameterBudgetHook
from mmcell.hooks.checkpoints import CellCheckpointHook
from mmcell.hooks.early_stopping import CellEarlyStoppingHook
from mmcell.hooks.fit import ClassCountHook, FittingCheckpointHook
from mmcell.hooks.pictures import CellVisualizationHook
from mmcell.hooks.steps import FiniteLossHook, NonFiniteLossError, StepSeedHook

__all__ = ['CellCheckpointHook', 'CellEarlyStoppingHook', 'CellVisualizationHook', 'ClassCountHook', 'FiniteLossHook',
           'FittingCheckpointHook', 'NonFiniteLossError', 'ParameterBudgetError', 'ParameterBudgetHook',
           'StepSeedHook']
