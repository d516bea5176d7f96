"""Which trainings are the same experiment with different seeds, as the configs in their work folders tell."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from mmcell.checkpoints.config import CheckpointConfigError, parse_settings
from mmcell.checkpoints.differences import compare_trainings, recorded_settings
from mmcell.checkpoints.records import read_records

# The settings that tell the trainings of one experiment apart. Each fold has annotation files of its own.
_SEED = re.compile(r'randomness\.seed')
_FOLD = re.compile(r'(.*\.)?fold|(train|val)_dataloader\.(.*\.)?(ann_file|fold)|val_evaluator\.(.*\.)?ann_file')
# The seeds and folds at the end of a folder name, as in 'study/r50/seed0_fold1' and 'r50_s0', and what is left of them
# in the common beginning of two names: 'study/r50/seed0_fold'.
_NUMBERS = re.compile(r'([/_.-]+(s|seed|f|fold)?[=_-]?\d+)*')
_BEGUN_NUMBER = re.compile(r'[/_.-]+(s|seed|f|fold)?[=_-]?\d*$')


@dataclass(frozen=True)
class SeedGroup:
    """Trainings of one experiment, which differ only in their seed or fold.

    Attributes:
        name: What the names of the trainings have in common: 'study/r50' for 'study/r50/seed0' and 'study/r50/seed1'.
        places: The places of the N trainings among the trainings that were given, in ascending order.
        seeds: The N seeds; None for a training whose config sets no seed or is not known.
        folds: The N folds; None for a training without a fold.
    """

    name: str
    places: tuple[int, ...]
    seeds: tuple[int | None, ...]
    folds: tuple[int | None, ...]

    def __str__(self) -> str:
        """The name, and the seeds and folds of several trainings: 'study/r50: mean of seeds 0, 1, 2'."""
        if len(self.places) == 1:
            return self.name
        # Three seeds of each of five folds are listed as seeds 0, 1, 2 and folds 0, 1, 2, 3, 4.
        parts = [f'{noun}{"" if len(numbers) == 1 else "s"} {", ".join(map(str, sorted(numbers)))}'
                 for noun, values in (('seed', self.seeds), ('fold', self.folds))
                 if (numbers := {value for value in values if value is not None})]
        return f'{self.name}: mean of {" and ".join(parts) or f"{len(self.places)} trainings"}'


def group_seeds(folders: Sequence[str | Path], names: Sequence[str] | None = None) -> list[SeedGroup]:
    """Puts the trainings together that differ only in ``randomness.seed`` and ``fold``.

    What counts are the settings on which the result of a training depends
    (:func:`mmcell.checkpoints.differences.compare_trainings`). Two trainings with the same settings and the same seed
    and fold are in different groups, as are trainings whose settings are not known.

    Args:
        folders: N work folders, or folders of single runs in them (``work_dir/20260101_120000``).
        names: N names, from which the names of the groups are made; None takes the folders.

    Returns:
        The groups, in the order of their first training. Each of the N trainings is in one group.
    """
    names = [str(folder) for folder in folders] if names is None else names
    all_settings = [read_settings(folder) for folder in folders]
    groups: list[list[int]] = []
    for place, settings in enumerate(all_settings):
        for group in groups:
            if settings is not None and all(_is_other_seed(all_settings[other], settings) for other in group):
                group.append(place)
                break
        else:
            groups.append([place])
    return [SeedGroup(_common_name([names[place] for place in group]), tuple(group),
                      tuple(_seed_of(all_settings[place]) for place in group),
                      tuple((all_settings[place] or {}).get('fold') for place in group)) for group in groups]


def read_settings(folder: str | Path) -> dict | None:
    """Returns the config that a training was started or last resumed with, without running code.

    Args:
        folder: A work folder, of which the newest training counts, or the folder of a single run.

    Returns:
        The resolved config as nested dicts and lists; None if the folder holds none that can be read.
    """
    paths = [Path(folder, 'vis_data', 'config.py'), *sorted(Path(folder).glob('*/vis_data/config.py'), reverse=True)]
    for path in paths:
        # A test logs no losses, and its config may have other settings of the model.
        if _has_loss(path.with_name('scalars.json')):
            with suppress(OSError, CheckpointConfigError):
                settings = parse_settings(path.read_text(encoding='utf-8', errors='replace'))
                if settings:
                    return settings
    for record in reversed(read_records(folder)):
        if settings := recorded_settings(record.content):
            return settings
    return None


def lowest_is_best(settings: Mapping | None) -> set[str]:
    """Returns the names of the validation values of which a training keeps the checkpoint with the lowest value.

    Args:
        settings: The resolved config of the training, as nested dicts and lists; None if it is not known.
    """
    hooks = (settings or {}).get('default_hooks')
    hook = hooks.get('checkpoint') if isinstance(hooks, Mapping) else None
    names, rules = (value if isinstance(value, list | tuple) else [value]
                    for value in ((hook or {}).get('save_best'), (hook or {}).get('rule')))
    rules = [*rules] * len(names) if len(rules) == 1 else rules
    return {name for name, rule in zip(names, rules, strict=False) if rule == 'less'}


def _is_other_seed(before: Mapping | None, now: Mapping) -> bool:
    """Whether two trainings have different seeds or folds, and otherwise the same settings."""
    if before is None:
        return False
    folds = before.get('fold'), now.get('fold')
    if (folds[0] is None) != (folds[1] is None):
        return False
    if folds[0] == folds[1] and _seed_of(before) == _seed_of(now) is not None:
        return False
    # The checkpoint that a training was resumed from is no setting of the experiment.
    before, now = ({**settings, 'load_from': None, 'resume': False} if settings.get('resume') or before.get('resume')
                   else settings for settings in (before, now))
    names = [difference.name for difference in compare_trainings(before, now)]
    return all(_SEED.fullmatch(name) or (folds[0] != folds[1] and _FOLD.fullmatch(name)) for name in names)


def _seed_of(settings: Mapping | None) -> int | None:
    randomness = (settings or {}).get('randomness')
    return randomness.get('seed') if isinstance(randomness, Mapping) else None


def _has_loss(scalars: Path) -> bool:
    try:
        return '"loss"' in scalars.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return False


def _common_name(names: Sequence[str]) -> str:
    """Returns what names have in common, without their seeds and folds.

    'study/r50/seed0' and 'study/r50/seed1' are 'study/r50'; names that differ in more, such as 'work_dirs/one' and
    'work_dirs/two', are 'work_dirs/one and 1 more'.
    """
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda characters: len(set(characters)) == 1, zip(*names, strict=False))
    common = _BEGUN_NUMBER.sub('', ''.join(characters[0] for characters in same))
    if common and all(_NUMBERS.fullmatch(name.removeprefix(common)) for name in names):
        return common
    return f'{names[0]} and {len(names) - 1} more'
