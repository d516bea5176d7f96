"""What the commands share that measure results files: what they print about a file, and while they work."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from mmcell.annotations.ground_truth import GroundTruth
    from mmcell.evaluation.evaluation import EvaluatedFile
    from mmcell.predictions.cells import Predictions
    from mmcell.predictions.result_files import ResultFile


def measure(path: str, name: str, file: 'ResultFile', truth: 'GroundTruth', weights: 'np.ndarray',
            score_threshold: float, size_bins_px: Sequence[float], console: 'Console') -> 'EvaluatedFile':
    """Prints what is in a results file, and measures it.

    Args:
        path: The file, as the user has written it.
        name: Its name in tables.
        file: Its content.
        truth: The true cells.
        weights, score_threshold, size_bins_px: As for :func:`mmcell.evaluation.evaluation.evaluate`.
        console: Where the facts are printed.
    """
    from mmcell.evaluation.evaluation import EvaluatedFile, evaluate
    from mmcell.evaluation.pairs import Pairs
    from mmcell.predictions.result_files import describe_unusual
    remarks = [*file.assumed, *describe_unusual(file.predictions, truth)]
    print_facts(path, file.predictions, remarks, truth, score_threshold, console)
    pairs = Pairs(truth, file.predictions)
    with showing_progress(path) as on_step:
        return EvaluatedFile(path, name, pairs, file.sources, remarks,
                             evaluate(pairs, score_threshold, weights, size_bins_px, on_step))


def print_facts(path: str, predictions: 'Predictions', remarks: list[str], truth: 'GroundTruth',
                score_threshold: float, console: 'Console') -> None:
    """Prints the numbers of detections, true cells and images, and notes on what is unusual in the results file."""
    from mmcell.evaluation.tables import count
    console.print(f"{path}: {count(len(predictions), 'detection')}; {truth.source}: "
                  f"{count(len(truth.rles), 'true cell')} in {count(len(truth.image_ids), 'image')}", soft_wrap=True)
    for remark in remarks:
        console.print(f'note: {remark}', soft_wrap=True)
    highest = max(predictions.scores.tolist(), default=1)
    if highest < score_threshold:
        console.print(f'note: no detection has a score >= {score_threshold:g}, the highest has {highest:.3g}: all '
                      'values but average precision are 0 or undefined. Give a lower --score-thr', soft_wrap=True)


@contextmanager
def showing_progress(label: str) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what the block is doing, if standard error is a terminal.

    Args:
        label: The text that is shown at first.

    Yields:
        A function that takes the name of a step, and shows it after the label.
    """
    from rich.console import Console
    from rich.markup import escape
    with Console(stderr=True).status(escape(label)) as status:
        yield lambda step: status.update(escape(f'{label}: {step}'))


def short_names(paths: list[str]) -> list[str]:
    """Returns the names of folders, and of files without suffix, with as many folders above as make them different.

    The names of ``r50/seed0``, ``r101/seed0`` and ``new.pkl`` are r50/seed0, r101/seed0 and new. Paths that cannot be
    told apart in this way, such as ``a.pkl`` and ``a.json``, stay as they are.
    """
    parts = [(path if path.is_dir() else path.with_suffix('')).parts for path in map(Path, paths)]
    names = []
    for path, own in zip(paths, parts, strict=True):
        endings = ((own[-n:], [other[-n:] for other in parts]) for n in range(1, len(own) + 1))
        names.append(next((str(Path(*ending)) for ending, others in endings if others.count(ending) == 1), path))
    return names if len(set(names)) == len(names) else paths
