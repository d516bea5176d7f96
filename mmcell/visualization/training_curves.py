"""Loss and validation values over a training, from the scalars that mmengine's LocalVisBackend writes."""

import json
from dataclasses import dataclass
from pathlib import Path

from mmcell.errors import MmcellError


@dataclass(frozen=True)
class Curves:
    """The curves of one training.

    Attributes:
        losses: the loss by iteration, each the mean that the log shows (of the last 20 steps in the configs here).
        scores: the validation value by the iteration after which it was measured.
    """

    losses: dict[int, float]
    scores: dict[int, float]


def read_curves(work_dir: str | Path, score: str = 'AP50') -> Curves:
    """Reads the runs of a work folder in the order of their time: a resumed run goes on where it was resumed.

    Args:
        work_dir: of ``tools/train.py``.
        score: name of the validation value.

    Raises:
        MmcellError: no run, or none that has logged a loss.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    losses, scores, last_iteration = {}, {}, {}
    for path in files:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        steps = [record['step'] for record in records if 'loss' in record]
        # What a run before went through and this one goes through again is of the past.
        losses = {step: loss for step, loss in losses.items() if not steps or step < steps[0]}
        scores = {step: value for step, value in scores.items() if not steps or step < steps[0]}
        for record in records:
            if 'loss' in record:
                losses[record['step']] = record['loss']
                last_iteration[record.get('epoch')] = record['step']
            elif score in record:
                # Epoch-based trainings number validations by epoch.
                scores[last_iteration.get(record['step'], record['step'])] = record[score]
    if not losses:
        raise MmcellError(f'no training has logged a loss in {work_dir}/*/vis_data/scalars.json; '
                          f'files found: {len(files)}')
    return Curves(losses, scores)
