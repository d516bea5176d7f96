"""Reads what a study compares, from config files or from one study file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcell.errors import quote
from mmcell.files.text_files import is_integer
from mmcell.settings.config_files import read_config_file
from mmcell.studies.plan import Experiment, StudyError, flatten_settings

KEYS = ('question', 'configs', 'seeds', 'folds', 'vary', 'settings', 'submission', 'share_mib')
EXPERIMENT_KEYS = ('config', 'settings', 'name', 'final')


def _is_list_of(is_right: Callable[[object], bool], least: int = 1) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and len(value) >= least and all(map(is_right, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


# What the value of a key must be, as a test and in words.
_RIGHT = {
    'question': (_is_text, 'a text'),
    'configs': (_is_list_of(lambda entry: isinstance(entry, str | Mapping)), 'a list of paths or dicts'),
    'seeds': (_is_list_of(is_integer), 'a list of whole numbers'),
    'folds': (lambda value: value is None or (is_integer(value) and value > 1), 'a whole number greater than 1'),
    'vary': (_is_list_of(_is_text, least=0), 'a list of texts KEY=VALUE1,VALUE2'),
    'settings': (lambda value: isinstance(value, Mapping), 'a dict'),
    'submission': (_is_truth, 'True or False'),
    'share_mib': (lambda value: value is None or (is_integer(value) and value > 0), 'a positive whole number'),
}


@dataclass(frozen=True)
class Study:
    """What a study compares.

    Attributes:
        experiments: The experiments, the first of which the others are compared with. They have the settings that the
            file gives to all of them, and then their own.
        question: The question that the study answers; '' if it is not stated.
        seeds: The seeds of the trainings.
        n_folds: The number of folds of the data; None for the training and validation parts of the configs.
        varied: Texts KEY=VALUE1,VALUE2, settings that are varied.
        options: KEY=VALUE settings of the command line, which all experiments have and which come last.
        with_submission: Whether the test images are predicted, too.
        share_mib: The size in MiB that no file in the folder ``share`` exceeds; None for no such folder.
    """

    experiments: tuple[Experiment, ...]
    question: str = ''
    seeds: tuple[int, ...] = (0,)
    n_folds: int | None = None
    varied: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    with_submission: bool = False
    share_mib: int | None = None


def read_study(paths: Sequence[str]) -> Study:
    """Reads a study from the paths of a command line.

    Args:
        paths: Config files, or one study file. A study file is a config with the list ``configs``, whose entries are
            paths relative to the file, or dicts with the keys ``config``, and perhaps ``settings``, ``name`` and
            ``final``. It may also have ``question``, ``seeds``, ``folds``, ``vary``, ``submission``, ``share_mib``,
            and the dict ``settings`` for all experiments.

    Raises:
        FileNotFoundError: There is no such file.
        StudyError: The study file has an unknown key or a value of another type, or there are other files beside it.
    """
    first = read_config_file(paths[0])
    if 'configs' not in first:
        return Study(tuple(Experiment(str(path)) for path in paths))
    if len(paths) > 1:
        raise StudyError(f'{paths[0]} is a study file, which must be the only file that is named')
    content = first.to_dict()
    _refuse_unknown(content, KEYS, paths[0])
    for key, (is_right, expected) in _RIGHT.items():
        if key in content and not is_right(content[key]):
            raise StudyError(f'{paths[0]}: {key} must be {expected}, got {quote(content[key])}')
    shared = tuple(flatten_settings(content.get('settings', {})))
    experiments = tuple(_to_experiment(entry, shared, paths[0]) for entry in content['configs'])
    return Study(experiments, content.get('question', ''), tuple(content.get('seeds', (0,))), content.get('folds'),
                 tuple(content.get('vary', ())), with_submission=content.get('submission', False),
                 share_mib=content.get('share_mib'))


def _to_experiment(entry: str | Mapping, shared: tuple[str, ...], source: str) -> Experiment:
    if isinstance(entry, str):
        entry = {'config': entry}
    if not isinstance(entry, Mapping) or 'config' not in entry:
        raise StudyError(f'{source}: an entry of configs is a path, or a dict with the key config, got {entry!r}')
    _refuse_unknown(entry, EXPERIMENT_KEYS, source)
    path = Path(source).parent / entry['config']
    if not path.is_file():
        raise StudyError(f'{source}: there is no config {path}. Paths in configs are relative to the study file that '
                         'is named on the command line, also those that it inherits')
    is_final = entry.get('final', False)
    if not _is_truth(is_final):
        raise StudyError(f'{source}: final must be True or False, got {quote(is_final)}')
    return Experiment(str(path), (*shared, *flatten_settings(entry.get('settings', {}))),
                      entry.get('name', f'{path.stem}_final' if is_final else ''), is_final)


def _refuse_unknown(content: Mapping, keys: Sequence[str], source: str) -> None:
    unknown = sorted(set(content) - set(keys))
    if unknown:
        raise StudyError(f'{source}: the keys are {", ".join(keys)}, got {", ".join(map(str, unknown))}')
