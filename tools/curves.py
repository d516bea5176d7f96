"""Draws the training loss and a validation value of one or several trainings into one picture, to compare them."""

import argparse
from pathlib import Path

from _arguments import plain_errors

EXAMPLE = """example:
  python tools/curves.py work_dirs/mask-rcnn_r50 work_dirs/mask-rcnn_convnext --out work_dirs/curves.png

Exit status: 0 if the picture was written, 1 if not, 2 if the command line is wrong.
"""
SUFFIXES = '.png', '.svg', '.pdf'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR',
                        help='work folder that tools/train.py wrote')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE',
                        help='picture to write, which ends in .png, .svg or .pdf')
    parser.add_argument('--score', default='AP50', metavar='NAME',
                        help='validation value to draw, as the log names it (default: AP50)')
    args = parser.parse_args()
    if args.out.suffix not in SUFFIXES:
        parser.error(f'--out must end in one of {", ".join(SUFFIXES)}, got {args.out}')
    return args


def main() -> None:
    args = parse_args()
    with plain_errors():
        draw(args.work_dirs, args.score, args.out)
    print(f'wrote {args.out}')


def draw(work_dirs: list[Path], score: str, out: Path) -> None:
    """Draws the loss above and the validation value below, both over the iterations, with one colour per training.

    Args:
        work_dirs: Work folders of the trainings.
        score: Name of the validation value.
        out: The picture to write; its suffix is one of ``SUFFIXES``.

    Raises:
        MmcellError: A training has logged no loss.
    """
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    from mmcell.files.whole_files import written_whole
    from mmcell.visualization.training_curves import read_curves
    curves = {str(folder): read_curves(folder, score) for folder in work_dirs}
    figure, axes = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout='constrained')
    for name, curve in curves.items():
        line, = axes[0].plot(*zip(*sorted(curve.losses.items()), strict=True), label=name)
        if curve.scores:
            axes[1].plot(*zip(*sorted(curve.scores.items()), strict=True), 'o-', color=line.get_color(), label=name)
    axes[0].set_ylabel('training loss')
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    axes[1].set_ylabel(f'validation {score}')
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel('iteration')
    with written_whole([out]) as (temporary,):
        figure.savefig(temporary, format=out.suffix[1:], dpi=110)


if __name__ == '__main__':
    main()
