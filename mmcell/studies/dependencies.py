"""Which runs of a study begin from the weights of another one, which must have come to its end before."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmcell.studies.facts import TRAINED
from mmcell.studies.plan import StudyError
from mmcell.studies.runs import Run

# The last part of the folder of a run, as :func:`mmcell.studies.runs.plan_runs` names it.
_RUN_FOLDER = re.compile(r'seed-?\d+(_fold\d+)?')


def find_unfinished(run: Run, folder: Path) -> Path | None:
    """Returns a training that a run needs and that has not come to its end; None if there is none.

    A run needs the training of another run of the study if one of its settings, for example ``load_from``, names the
    work folder of that run or a file inside it. A run that is trained itself needs none any more.

    Args:
        run: The run.
        folder: The folder of the study.

    Returns:
        The work folder of the training, relative to the folder of the study.
    """
    if (folder / run.folder / TRAINED).exists():
        return None
    return next((needed for needed in _find_needed(run, folder) if not (folder / needed / TRAINED).exists()), None)


def describe_unfinished(needed: Path) -> str:
    """Returns why a run is left that needs a training which has not come to its end."""
    return f'it begins from the training {needed}, which has not come to its end'


def refuse_missing_trainings(runs: Sequence[Run], folder: Path) -> None:
    """Stops if a run needs a training that is not finished, and that this study does not carry out.

    Args:
        runs: All runs of the study.
        folder: The folder of the study.

    Raises:
        StudyError: There is such a run.
    """
    planned = {run.folder for run in runs}
    for run in runs:
        needed = find_unfinished(run, folder)
        if needed is not None and needed not in planned:
            raise StudyError(f'{run.folder} begins from the training {folder / needed}, which has not come to its end '
                             'and is no run of this study: name another one in its settings, for example in load_from')


def _find_needed(run: Run, folder: Path) -> Iterator[Path]:
    root = os.path.realpath(folder)
    for text in _texts_in(run.variant.training_settings):
        # A run lies two levels below the study, so that no path to it is a single name.
        path = Path(os.path.realpath(text)) if os.sep in text and '\0' not in text else None
        if path is not None and path.is_relative_to(root):
            needed = Path(*path.relative_to(root).parts[:2])
            if _RUN_FOLDER.fullmatch(needed.name) and needed != run.folder:
                yield needed


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(part)
    elif isinstance(value, str | os.PathLike):
        yield os.fspath(value)
