"""The config that a checkpoint holds: read without running code from it, and models that are built from it."""

import ast
from collections.abc import Iterator
from importlib import import_module

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from mmcell.checkpoints.allowed_classes import names_in_models, names_in_pipelines
from mmcell.errors import MmcellError, in_one_line, list_some
from mmcell.framework.limited_build import building_within, guard_lookups
from mmcell.settings.data_sets import leaf_settings

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 50
# The largest models of MMDetection need some 10,000 operations of torch to be built.
MAX_OPERATIONS = 30_000
# The greatest whole number and the greatest other number in the config of a model. 1e8 stands for "no limit" there.
MAX_INTEGER, MAX_FLOAT = 100_000, 1e9
# Settings that enlarge images: sides in px, and numbers that sides become a multiple of, so that an image has at most
# 2^28 px; factors of both sides.
_GREATEST = {**dict.fromkeys(('scale', 'size', 'width', 'height', 'max_size', 'size_divisor', 'pad_size_divisor'),
                             (16_384, 16_384)), 'scale_factor': (16, 16)}
# Modules of these packages are known to mmcell, and need not be imported because a config says so.
_PACKAGES = {'mmcell', 'mmdet', 'mmpretrain'}
# How the weights of a new model are initialised, and which files are read for it. The checkpoint has the weights.
_INITIAL_WEIGHTS = {'init_cfg', 'pretrained'}
# Where files are read from; other values than these contact servers and open data bases.
_STORAGE_KEYS, _LOCAL_STORAGE = {'backend_args', 'file_client_args'}, (None, {'backend': 'local'}, {'backend': 'disk'})
_NAMES = {'inf': float('inf'), 'nan': float('nan')}
_HOW_TO_GO_ON = 'name a config that you trust with --config'
_TRUST = ('If you trust the origin of the checkpoint, add --trust-checkpoint (trusted=True in Python); otherwise '
          + _HOW_TO_GO_ON)


class CheckpointConfigError(MmcellError):
    """A checkpoint has no config inside, or a config from which no model is built without trust."""


