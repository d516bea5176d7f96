"""The hook that chooses the precision of a test."""

from collections.abc import Iterator
from functools import partial

import torch
from mmdet.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmcell.cells.cells import Cells, select_cells
from mmcell.models.precision import choose_precision, set_precision

# The cells that the automatic choice compares, as tools/predict.py keeps them.
_MIN_SCORE = .5


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Predicts test images in mixed precision, or in float32, and logs which and why.

    Args:
        is_wanted: Whether mixed precision is wanted; None: the automatic choice of
            :func:`mmcell.models.precision.choose_precision`, which compares the cells of the first test images with a
            score of at least .5.
    """

    # After EMAHook, which puts the averaged weights into the model.
    priority = 'LOWEST'

    def __init__(self, is_wanted: bool | None = None) -> None:
        self.is_wanted = is_wanted

    def before_test_epoch(self, runner: Runner) -> None:
        """Chooses the precision, and sets it in the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        samples = (partial(_predict, model, data) for data in _load_samples(runner))
        runner.logger.info(choose_precision(model, self.is_wanted, samples).describe())

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Sets the model to float32 again."""
        set_precision(runner.model, None)


def _load_samples(runner: Runner) -> Iterator[dict]:
    dataset = runner.test_dataloader.dataset
    for index in range(len(dataset)):
        yield dataset[index]


def _predict(model: nn.Module, data: dict) -> Cells:
    """Returns the cells of a loaded image with a score of at least .5; none if the detector predicts no masks."""
    with torch.no_grad():
        sample = model.test_step(pseudo_collate([data]))[0]
    if 'masks' not in sample.pred_instances:
        return Cells.empty(*sample.ori_shape[:2])
    return select_cells(Cells.from_instances(sample.pred_instances, *sample.ori_shape[:2]), _MIN_SCORE)
