"""Reading the losses and validation values of a training from the files that MMEngine's LocalVisBackend writes."""

import json
from dataclasses import dataclass
from pathlib import Path

from mmcell.errors import MmcellError


@dataclass(frozen=True)
class Curves:
    """The curves of one training.

    Attributes:
        losses: The loss by step. Each value is the mean that the log shows; mmcell's configs average 20 steps.
        scores: The validation value by the step after which it was measured.
    """

    losses: dict[int, float]
    scores: dict[int, float]


def read_curves(work_dir: str | Path, score: str = 'AP50') -> Curves:
    """Reads all runs of a work folder in the order of their start, and joins resumed runs to one training.

    Args:
        work_dir: The work folder of ``tools/train.py``.
        score: The name of the validation value, for example 'AP50'.

    Raises:
        MmcellError: The folder has no run, or no run has logged a loss.
    """
    # The folders of the runs are named after the time of their start.
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    losses, scores, last_step_of_epoch = {}, {}, {}
    for path in files:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        steps = [record['step'] for record in records if 'loss' in record]
        # A resumed run repeats some steps: keep only its values for those. Example: the first run has logged the steps
        # 10, 20 and 30, and the resumed run begins with step 20. Only step 10 of the first run is kept.
        losses = {step: loss for step, loss in losses.items() if not steps or step < steps[0]}
        scores = {step: value for step, value in scores.items() if not steps or step < steps[0]}
        for record in records:
            if 'loss' in record:
                losses[record['step']] = record['loss']
                last_step_of_epoch[record.get('epoch')] = record['step']
            elif score in record:
                # In a record of a validation, 'step' is the number of the epoch if the training counts epochs.
                scores[last_step_of_epoch.get(record['step'], record['step'])] = record[score]
    if not losses:
        raise MmcellError(f'no training has logged a loss in {work_dir}/*/vis_data/scalars.json (files found: '
                          f'{len(files)}); give the work folder of a training')
    return Curves(losses, scores)
