"""What a study has to run: which trainings, and which predictions of each of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mmengine.config import Config

from mmcell.checkpoints.differences import Difference, compare_settings
from mmcell.errors import MmcellError
from mmcell.settings.options import apply_options, split_at_commas

# Settings that only a test reads: variants that differ in nothing else share one training.
_OF_TEST = re.compile(r'(.*\.)?test_cfg(\..*)?|test_\w+(\..*)?|tta_\w+(\..*)?')
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
    """

    config: str
    options: tuple[str, ...] = ()
    name: str = ''


@dataclass(frozen=True)
class Variant:
    """One row of the table of a study: a config with settings.

    Attributes:
        name: Its name in tables: the name of the config, and the settings that are varied.
        config: The config file.
        options: KEY=VALUE settings, as ``--cfg-options`` takes them.
        flags: Flags of ``tools/test.py`` with their values, as pairs of texts; the value of a switch is 'true'.
        settings: The resolved config, as nested dicts and lists.
    """

    name: str
    config: str
    options: tuple[str, ...]
    flags: tuple[tuple[str, str], ...]
    settings: Mapping

    @property
    def training_settings(self) -> dict:
        """The settings without those that only a test reads, as far as they stand in dicts."""
        return _without_test_settings(self.settings)


@dataclass(frozen=True)
class Run:
    """One training of a study.

    Attributes:
        folder: The work folder, relative to the folder of the study.
        variant: The variant whose config is trained.
        tested: The variants that are tested with the checkpoint of this training; ``variant`` is the first of them.
        seed: The seed.
        fold: The number of the fold that is left out of the training, from 0; None without folds.
    """

    folder: Path
    variant: Variant
    tested: tuple[Variant, ...]
    seed: int
    fold: int | None

    def predictions_of(self, variant: Variant) -> Path:
        """Returns the dump with the predictions of a variant, relative to the folder of the study."""
        return self.folder / f'{_as_file_name(variant.name)}.pkl'


def make_variants(experiments: Sequence[Experiment], options: Sequence[str] = (),
                  varied: Mapping[str, Sequence[str]] = ()) -> list[Variant]:
    """Returns the variants of a study: every experiment with every combination of the varied values.

    Args:
        experiments: The experiments.
        options: KEY=VALUE settings of all variants; those of an experiment come after them.
        varied: The values of each setting that is varied, by its name; or of a flag in ``TEST_FLAGS``.

    Raises:
        StudyError: Two variants are the same, or have the same name.
        MmcellError: A config or a setting cannot be read.
    """
    varied = dict(varied)
    variants = []
    for experiment, name in zip(experiments, _names_of(experiments), strict=True):
        for values in product(*varied.values()):
            chosen = list(zip(varied, values, strict=True))
            all_options = (*options, *experiment.options,
                           *(f'{key}={value}' for key, value in chosen if key not in TEST_FLAGS))
            flags = tuple((key, value) for key, value in chosen if key in TEST_FLAGS)
            settings = Config.fromfile(experiment.config)
            apply_options(settings, all_options)
            title = ' '.join([name, *(f'{key.split(".")[-1]}={value}' for key, value in chosen)])
            variants.append(Variant(title, experiment.config, all_options, flags, settings.to_dict()))
    for index, variant in enumerate(variants):
        for other in variants[:index]:
            if not differences(other, variant):
                raise StudyError(f'{other.name} and {variant.name} have the same settings: name each experiment once')
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
    changed = list(compare_settings(first.settings, second.settings, _WITHOUT_EFFECT))
    flags, own = dict(first.flags), dict(second.flags)
    return [*changed, *(Difference(key, flags.get(key, 'not set'), own.get(key, 'not set'))
                        for key in dict.fromkeys([*flags, *own]) if flags.get(key) != own.get(key))]


def plan_runs(variants: Sequence[Variant], seeds: Sequence[int], n_folds: int | None = None) -> list[Run]:
    """Returns the trainings of a study, so that an unfinished study has every variant before any has a second seed.

    Args:
        variants: The variants. Those that differ only in settings of tests share one training.
        seeds: The seeds.
        n_folds: The number of folds; None for the split of the config.
    """
    groups: list[list[Variant]] = []
    for variant in variants:
        for group in groups:
            if variant.training_settings == group[0].training_settings:
                group.append(variant)
                break
        else:
            groups.append([variant])
    folds = [None] if n_folds is None else range(n_folds)
    return [Run(Path(_name_of_training(group), f'seed{seed}' if fold is None else f'seed{seed}_fold{fold}'),
                group[0], tuple(group), seed, fold) for seed in seeds for fold in folds for group in groups]


def _name_of_training(group: Sequence[Variant]) -> str:
    """Returns the parts of the names that all variants of a training have."""
    parts = [part for part in group[0].name.split() if all(part in variant.name.split() for variant in group)]
    return _as_file_name(' '.join(parts) or group[0].name)


def _without_test_settings(value: object, name: str = '') -> object:
    if not isinstance(value, Mapping):
        return value
    named = {key: f'{name}.{key}' if name else str(key) for key in value}
    return {key: _without_test_settings(part, named[key]) for key, part in value.items()
            if not _OF_TEST.fullmatch(named[key]) and not _WITHOUT_EFFECT.fullmatch(named[key])}


def _as_file_name(name: str) -> str:
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
