"""Checks whether a model, a checkpoint and the names of the classes belong together."""

import re
from collections.abc import Sequence

import torch
from torch import nn

from mmcell.errors import MmcellError

MAX_LISTED = 5


class FitError(MmcellError):
    """Model, data and checkpoint do not belong together."""


def refuse_other_classes(model: nn.Module, classes: Sequence[str]) -> None:
    """Compares the number of classes of a model's heads with the names of the classes.

    Args:
        model: Any module; every part with an attribute ``num_classes`` is compared, except RPN heads.
        classes: The names of all classes.

    Raises:
        FitError: A head has another number of classes than there are names.
    """
    wrong = {name: module.num_classes for name, module in model.named_modules()
             if hasattr(module, 'num_classes') and not name.endswith('rpn_head')
             and module.num_classes != len(classes)}
    if wrong:
        options = ' '.join(f"model.{without_wrappers(name)}.num_classes={len(classes)}" for name in wrong)
        raise FitError(f'the model has {next(iter(wrong.values()))} classes, the data {len(classes)} '
                       f'({", ".join(classes)}): --cfg-options {options}')


def without_wrappers(name: str) -> str:
    """Returns the name that a weight or part has in the model itself, without the prefixes of wrappers.

    Every wrapper around a model (DistributedDataParallel, test-time augmentation) puts ``module.`` before the names.
    """
    return re.sub(r'^(module\.)+', '', name)


def refuse_other_weights(model: nn.Module, checkpoint: dict) -> None:
    """Compares a checkpoint with a model, weight by weight. Weights that only the checkpoint has are not compared.

    Args:
        model: The model that is to get the weights.
        checkpoint: A loaded checkpoint; its weights are in ``state_dict``, or it consists of the weights.

    Raises:
        FitError: A weight of the model is missing in the checkpoint, or has another shape there.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict):
        raise FitError(f'the checkpoint has a {type(state).__name__} where its weights should be')
    shapes = {without_wrappers(name): tuple(value.shape) for name, value in state.items()
              if isinstance(value, torch.Tensor)}
    wanted = {without_wrappers(name): tuple(value.shape) for name, value in model.state_dict().items()}
    wrong = [f'{name} {shapes.get(name, "missing")}, model {shape}'
             for name, shape in wanted.items() if shapes.get(name) != shape]
    if wrong:
        raise FitError(
            f'the checkpoint is of another model than the config: {len(wrong)} of {len(wanted)} weights differ: '
            + '; '.join(wrong[:MAX_LISTED]) + (' …' if len(wrong) > MAX_LISTED else ''))
