"""Compares the config of a training with the config that a checkpoint of another training holds."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from mmcell.checkpoints.config import CheckpointConfigError, parse_settings
from mmcell.settings.names import defaults_of, find_class

# The settings on which the result of a training depends: the arguments of MMEngine's Runner that concern it.
_OF_TRAINING = ('model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'val_cfg', 'val_evaluator', 'optim_wrapper',
                'param_scheduler', 'auto_scale_lr', 'default_hooks', 'custom_hooks', 'randomness', 'load_from')
_WITHOUT_EFFECT = re.compile(r'(train|val)_dataloader\.(num_workers|persistent_workers|prefetch_factor|pin_memory)'
                             r'|(train|val)_dataloader\.(.*\.)?cache_gib'
                             r'|default_hooks\.(logger|timer|visualization|trackers)(\..*)?')
# Settings of a model that do not change what its weights mean: those that only training or only the choice of the
# detections reads, where weights come from, and how images are padded or combined into batches.
_NOT_OF_WEIGHTS = re.compile(
    r'(.*\.)?(train_cfg|test_cfg|init_cfg|pretrained|frozen_stages|norm_eval|with_cp|drop_path_rate|dropout|'
    r'batch_augments|pad_\w+|mask_pad_value|seg_pad_value|boxtype2tensor|non_blocking|requires_grad)(\..*)?'
    r'|(.*\.)?loss_\w+\.(?!use_sigmoid)\w+')
# Classes of mmcell in which weights mean the same as in MMDetection's: they are faster, or differ in the last pixels.
_SAME_RESULT = {'CellBBoxHead': 'Shared2FCBBoxHead', 'CellCascadeRoIHead': 'CascadeRoIHead',
                'CellMaskHead': 'FCNMaskHead', 'CellRoIExtractor': 'SingleRoIExtractor',
                'CellRoIHead': 'StandardRoIHead', 'TorchvisionBBoxCoder': 'DeltaXYWHBBoxCoder',
                'TorchvisionMaskHead': 'FCNMaskHead'}
_NOTHING = re.compile('(?!)')
_WRAPPERS = ('detector', 'module')


@dataclass(frozen=True)
class Difference:
    """A setting that differs.

    Attributes:
        name: The name of the setting, with dots between the levels and numbers for entries of lists.
        before: Its value in the checkpoint, as text; 'not set' if it is not there.
        now: Its value in the config, as text.
    """

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f'{self.name} ({self.before} there, {self.now} here)'


def recorded_settings(content: dict) -> dict | None:
    """Returns the settings of the config in a record of a checkpoint; None if there is none that can be read."""
    text = content.get('config')
    try:
        return parse_settings(text) if isinstance(text, str) else None
    except CheckpointConfigError:
        return None


def compare_trainings(before: Mapping, now: Mapping) -> list[Difference]:
    """Returns the settings by which the results of two trainings may differ.

    Folders, logging, pictures, workers of data loaders and everything that only tests use are not compared.

    Args:
        before: The resolved config of one training, as nested dicts and lists.
        now: The resolved config of the other training.
    """
    parts = [{key: settings.get(key) for key in _OF_TRAINING} for settings in (before, now)]
    if before.get('resume'):
        # A training that was resumed has the name of its own checkpoint there.
        parts[0].pop('load_from')
        parts[1].pop('load_from')
    return list(compare_settings(*parts, _WITHOUT_EFFECT))


def compare_models(before: Mapping, now: Mapping) -> list[Difference]:
    """Returns the settings of two models because of which weights of one do not mean the same in the other.

    These are, for example, the anchors, the coding of boxes, the normalisation of images and the order of colours.
    Settings that are changed for a test are not compared: ``test_cfg``, tiles, and views of test-time augmentation.
    A setting that is not written has the default of its class.

    Args:
        before: The setting ``model`` of the config in a checkpoint, as nested dicts and lists.
        now: The setting ``model`` of the config that the weights are to be used with.
    """
    # A class that only the checkpoint names is not looked up, because MMEngine imports names that it does not know.
    kinds = {*_kinds_in(now), *_SAME_RESULT, *_SAME_RESULT.values()}
    before, now = (_with_defaults(_unwrapped(model), kinds) for model in (before, now))
    return list(compare_settings(before, now, _NOT_OF_WEIGHTS, 'model'))


def _unwrapped(model: Mapping) -> Mapping:
    inner = next((model[key] for key in _WRAPPERS if isinstance(model.get(key), Mapping)), None)
    return model if inner is None else _unwrapped(inner)


def _kinds_in(value: object) -> Iterator[object]:
    """Yields the value of every key ``type`` in nested dicts and lists."""
    if isinstance(value, Mapping):
        if 'type' in value:
            yield value['type']
        value = value.values()
    elif not _is_list(value):
        return
    for part in value:
        yield from _kinds_in(part)


def _with_defaults(value: object, kinds: set) -> object:
    """Adds to nested dicts with a ``type`` the defaults of their classes, and gives classes their usual name.

    Args:
        value: Nested dicts and lists.
        kinds: The values of ``type`` that may be looked up.
    """
    if _is_list(value):
        return [_with_defaults(part, kinds) for part in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get('type')
    built = find_class(kind) if isinstance(kind, str | type) and kind in kinds else None
    settings = {**(defaults_of(built) if isinstance(built, type) else {}), **value}
    settings = {key: part if key == 'type' else _with_defaults(part, kinds) for key, part in settings.items()}
    if isinstance(built, type):
        settings['type'] = _SAME_RESULT.get(built.__name__, built.__name__)
    return {key: part for key, part in settings.items() if part is not None}


def compare_settings(before: object, now: object, ignored: re.Pattern = _NOTHING,
                     name: str = '') -> Iterator[Difference]:
    """Yields the settings that differ in nested dicts and lists; a setting that is None counts as not set.

    Of two classes with different arguments, only the common arguments are compared; the others are described with the
    names of the classes. Entries that were added to a list or removed from it are found among those that stayed.

    Args:
        before: One value.
        now: The other value.
        ignored: Matches the names of the settings that are not compared; by default all are.
        name: The name of the value itself; '' for a whole config.
    """
    if ignored.fullmatch(name) or before == now:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*before, *now])
        if before.get('type') != now.get('type'):
            yield from _compare_types(before, now, ignored, name)
            keys = [key for key in keys if key in before and key in now and key != 'type']
        parts = [(key, before.get(key), now.get(key)) for key in keys]
    elif _is_list(before) and _is_list(now) and any(isinstance(part, Mapping) for part in (*before, *now)):
        parts = _pair_entries(before, now)
    elif _is_list(before) and _is_list(now) and len(before) == len(now):
        parts = [(index, *pair) for index, pair in enumerate(zip(before, now, strict=True))]
    else:
        yield Difference(name, _describe(before), _describe(now))
        return
    for key, *pair in parts:
        yield from compare_settings(*pair, ignored, f'{name}.{key}' if name else str(key))


def _compare_types(before: Mapping, now: Mapping, ignored: re.Pattern, name: str) -> Iterator[Difference]:
    name = f'{name}.type' if name else 'type'
    if not ignored.fullmatch(name):
        yield Difference(name, _describe_type(before, now), _describe_type(now, before))


def _describe_type(value: Mapping, other: Mapping) -> str:
    """Returns the name of a class with the arguments that only it has."""
    own = ', '.join(f'{key}={part!r}' for key, part in value.items() if key not in other and part is not None)
    return f'{_describe(value.get("type"))}{" with " if own else ""}{_shorten(own)}'


def _pair_entries(before: Sequence, now: Sequence) -> Iterator[tuple[int, object, object]]:
    """Yields the entries of two lists: their place in one of the lists, and both values.

    Entries of the same type belong together, in their order. An entry that only one list has stands beside None.
    """
    kinds = [[repr(part.get('type')) if isinstance(part, Mapping) else repr(part) for part in parts]
             for parts in (before, now)]
    for _, begin, end, now_begin, now_end in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        for offset, pair in enumerate(zip_longest(before[begin:end], now[now_begin:now_end])):
            yield (now_begin if now_begin + offset < now_end else begin) + offset, *pair


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _describe(value: object) -> str:
    return 'not set' if value is None else _shorten(repr(value))


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f'{text[:60]}…'
