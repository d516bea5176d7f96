"""Checks whether a model, a checkpoint and the names of the classes belong together."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmcell.checkpoints.differences import compare_models, recorded_settings
from mmcell.checkpoints.records import content_of
from mmcell.errors import MmcellError, list_some
from mmcell.framework.safe_loading import LEAST_SHARE


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


def refuse_other_model(model: nn.Module, settings: Mapping, checkpoint: dict) -> None:
    """Compares a model with a checkpoint, weight by weight, and with the settings that the checkpoint records of it.

    Two models can have weights of the same names and shapes that mean different things, for example with other anchors.

    Args:
        model: The model that is to get the weights.
        settings: The setting ``model`` of the config, as nested dicts and lists.
        checkpoint: A loaded checkpoint; its weights are in ``state_dict``, or it consists of the weights. Without a
            config in it, no settings are compared.

    Raises:
        FitError: A weight of the model is missing in the checkpoint, or has another shape there, or the checkpoint has
            a weight that the model does not have, or a setting differs that changes what the weights mean.
    """
    shapes, wanted = _shapes(checkpoint), _shapes(model.state_dict())
    wrong = [f'{name} {shapes.get(name, "missing")}, model {shape}'
             for name, shape in wanted.items() if shapes.get(name) != shape]
    if wrong:
        raise FitError(f'the checkpoint is of another model than the config: {len(wrong)} of {len(wanted)} weights '
                       f'differ: {list_some(wrong, "; ")}')
    unused = [name for name in shapes if name not in wanted]
    if unused:
        raise FitError(f'the checkpoint is of another model than the config: {len(unused)} of its {len(shapes)} '
                       f'weights have no place in the model: {list_some(unused, "; ")}')
    recorded = (recorded_settings(content_of(checkpoint)) or {}).get('model')
    differences = compare_models(recorded, settings) if isinstance(recorded, Mapping) else []
    if differences:
        raise FitError('the checkpoint was trained with another model, for which its weights have another meaning: '
                       f'{list_some(differences)}. Use it with the config that it was trained with')


def count_fitting_weights(model: nn.Module, checkpoint: dict, name: str) -> str:
    """Counts the weights that a model takes from a checkpoint at the start of a training.

    Args:
        model: The model that is to get the weights.
        checkpoint: A loaded checkpoint; its weights are in ``state_dict``, or it consists of the weights.
        name: The name of the checkpoint, for the text.

    Returns:
        A sentence with the number of weights that are taken, and the names of those that are not.

    Raises:
        FitError: Fewer than half of the model's weights are in the checkpoint with the same name and shape.
    """
    shapes, wanted = _shapes(checkpoint), _shapes(model.state_dict())
    missing = [weight for weight, shape in wanted.items() if shapes.get(weight) != shape]
    n_taken = len(wanted) - len(missing)
    sentence = (f'{n_taken} of the {len(wanted)} weights of the model are in {name} with the same name and shape'
                + (f'; not there: {list_some(missing, "; ")}' if missing else ''))
    if n_taken < LEAST_SHARE * len(wanted):
        unused = [weight for weight in shapes if weight not in wanted]
        raise FitError(f'load_from: only {sentence}' + (f'; there instead: {list_some(unused, "; ")}' if unused else '')
                       + '. The training would start from random weights: name a checkpoint of this model, or convert '
                         'it. Weights of the backbone belong to model.backbone.init_cfg')
    return f'load_from: {sentence}'


def _shapes(checkpoint: dict) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights in a checkpoint or a state dict by name."""
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping):
        raise FitError(f'the checkpoint has a {type(state).__name__} where its weights should be')
    return {without_wrappers(name): tuple(value.shape) for name, value in state.items()
            if isinstance(value, torch.Tensor)}
