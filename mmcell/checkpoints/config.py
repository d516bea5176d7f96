"""The config that a checkpoint holds, read without running code from it."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module

from mmengine.config import Config

from mmcell.errors import MmcellError

# MMEngine takes a type that no registry knows for the dotted name of a function, imports it and calls it, even
# 'os.system'. Only names without dots, after the prefix of a package at most, are therefore allowed.
_REGISTERED = re.compile(r'((mmdet|mmpretrain|mmcls)\.)?\w+')
_PACKAGES = {'mmcell', 'mmdet', 'mmpretrain'}
_NAMES = {'inf': float('inf'), 'nan': float('nan')}
_HOW_TO_GO_ON = 'name a config that you trust with --config'


class CheckpointConfigError(MmcellError):
    """A checkpoint has no config inside, or a config that would run code."""


def read_checkpoint_config(checkpoint: dict, trusted: bool = False) -> Config:
    """Returns the config inside a checkpoint (``meta['cfg']``, where MMEngine puts it as Python source).

    The source is not run. It may only assign numbers, strings, lists, tuples, dicts and ``dict(...)``, which is what
    MMEngine writes. Types must be names in the registries of MMDetection, MMPretrain or mmcell. Modules in
    ``custom_imports`` must belong to these packages; they are imported.

    Args:
        checkpoint: The loaded checkpoint.
        trusted: Whether any type, and any module in ``custom_imports``, is allowed.

    Raises:
        CheckpointConfigError: The checkpoint has no config, the config holds anything else, or it was written by
            MMDetection before 3.0.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise CheckpointConfigError('the checkpoint has no config inside: name it with --config')
    settings = parse_settings(text)
    if 'model' not in settings or 'test_dataloader' not in settings:
        raise CheckpointConfigError('the config inside the checkpoint has no model or no test_dataloader: '
                                    + _HOW_TO_GO_ON)
    modules = (settings.get('custom_imports') or {}).get('imports', [])
    modules = [modules] if isinstance(modules, str) else modules
    if not trusted:
        _refuse_foreign(settings, modules)
    for module in modules:
        import_module(module)
    return Config(settings)


def parse_settings(text: str) -> dict:
    """Returns the settings in the source of a config, without running it.

    Raises:
        CheckpointConfigError: The source holds more than assignments of plain values.
    """
    settings = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    settings[name] = _value(value)
                case _:
                    raise ValueError(f'line {statement.lineno} is not an assignment')
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointConfigError(f'the config inside the checkpoint holds more than plain settings ({error}): '
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
    foreign = [module for module in modules if str(module).split('.')[0] not in _PACKAGES]
    # Only the parts that are built for a prediction are checked; hooks, loops and metrics are not built for it.
    parts = [settings['model'], settings['test_dataloader'], settings.get('tta_model'), settings.get('tta_pipeline')]
    foreign += [kind for kind in _types(parts) if not (isinstance(kind, str) and _REGISTERED.fullmatch(kind))]
    if foreign:
        raise CheckpointConfigError(
            f'the config inside the checkpoint names {", ".join(map(str, foreign))}, which does not belong to '
            'MMDetection, MMPretrain or mmcell, so that using it would run other code. If you trust the origin of the '
            f'checkpoint, add --trust-checkpoint; otherwise {_HOW_TO_GO_ON}')


def _types(value: object) -> Iterator[object]:
    """Yields the value of every key 'type' in nested dicts, lists and tuples."""
    if isinstance(value, dict):
        if 'type' in value:
            yield value['type']
        value = value.values()
    if not isinstance(value, str | bytes) and hasattr(value, '__iter__'):
        for part in value:
            yield from _types(part)
