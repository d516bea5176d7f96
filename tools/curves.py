"""Draws losses and validation values of one or several trainings into one picture, and prints the best values.

A training that was resumed is one line. Trainings that differ only in randomness.seed or fold are drawn as one line:
their mean, in a band from the lowest to the highest value. Trainings that share a work folder, but do not continue each
other, are lines of their own. Marks show the lowest losses and the best validation values. The best value is the one
whose checkpoint is kept.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from _options import refuse_other_suffix

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_unwritable_files

if TYPE_CHECKING:
    from mmcell.visualization.seed_bands import Experiment
    from mmcell.visualization.training_curves import Training

EXAMPLE = """example:
  python tools/curves.py work_dirs/cell/mask-rcnn_r50 work_dirs/cell/mask-rcnn_convnext --out work_dirs/curves.png
  python tools/curves.py work_dirs/study/mask-rcnn_r50/seed* --out work_dirs/curves.pdf
  python tools/curves.py work_dirs/cell/mask-rcnn_r50 --loss all --score AP AP50 --x epoch --out work_dirs/curves.png
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the picture was written')
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR',
                        help='work folder that tools/train.py wrote, or the folder of one run in it')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE',
                        help='picture to write, which ends in .png, .svg or .pdf')
    parser.add_argument('--loss', nargs='+', default=['loss'], metavar='NAME',
                        help='values of the training to draw, as the log names them: the loss, its parts, lr and '
                             'others; all: the loss and all of its parts (default: loss)')
    parser.add_argument('--score', nargs='+', metavar='NAME',
                        help='validation values to draw, as the log names them (default: AP50, or the first value if '
                             'there is no AP50)')
    parser.add_argument('--x', choices=['iter', 'epoch'], default='iter',
                        help='what the horizontal axis counts: iterations, that is steps, or epochs (default: iter)')
    parser.add_argument('--no-bands', action='store_true',
                        help='draw a line for every training (default: trainings that differ only in randomness.seed '
                             'or fold are one line with a band)')
    args = parser.parse_intermixed_args()
    refuse_other_suffix(parser, '--out', args.out, '.png', '.svg', '.pdf')
    return args


def main() -> int:
    return run_command(parse_args, draw)


def draw(args: argparse.Namespace) -> None:
    """Reads the trainings, prints their best values, and draws them.

    Raises:
        MmcellError: A training has logged no loss, a value is unknown, or --x asks for epochs that are not counted.
    """
    refuse_unwritable_files([args.out], '--out')
    from mmcell.files.whole_files import written_whole
    from mmcell.visualization.curve_picture import draw_curves, write_figure
    from mmcell.visualization.training_curves import describe_curve, read_trainings
    trainings = [training for folder in args.work_dirs for training in read_trainings(folder)]
    experiments = find_experiments(trainings, args.no_bands)
    losses, scores = choose_losses(trainings, args.loss), choose_scores(trainings, args.score)
    refuse_missing_epochs(trainings, args.x)
    for training in trainings:
        epoch = f' (epoch {max(training.epoch_ends):,})' if training.epoch_ends else ''
        print(f'{training.name}: logged until step {training.n_steps:,}{epoch}')
        for kind, names in (('losses', losses), ('scores', scores)):
            for name in names:
                print(f'  {describe_curve(training, kind, name)}')
        if not training.scores:
            print('  no validation')
        for remark in training.remarks:
            print(f'  note: {remark}')
    for experiment in experiments:
        if len(experiment.trainings) > 1:
            print(*describe_experiment(experiment, losses, scores), sep='\n')
    with written_whole([args.out]) as (temporary,):
        write_figure(draw_curves(experiments, losses, scores, args.x == 'epoch'), temporary, args.out.suffix[1:])
    print(f'wrote {args.out}')


def find_experiments(trainings: list['Training'], separately: bool) -> list['Experiment']:
    """Returns the trainings that are drawn as one line each, or as a band if they differ only in their seed or fold.

    Args:
        trainings: The trainings. Those whose config keeps the checkpoint with the lowest of a value are told so.
        separately: Whether every training is a line of its own.
    """
    from mmcell.checkpoints.seeds import group_seeds, lowest_is_best, read_settings
    from mmcell.visualization.seed_bands import Experiment
    folders = [training.runs[-1] for training in trainings]
    for training, folder in zip(trainings, folders, strict=True):
        training.lowest_is_best = lowest_is_best(read_settings(folder))
    if separately:
        return [Experiment(training.name, [training]) for training in trainings]
    return [Experiment(str(group), [trainings[place] for place in group.places])
            for group in group_seeds(folders, [training.name for training in trainings])]


def describe_experiment(experiment: 'Experiment', losses: list[str], scores: list[str]) -> Iterator[str]:
    """Yields lines of text about several trainings: mean and range of their best values, and where bands end."""
    from mmcell.visualization.seed_bands import band_of, best_points
    yield experiment.label
    for kind, names in (('losses', losses), ('scores', scores)):
        for name in names:
            points = best_points(experiment.trainings, kind, name)
            if points:
                values = [value for *_, value in points]
                best = 'best' if kind == 'scores' else 'lowest'
                yield (f'  {name}: {best} {sum(values) / len(values):.4g} on average, from {min(values):.4g} to '
                       f'{max(values):.4g}, at {", ".join(training.moment(step) for training, step, _ in points)}')
            band = band_of(experiment.trainings, kind, name)
            if band is None:
                yield f'  {name}: not all of the trainings have values at the same steps, so there is no band'
            elif band.end > band.steps[-1]:
                yield (f'  {name}: mean and band end at step {band.steps[-1]:,.0f}; only longer trainings go on to '
                       f'step {band.end:,}')


def choose_losses(trainings: list['Training'], names: list[str]) -> list[str]:
    """Returns the names of the training values that are drawn; 'all' becomes the loss and its parts.

    Raises:
        MmcellError: A name is unknown.
    """
    from mmcell.visualization.training_curves import refuse_unknown
    parts = dict.fromkeys(name for training in trainings for name in training.losses if 'loss' in name)
    names = list(dict.fromkeys(part for name in names for part in (
        ['loss', *sorted(parts.keys() - {'loss'})] if name == 'all' else [name])))
    refuse_unknown(trainings, 'losses', names, '--loss')
    return names


def choose_scores(trainings: list['Training'], names: list[str] | None) -> list[str]:
    """Returns the names of the validation values that are drawn; none if nothing was validated and none was named.

    Raises:
        MmcellError: A name is unknown.
    """
    from mmcell.visualization.training_curves import refuse_unknown
    if names is None:
        known = sorted({name for training in trainings for name in training.scores})
        return ['AP50'] if 'AP50' in known else known[:1]
    refuse_unknown(trainings, 'scores', names, '--score')
    return list(dict.fromkeys(names))


def refuse_missing_epochs(trainings: list['Training'], axis: str) -> None:
    """Stops if the axis is to show epochs, but a training counts only steps.

    Raises:
        MmcellError: A training has logged no epochs.
    """
    for training in trainings:
        if axis == 'epoch' and not training.epoch_ends:
            raise MmcellError(f'--x epoch: {training.name} counts only iterations; use --x iter')


if __name__ == '__main__':
    sys.exit(main())