def read_checkpoint_config(checkpoint: dict, trusted: bool = False) -> Config:
    """Returns the config inside a checkpoint (``meta['cfg']``, where MMEngine puts it as Python source).

    The source is not run. It may only assign numbers, strings, lists, tuples, dicts and ``dict(...)``, which is what
    MMEngine writes. The parts that are built for a prediction may name only the classes of
    :mod:`mmcell.checkpoints.allowed_classes`, and only numbers that a model can need. Nothing is imported.

    Args:
        checkpoint: The loaded checkpoint.
        trusted: Whether any class and any number is allowed, and the modules in ``custom_imports`` are imported.

    Raises:
        CheckpointConfigError: The checkpoint has no config, the config holds anything else, or it was written by
            MMDetection before 3.0.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise CheckpointConfigError('the checkpoint has no config inside: name it with --config')
    settings = parse_settings(text)
    if not isinstance(settings.get('model'), dict) or not isinstance(settings.get('test_dataloader'), dict):
        raise CheckpointConfigError('the config inside the checkpoint has no model or no test_dataloader: '
                                    + _HOW_TO_GO_ON)
    imports = settings.get('custom_imports')
    modules = imports.get('imports', []) if isinstance(imports, dict) else []
    modules = modules if isinstance(modules, list | tuple) else [modules]
    if trusted:
        for module in modules:
            import_module(module)
    else:
        _refuse_foreign(settings, modules)
    try:
        return Config(settings)
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # names that Config keeps for itself
        raise CheckpointConfigError(f'the config inside the checkpoint cannot be used ({error}): '
                                    + _HOW_TO_GO_ON) from error


def build_without_trust(config: Config, checkpoint: dict) -> nn.Module:
    """Builds the model of a config inside a checkpoint whose origin is not trusted.

    Only listed classes are built, whatever argument names them. The model may not become larger than the weights in the
    checkpoint, so that a small file cannot fill the memory. Settings about the initial weights are left out.

    Args:
        config: The config that :func:`read_checkpoint_config` has returned.
        checkpoint: The loaded checkpoint, with the weights of the model.

    Raises:
        CheckpointConfigError: The model has another class, is larger than the checkpoint, or cannot be built.
    """
    guard_lookups()
    n_tensors, n_elements = _count_stored(checkpoint)
    try:
        with (DefaultScope.overwrite_default_scope('mmdet'), building_within(
                names_in_models(), 10 * n_elements + 10**8, min(10 * n_tensors + 2000, MAX_OPERATIONS))):
            return MODELS.build(ConfigDict(without_initial_weights(config.model.to_dict())))
    # Wrong arguments make a constructor fail in any way.
    except Exception as error:
        raise CheckpointConfigError('the model in the config inside the checkpoint cannot be built: '
                                    f'{in_one_line(error)}. {_TRUST}') from error


def _count_stored(checkpoint: dict) -> tuple[int, int]:
    """Returns how many tensors a checkpoint has, and how many elements its file holds for them.

    Elements that tensors share count once: a tensor of any shape can be made of a single number.
    """
    state = checkpoint.get('state_dict', checkpoint)
    tensors = [value for value in (state.values() if isinstance(state, dict) else ())
               if isinstance(value, torch.Tensor) and value.layout == torch.strided]
    elements = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() // tensor.element_size()
                for tensor in tensors}
    return len(tensors), sum(elements.values())


def without_initial_weights(value: object) -> object:
    """Returns the settings of a model, nested dicts and lists, without those about the weights of a new model."""
    if isinstance(value, dict):
        return {key: without_initial_weights(item) for key, item in value.items() if key not in _INITIAL_WEIGHTS}
    return type(value)(map(without_initial_weights, value)) if isinstance(value, list | tuple) else value


def parse_settings(text: str) -> dict:
    """Returns the settings in the source of a config, without running it.

    Raises:
        CheckpointConfigError: The source holds more than assignments of plain values.
    """
    settings = {}
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f'{len(text)} characters, of which at most {MAX_CHARACTERS} are read')
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    settings[name] = _value(value)
                case _:
                    raise ValueError(f'line {statement.lineno} is not an assignment')
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error) or 'nested too deeply'
        raise CheckpointConfigError(f'the config inside the checkpoint holds more than plain settings ({reason}): '
                                    + _HOW_TO_GO_ON) from error
    return settings


def _value(node: ast.expr) -> object:
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords) if all(key.arg for key in keywords):
            return {key.arg: _value(key.value) for key in keywords}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Set(elts=items):
            return {_value(item) for item in items}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
    raise ValueError(f'line {node.lineno} holds {ast.unparse(node)[:60]}')


def _refuse_foreign(settings: dict, modules: list) -> None:
    """Raises an error if the parts that are built for a prediction hold anything but listed classes and plain values.

    Hooks, loops, metrics, data sets and samplers are not built for a prediction, and are not checked.
    """
    dataset = settings['test_dataloader'].get('dataset')
    leaves = leaf_settings(dataset, 'test_dataloader.dataset') if isinstance(dataset, dict) else ()
    parts = {'model': settings['model'], 'tta_model': settings.get('tta_model'),
             'tta_pipeline': settings.get('tta_pipeline'),
             **{f'{name}.pipeline': leaf.get('pipeline') for name, leaf in leaves}}
    problems = [f'custom_imports: {module}' for module in modules if str(module).split('.')[0] not in _PACKAGES]
    if settings.get('default_scope') not in (None, 'mmdet'):
        problems.append(f"default_scope: {settings['default_scope']}")
    for where, part in parts.items():
        problems += _problems_of(part, where, names_in_pipelines() if 'pipeline' in where else names_in_models())
    if problems:
        raise CheckpointConfigError(
            'the config inside the checkpoint holds what is not used without trust: '
            f"{list_some(problems, '; ', 3)}. {_TRUST}")


def _problems_of(value: object, where: str, names: frozenset[str],
                 greatest: tuple[float, float] = (MAX_INTEGER, MAX_FLOAT), depth: int = 0) -> Iterator[str]:
    """Yields what is not allowed in a part of a config, with the keys ``where`` that lead to it.

    ``greatest`` are the greatest whole number and the greatest other number that are allowed.
    """
    if depth > MAX_DEPTH:
        yield f'{where[:60]}…: nested more than {MAX_DEPTH} deep'
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f'{where}.{str(key)[:60]}'
            if ((key == '_scope_' and item == 'mmdet')  # MMEngine adds it to inherited settings
                    or (key == 'type' and isinstance(item, str) and item in names)
                    or (key in _STORAGE_KEYS and item in _LOCAL_STORAGE) or key in _INITIAL_WEIGHTS):
                continue
            if key in ('_scope_', 'type', *_STORAGE_KEYS):
                yield f'{inner}: {str(item)[:60]}'
            elif not isinstance(key, str) or key.startswith('_'):
                yield f'{inner}: not the name of a setting'
            else:
                yield from _problems_of(item, inner, names, _GREATEST.get(key, greatest), depth + 1)
    elif isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            yield from _problems_of(item, f'{where}[{index}]', names, greatest, depth + 1)
    elif isinstance(value, int) and abs(value) > greatest[0]:
        yield f'{where}: a number beyond {greatest[0]}'
    elif isinstance(value, float) and greatest[1] < abs(value) < float('inf'):
        yield f'{where}: a number beyond {greatest[1]:g}'
    elif not isinstance(value, int | float | str | None):
        yield f'{where}: a {type(value).__name__}'
