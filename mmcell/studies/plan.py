"""What a study compares: configs with settings, each of which is one variant."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mmcell.checkpoints.differences import Difference, compare_settings
from mmcell.errors import MmcellError
from mmcell.settings.config_files import read_config_file
from mmcell.settings.folds import options_of_final_training
from mmcell.settings.options import apply_options, split_at_commas

# Settings that only a test reads: variants that differ in nothing else share one training.
_OF_TEST = re.compile(r'(.*\.)?test_cfg(\..*)?|test_\w+(\..*)?|tta_\w+(\..*)?')
# Those of them that decide about the predictions of the validation images.
_OF_PREDICTION = re.compile(r'(.*\.)?test_cfg|tta_\w+')
# What the plan of a study sets, with the flags that do so.
_OF_PLAN = {'randomness.seed': '--seeds', 'fold': '--folds'}
# Flags of tools/test.py that can be varied like settings.
TEST_FLAGS = ('tile', 'overlap', 'upscale', 'tta')
# Settings by which variants are not told apart: where files lie, and what is shown.
_WITHOUT_EFFECT = re.compile(r'work_dir|log_\w+(\..*)?|visualizer(\..*)?|vis_backends(\..*)?|launcher|default_scope'
                             r'|default_hooks\.(logger|timer|visualization)(\..*)?')


class StudyError(MmcellError):
    """A study cannot be planned or continued; the message says why."""


@dataclass(frozen=True)
class Experiment:
    """A config that takes part in a study.

    Attributes:
        config: The config file.
        options: KEY=VALUE settings that only this experiment has.
        name: Its name in tables; '' for the name of the file.
        is_final: Whether it is trained on all images, those of the validation included, and validated on none.
    """

    config: str
    options: tuple[str, ...] = ()
    name: str = ''
    is_final: bool = False


@dataclass(frozen=True)
class Variant:
    """A config with settings: one row of the table of a study, unless it is final.

    Attributes:
        name: Its name in tables: the name of the config, and the settings that are varied.
        config: The config file.
        options: KEY=VALUE settings, as ``--cfg-options`` takes them.
        flags: Flags of ``tools/test.py`` with their values, as pairs of texts; the value of a switch is 'true'.
        settings: The resolved config, as nested dicts and lists.
        is_final: Whether it is trained on all images and has no validation, so that only a test set can measure it.
    """

    name: str
    config: str
    options: tuple[str, ...]
    flags: tuple[tuple[str, str], ...]
    settings: Mapping
    is_final: bool = False

    @property
    def flag_texts(self) -> list[str]:
        """The flags as they stand on the command line of ``tools/test.py``."""
        return [part for key, value in self.flags if value.lower() not in ('false', 'none')
                for part in ([f'--{key}'] if value.lower() == 'true' else [f'--{key}', value])]

    @property
    def training_settings(self) -> dict:
        """The settings without those that only a test reads, as far as they stand in dicts."""
        return _without_test_settings(self.settings)

    @property
    def prediction_settings(self) -> dict:
        """The settings, by their full names, that only a test reads and on which the predictions depend."""
        return dict(_find_settings(self.settings, _OF_PREDICTION))


def make_variants(experiments: Sequence[Experiment], options: Sequence[str] = (),
                  varied: Mapping[str, Sequence[str]] = ()) -> list[Variant]:
    """Returns the variants of a study: every experiment with every combination of the varied values.

    Args:
        experiments: The experiments.
        options: KEY=VALUE settings of all variants, which come after those of an experiment.
        varied: The values of each setting that is varied, by its name; or of a flag in ``TEST_FLAGS``.

    Raises:
        StudyError: Two variants are the same, or their files would have the same name, or a varied setting is one that
            the study itself sets.
        MmcellError: A config or a setting cannot be read.
    """
    varied = dict(varied)
    for key in varied.keys() & _OF_PLAN:
        raise StudyError(f'--vary {key}: give {_OF_PLAN[key]} in its place, which makes the runs of one row of it')
    variants = []
    for experiment, name in zip(experiments, _names_of(experiments), strict=True):
        for values in product(*varied.values()):
            chosen = list(zip(varied, values, strict=True))
            all_options = (*experiment.options, *options,
                           *(f'{key}={value}' for key, value in chosen if key not in TEST_FLAGS))
            flags = tuple((key, value) for key, value in chosen if key in TEST_FLAGS)
            settings = read_config_file(experiment.config)
            apply_options(settings, all_options)
            if experiment.is_final:
                final_options = options_of_final_training(settings)
                apply_options(settings, final_options)
                all_options += final_options
            title = ' '.join([name, *(f'{key.split(".")[-1]}={value}' for key, value in chosen)])
            if settings.get('fold') is not None:
                raise StudyError(f'{title} has fold={settings.fold}: leave it out, and give --folds K, which trains '
                                 'each config with each of the K folds')
            variants.append(Variant(title, experiment.config, all_options, flags, settings.to_dict(),
                                    experiment.is_final))
    for index, variant in enumerate(variants):
        for other in variants[:index]:
            if not differences(other, variant):
                raise StudyError(f'{other.name} and {variant.name} have the same settings: name each experiment once. '
                                 'Seeds do not count: the study sets them, see --seeds')
            if as_file_name(other.name) == as_file_name(variant.name):
                raise StudyError(f'the files of {other.name} and {variant.name} would have the same name: give one of '
                                 'them another name in a study file, or vary other values')
    return variants


def _names_of(experiments: Sequence[Experiment]) -> list[str]:
    """Returns the names of experiments: their own, or those of the files, with folders as far as is necessary."""
    for depth in range(1, 1 + max(len(Path(experiment.config).parts) for experiment in experiments)):
        names = [experiment.name or '/'.join(Path(experiment.config).with_suffix('').parts[-depth:])
                 for experiment in experiments]
        if len(set(names)) == len(names):
            return names
    raise StudyError(f'two experiments have the same name: {", ".join(names)}')


def parse_varied(text: str) -> tuple[str, list[str]]:
    """Splits KEY=VALUE1,VALUE2,… into the key and the texts of its values.

    Raises:
        StudyError: The text has another form.
    """
    key, equals, values = text.partition('=')
    try:
        parts = [part.strip() for part in split_at_commas(values)]
    except ValueError as error:
        raise StudyError(f'--vary {text}: {error}') from error
    if not key or not equals or not all(parts):
        raise StudyError(f'--vary takes KEY=VALUE1,VALUE2,… without spaces around the =, got {text}')
    return key, parts


def differences(first: Variant, second: Variant) -> list[Difference]:
    """Returns the settings in which the second variant differs from the first, from their resolved configs."""
    changed = [change for change in compare_settings(first.settings, second.settings, _WITHOUT_EFFECT)
               if change.name not in _OF_PLAN]
    flags, own = dict(first.flags), dict(second.flags)
    return [*changed, *(Difference(key, flags.get(key, 'not set'), own.get(key, 'not set'))
                        for key in dict.fromkeys([*flags, *own]) if flags.get(key) != own.get(key))]


def _without_test_settings(value: object, name: str = '') -> object:
    if not isinstance(value, Mapping):
        return value
    named = {key: f'{name}.{key}' if name else str(key) for key in value}
    return {key: _without_test_settings(part, named[key]) for key, part in value.items()
            if not _OF_TEST.fullmatch(named[key]) and not _WITHOUT_EFFECT.fullmatch(named[key])}


def _find_settings(settings: Mapping, pattern: re.Pattern, name: str = '') -> Iterator[tuple[str, object]]:
    """Yields the full names and the values of the settings in nested dicts whose names match a pattern."""
    for key, value in settings.items():
        full = f'{name}.{key}' if name else str(key)
        if pattern.fullmatch(full):
            yield full, value
        elif isinstance(value, Mapping):
            yield from _find_settings(value, pattern, full)


def as_file_name(name: str) -> str:
    """Returns a name with underscores in place of what file names should not have."""
    return re.sub(r'[^\w.=+-]+', '_', name)


def flatten_settings(settings: Mapping, name: str = '') -> list[str]:
    """Returns nested settings as the texts KEY=VALUE that ``--cfg-options`` takes.

    Lists and dicts with ``_delete_`` stay whole. ``{'model': {'backbone': {'depth': 18}}}`` gives
    ``['model.backbone.depth=18']``.
    """
    options = []
    for key, value in settings.items():
        full = f'{name}.{key}' if name else str(key)
        is_nested = isinstance(value, Mapping) and value and '_delete_' not in value
        options += flatten_settings(value, full) if is_nested else [f'{full}={value!r}']
    return options
