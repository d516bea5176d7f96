"""Trains and tests several configs with several seeds, and compares them in one table.

Each training is a folder of its own inside --out. What is done is skipped, and what was interrupted is continued
exactly where it stopped, so that the same command can be given again at any time. Configs that differ only in settings
of tests, for example in max_per_img, share one training.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _arguments import add_setting_argument, make_folder, plain_errors

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmcell.studies.execution import Commands, Outcome

STUDY_KEYS = ('configs', 'seeds', 'settings', 'vary', 'question')
EXAMPLE = """example:
  python tools/study.py configs/cell/mask-rcnn_r50.py configs/cell/mask-rcnn_convnext.py --out work_dirs/backbones
  python tools/study.py studies/backbones.py --out work_dirs/backbones --seeds 0 1 2 --budget 8h
  python tools/study.py configs/cell/mask-rcnn_r50.py --out caps --vary model.test_cfg.rcnn.max_per_img=100,300
  python tools/study.py configs/cell/mask-rcnn_r50.py --out work_dirs/tiles --vary tile=none,512 --vary tta=false,true

A study file is a config with the list configs, whose paths are relative to the file, and perhaps the lists seeds and
vary, the text question, and the dict settings, which changes all configs. Flags replace seeds and vary.

Exit status: 0 if all runs are done, 3 if some failed or are left for another call, 1 if all failed or the study could
not start, 2 if the command line is wrong, 130 after Ctrl-C.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG',
                        help='config files of the experiments, the first of which the others are compared with; or one '
                             'study file')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='folder of the study')
    parser.add_argument('--seeds', type=int, nargs='+', metavar='N',
                        help='train each config with each of these seeds (default: those of the study file, or 0)')
    parser.add_argument('--vary', action='append', metavar='KEY=V1,V2',
                        help='also vary a setting of the configs, or a flag of tools/test.py: tile, overlap, upscale '
                             'or tta. May be given several times, for all combinations (default: nothing is varied)')
    add_setting_argument(parser, 'train_cfg.max_epochs=10 train_dataloader.batch_size=1')
    parser.add_argument('--max-epochs', type=int, metavar='N',
                        help='length of each training in epochs (default: as the configs say)')
    parser.add_argument('--budget', type=seconds, metavar='TIME',
                        help='stop after this time, for example 90m or 8h, and say what is left: running trainings '
                             'save a checkpoint, from which the same command continues (default: no limit)')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='how many runs go on at once (default: 1)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='pytorch: each run uses all GPUs of this machine, with torchrun; slurm: each run is a job '
                             'of Slurm (default: none, one process per run on this machine)')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (default: do not)')
    parser.add_argument('--score-thr', type=float, default=.5, metavar='SCORE',
                        help='lowest score of the detections that count for PQ and F1 (default: .5)')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N',
                        help='how often images are drawn at random for the intervals (default: 1000)')
    parser.add_argument('--dry-run', action='store_true', help='only list the runs and what is left of them')
    args = parser.parse_args()
    if args.jobs < 1 or args.resamples < 1:
        parser.error(f'--jobs and --resamples must be at least 1, got {args.jobs} and {args.resamples}')
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be from 0 to 1, got {args.score_thr:g}')
    return args


def seconds(text: str) -> float:
    """Returns the seconds of a time such as 90m; a text of another form makes argparse print a message."""
    from mmcell.studies.times import parse_time
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    args = parse_args()
    begun = time.time()
    with plain_errors(': the same command continues from here'):
        make_folder(args.out, '--out')
        return run(args, begun)


def run(args: argparse.Namespace, begun: float) -> int:
    """Carries the study out, prints and writes its table, and returns the exit status."""
    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        import mmcell.datasets  # noqa: F401
    from mmcell.studies.execution import Commands, is_done, refuse_other_settings
    from mmcell.studies.plan import flatten_settings, make_variants, parse_varied, plan_runs
    study = read_study(args)
    options = [*flatten_settings(study['settings']), *(args.cfg_options or []),
               *([f'train_cfg.max_epochs={args.max_epochs}'] if args.max_epochs else [])]
    variants = make_variants(study['configs'], options, dict(map(parse_varied, study['vary'])))
    runs = plan_runs(variants, study['seeds'])
    for planned in runs:
        refuse_other_settings(planned, args.out)
    if args.dry_run:
        for planned in runs:
            print(f'{"done" if is_done(planned, args.out) else "to do"}: {planned.folder}')
        return 0
    start, launched = start_of(args.launcher)
    deadline = None if args.budget is None else begun + args.budget
    commands = Commands(args.out, Path(__file__).parent, ('--amp', *launched) if args.amp else launched, launched,
                        start, deadline)
    outcomes = carry_out_runs([planned for planned in runs if not is_done(planned, args.out)], commands, args)
    show_results(runs, variants, study, args)
    return report(outcomes, runs)


