"""Whether a config has a setting of a given name, and which names it has instead."""

import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pkgutil import resolve_name

from mmcell.errors import MmcellError

# Parts of a config without a ``type``: the function or class that reads their settings.
_READERS = {
    '': 'mmengine.runner:Runner',
    'train_dataloader': 'torch.utils.data:DataLoader',
    'val_dataloader': 'torch.utils.data:DataLoader',
    'test_dataloader': 'torch.utils.data:DataLoader',
    'randomness': 'mmengine.runner:Runner.set_randomness',
}
# Settings that MMEngine and MMDetection look up without an argument of that name.
_LOOKED_UP = {
    '': ['find_unused_parameters', 'auto_scale_lr', 'tta_model', 'tta_pipeline', 'custom_imports', 'work_dir', 'fold'],
    'tta_model.tta_cfg': ['nms', 'max_per_img', 'wbf'],
    **{f'{model}.test_cfg.rcnn{part}': names for model in ('model', 'model.detector') for part, names in (
        ('', ['mask_nms', 'one_class_per_box']), ('.nms', ['class_agnostic']),
        ('.mask_nms', ['iou_threshold', 'class_agnostic']))},
    # Read if --amp replaces the optimizer wrapper; without --amp, the training stops at them.
    'optim_wrapper': ['dtype', 'loss_scale'],
}
MAX_SUGGESTIONS = 3


class UnknownSettingError(MmcellError):
    """A setting has a name that nothing reads; the message gives the nearest names that are read."""


def refuse_unknown_setting(config: Mapping, key: str) -> None:
    """Stops if a config has no setting of this name, and nothing that is built from it takes an argument of this name.

    Args:
        config: The resolved config, as nested dicts and lists.
        key: Name of the setting, with dots between the levels and numbers for the entries of lists, for example
            ``model.test_cfg.rcnn.max_per_img`` or ``param_scheduler.0.end``.

    Raises:
        UnknownSettingError: The config has no such setting.
    """
    value: object = config
    path: list[str] = []
    for part in key.split('.'):
        if isinstance(value, Mapping):
            if part not in value:
                arguments = _arguments_of(value, '.'.join(path))
                if part in arguments:
                    parent, rest = '.'.join([*path, part]), key.split('.')[len(path) + 1:]
                    if rest and rest[0].isdecimal():
                        raise UnknownSettingError(f'{key}: the config has no list {parent}. To set it, write '
                                                  f'{parent}="[…]"')
                    return
                elsewhere = [] if path else _find_elsewhere(config, part)
                raise UnknownSettingError(_describe_unknown(key, path, part, [*value, *arguments], elsewhere))
            value = value[part]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if not part.isdecimal() or int(part) >= len(value):
                entries = f'the entries 0 to {len(value) - 1}' if len(value) else 'no entries'
                raise UnknownSettingError(f'{key}: the list {".".join(path)} has {entries}, got {part}')
            value = value[int(part)]
        else:
            parent = '.'.join(path)
            raise UnknownSettingError(f'{key}: {parent} is {value!r} and has no settings inside. To replace it by a '
                                      f'dict, write {parent}="{{\'{part}\': …}}"')
        path.append(part)


def iterate_dicts(value: object, path: tuple[str, ...] = (),
                  left_out: Container[str] = ()) -> Iterator[tuple[tuple[str, ...], Mapping]]:
    """Yields every dict in nested dicts and lists, a dict before those inside it, with the keys that lead to it.

    Args:
        value: The resolved config, as nested dicts and lists, or a part of it.
        path: The keys that lead to the part.
        left_out: Names of dicts that are left out, with all that is inside them.
    """
    if isinstance(value, Mapping):
        if path and path[-1] in left_out:
            return
        yield path, value
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        return
    for key, part in value:
        yield from iterate_dicts(part, (*path, str(key)), left_out)


def _find_elsewhere(config: Mapping, name: str) -> list[str]:
    """Returns keys of settings inside others that have a name: randomness.seed for 'seed', for example."""
    inside = ['.'.join([*path, name]) for path, settings in iterate_dicts(config)
              if path and name in settings and not any(map(str.isdecimal, path))]
    read = [f'{part}.{name}' for part in _READERS if part and name in _arguments_of({}, part)]
    return list(dict.fromkeys([*inside, *read]))[:MAX_SUGGESTIONS]


def _describe_unknown(key: str, path: Sequence[str], part: str, names: Sequence[str], elsewhere: list[str]) -> str:
    names = [name for name in dict.fromkeys(map(str, names)) if name not in ('self', '_scope_')]
    near = ['.'.join([*path, name]) for name in get_close_matches(part, names, MAX_SUGGESTIONS, cutoff=.6)]
    near = near or elsewhere
    hint = f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(names) or "none"}.'
    return (f'{key}: there is no setting {part} in {".".join(path) or "the config"}; {hint} To add a new setting on '
            f'purpose, write +{key}=…')


def _arguments_of(settings: Mapping, name: str) -> list[str]:
    """Returns the names that are read from a part of a config; none if its reader is not known."""
    looked_up = _LOOKED_UP.get(name, [])
    if 'type' in settings:
        return [*looked_up, *argument_names(find_class(settings['type']))]
    if name not in _READERS:
        return looked_up
    return [*looked_up, *argument_names(resolve_name(_READERS[name]))]


def find_class(kind: object) -> Callable | None:
    """Returns what MMEngine builds for a ``type`` in a config; None if no registry of MMDetection knows the name.

    Args:
        kind: A class, or a name as in a config, for example 'ResNet', 'mmpretrain.ConvNeXt' or 'AdamW'.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    # A dotted name that no registry knows would be imported, whatever it is.
    if kind.count('.') > 1:
        return None
    from mmdet import registry
    from mmengine.registry import Registry
    # The module also holds MMEngine's registries, which are the parents of MMDetection's.
    registries = [known for known in vars(registry).values() if isinstance(known, Registry) and known.scope == 'mmdet']
    return next((built for known in registries if (built := known.get(kind)) is not None), None)


def argument_names(reader: Callable | None) -> list[str]:
    """Returns the names of the arguments of a function, or of a constructor and the base classes that it calls.

    A constructor that takes ``**kwargs`` is taken to pass them on to the next class of its method resolution order, as
    classes of MMDetection do.
    """
    if reader is None:
        return []
    if not inspect.isclass(reader):
        return list(inspect.signature(reader).parameters)
    names = [parameter.name for parameters in _constructors(reader) for parameter in parameters
             if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)]
    return [name for name in dict.fromkeys(names) if name != 'self']


def defaults_of(cls: type) -> dict[str, object]:
    """Returns the defaults of the arguments of a constructor, and of the base classes that it calls, by name."""
    defaults: dict[str, object] = {}
    for parameter in (parameter for parameters in _constructors(cls) for parameter in parameters):
        if parameter.default is not parameter.empty:
            defaults.setdefault(parameter.name, parameter.default)
    return defaults


def takes_any_argument(cls: type) -> bool:
    """Whether even the last of the constructors that are called takes ``**kwargs``, so that every name is accepted."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in _constructors(cls)[-1])


def _constructors(cls: type) -> list[list[inspect.Parameter]]:
    """Returns the parameters of each constructor that ``cls(...)`` calls, up to the first without ``**kwargs``."""
    constructors: list[list[inspect.Parameter]] = [[]]
    for base in inspect.getmro(cls):
        if '__init__' not in vars(base) or base is object:
            continue
        constructors.append(list(inspect.signature(base.__init__).parameters.values()))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in constructors[-1]):
            break
    return constructors
