"""Draws loss and validation curves of trainings, several in one picture to compare them."""

import argparse
from pathlib import Path

from _arguments import plain_errors

EXAMPLE = """example:
  python tools/curves.py work_dirs/mask-rcnn_r50 work_dirs/mask-rcnn_convnext --out work_dirs/curves.png
"""
SUFFIXES = '.png', '.svg', '.pdf'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work folder of tools/train.py')
    parser.add_argument('--out', type=Path, required=True, help='picture to write: .png, .svg or .pdf')
    parser.add_argument('--score', default='AP50', help='validation value to draw (default: AP50)')
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
    """Loss above, validation value below, both over iterations; one colour a training."""
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