def start_of(launcher: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the command that starts a Python file, and the flags with which tools/ joins the processes."""
    if launcher != 'pytorch':
        return (sys.executable,), ()
    from torch import cuda
    return ((sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
             str(max(cuda.device_count(), 1))), ('--launcher', 'pytorch'))


def read_study(args: argparse.Namespace) -> dict:
    """Returns what is to be studied: the study file, if there is one, with the flags of the command line.

    Raises:
        MmcellError: The study file has an unknown key, or is not the only argument.
    """
    from mmengine.config import Config
    study = {'configs': args.configs, 'seeds': [0], 'settings': {}, 'vary': [], 'question': ''}
    first = Config.fromfile(args.configs[0])
    if 'configs' in first:
        unknown = sorted(set(first.keys()) - set(STUDY_KEYS))
        if unknown:
            raise MmcellError(f'{args.configs[0]}: the keys of a study file are {", ".join(STUDY_KEYS)}, got {unknown}')
        if len(args.configs) > 1:
            raise MmcellError(f'{args.configs[0]} is a study file and must be the only argument')
        study |= first.to_dict()
        study['configs'] = [str(Path(args.configs[0]).parent / config) for config in study['configs']]
    for key, value in (('seeds', args.seeds), ('vary', args.vary)):
        study[key] = value or study[key]
    return study


def carry_out_runs(runs: list, commands: 'Commands', args: argparse.Namespace) -> list['Outcome']:
    """Carries runs out, up to --jobs at once, and prints a line when one begins and when it ends."""
    from torch import cuda

    from mmcell.studies.pool import carry_out_all
    numbers = {planned.folder: f'[{number}/{len(runs)}] {planned.folder}' for number, planned in enumerate(runs, 1)}
    outcomes = []
    for outcome in carry_out_all(
            runs, commands, args.jobs, 'slurm' if args.launcher == 'slurm' else 'local', cuda.device_count(),
            on_begin=lambda planned: print(f'{numbers[planned.folder]} …', flush=True)):
        outcomes.append(outcome)
        print(f'{numbers[outcome.run.folder]}: {outcome.status} {outcome.message}'.rstrip(), flush=True)
    return outcomes


def show_results(runs: list, variants: list, study: dict, args: argparse.Namespace) -> None:
    """Measures all predictions that are there, and prints and writes the table of the study."""
    from rich.console import Console

    from mmcell.evaluation.metrics_file import write_csv, write_metrics, write_text
    from mmcell.evaluation.table_formats import print_whole, to_latex, to_markdown
    from mmcell.studies.measuring import measure
    from mmcell.studies.results import study_table, to_records
    rows, n_images = measure(runs, variants, args.out, args.score_thr, args.resamples)
    table = study_table(rows, len(study['seeds']), n_images, args.score_thr)
    records = to_records(rows, len(study['seeds']))
    write_metrics({'question': study['question'], 'rows': records}, args.out / 'table.json')
    write_csv(records, args.out / 'table.csv')
    write_text(to_markdown(table), args.out / 'table.md')
    write_text(to_latex(table), args.out / 'table.tex')
    print_whole(Console(highlight=False, markup=False), table)
    print(f'wrote table.md, table.csv, table.json and table.tex to {args.out}')


def report(outcomes: list, runs: list) -> int:
    """Says which runs failed and how many are left; returns the exit status."""
    failed = [outcome for outcome in outcomes if outcome.status == 'failed']
    stopped = [outcome for outcome in outcomes if outcome.status == 'stopped']
    for outcome in failed:
        print(f'error: {outcome.run.folder}: {outcome.message}', file=sys.stderr)
    if stopped:
        print(f'the time is over: {len(stopped)} of {len(runs)} runs are left; the same command continues them')
    if failed and len(failed) == len(runs):
        return 1
    return 3 if failed or stopped else 0


if __name__ == '__main__':
    sys.exit(main())
