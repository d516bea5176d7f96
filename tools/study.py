"""Trains and tests several configs with several seeds or folds, and compares them in one table.

Each training has a folder of its own inside --out. What is done is skipped, and what was interrupted is continued
exactly where it stopped, so that the same command can be given again at any time. Configs that differ only in settings
of tests, for example in max_per_img, share one training. The table is written at the end of each call, also from a part
of the study, but not after Ctrl-C.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from _config import make_folder
from _options import add_setting_argument, add_tile_arguments, refuse_wrong_score, tile_settings

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.settings.config_files import refuse_unreadable_config

if TYPE_CHECKING:
    from mmcell.studies.execution import Commands, Outcome
    from mmcell.studies.plan import Variant
    from mmcell.studies.runs import Run
    from mmcell.studies.study_files import Study

EXAMPLE = """example:
  python tools/study.py configs/cell/mask-rcnn_r50.py configs/cell/mask-rcnn_convnext.py --out work_dirs/backbones
  python tools/study.py studies/backbones.py --seeds 0 1 2 --budget 8h
  python tools/study.py studies/consep.py --budget 9m --amp
  python tools/study.py configs/cell/mask-rcnn_r50.py --out work_dirs/folds --folds 5
  python tools/study.py configs/cell/mask-rcnn_r50.py --out caps --vary model.test_cfg.rcnn.max_per_img=100,300
  python tools/study.py configs/cell/mask-rcnn_r50.py --out tiles --vary tile=none,512 --vary tta=false,true

A study file is a config with the list configs: paths relative to the file, or dicts with the keys config, settings,
name and final. It may also have question, seeds, folds, vary, submission, share_mib and settings, which all configs
get. Flags replace seeds, folds, vary, submission and share_mib, and --cfg-options come after all settings of the file.

Ctrl-C ends a study after its trainings have saved a checkpoint, and so do the signals SIGTERM and SIGHUP.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all runs are done', 'all runs failed or the study could not start',
                         'some runs failed, or are left for another call')
    parser.add_argument('configs', nargs='+', metavar='CONFIG',
                        help='config files of the experiments, the first of which the others are compared with; or one '
                             'study file')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='folder of the study (default: for a file in a folder studies/, its path there in '
                             'work_dirs/studies/; it must be given for configs)')
    parser.add_argument('--seeds', type=int, nargs='+', metavar='N',
                        help='train each config with each of these seeds (default: those of the study file, or 0)')
    parser.add_argument('--folds', type=int, metavar='K',
                        help='train each config K times, each time without one of the K folds of data_prep/to_coco.py '
                             '--folds K, and measure the predictions of all left-out folds together (default: '
                             'folds of the study file, or the training and validation parts of the configs)')
    parser.add_argument('--vary', action='append', metavar='KEY=V1,V2',
                        help='also vary a setting of the configs, or a flag of tools/test.py: tile, overlap, upscale '
                             'or tta. May be given several times, for all combinations (default: those of the study '
                             'file, or nothing)')
    add_setting_argument(parser, 'train_cfg.max_epochs=10 train_dataloader.batch_size=1')
    parser.add_argument('--max-epochs', type=int, metavar='N',
                        help='length of each training in epochs (default: as the configs say)')
    parser.add_argument('--budget', type=parse_budget, metavar='TIME',
                        help='end within this time, for example 9m or 8h, and say what is left: running trainings save '
                             'a checkpoint, from which the same command continues (default: no limit)')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='how many runs go on at once (default: 1)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='pytorch: each run uses all GPUs of this machine, with torchrun; slurm: each run is a job '
                             'of Slurm (default: none, one process per run on this machine)')
    parser.add_argument('--slurm', nargs='+', default=[], metavar='KEY=VALUE',
                        help='parameters of the jobs with --launcher slurm, for example slurm_partition=gpu '
                             'gpus_per_node=1 cpus_per_task=8 timeout_min=720 (default: those of the cluster)')
    parser.add_argument('--submission', action=argparse.BooleanOptionalAction,
                        help='also predict the test images with each training, and write a checked submission zip of '
                             'less than 2 MB into its folder (default: as the study file says, or do not)')
    parser.add_argument('--share-mib', type=int, metavar='N',
                        help='collect results, and the weights of finished trainings in half precision, in the folder '
                             'share of the study, in files of at most N MiB (default: as the study file says, or do '
                             'not)')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (default: do not)')
    parser.add_argument('--score-thr', type=float, default=.5, metavar='SCORE',
                        help='lowest score of the detections that count for PQ and F1 (default: .5)')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N',
                        help='how often images are drawn at random for the intervals (default: 1000)')
    parser.add_argument('--dry-run', action='store_true',
                        help='only list the runs, and which of them are done (default: carry them out)')
    args = parser.parse_args()
    if sys.platform == 'win32':
        parser.error('studies need Linux or macOS, because they use file locks and signals that Windows does not have. '
                     'tools/train.py, tools/test.py and tools/evaluate.py do the same one by one')
    for name in ('jobs', 'resamples', 'max_epochs', 'folds', 'share_mib'):
        value = getattr(args, name)
        if value is not None and value < 1 + (name == 'folds'):
            parser.error(f'--{name.replace("_", "-")} must be at least {1 + (name == "folds")}, got {value}')
    refuse_wrong_score(parser, args.score_thr)
    if args.slurm and args.launcher != 'slurm':
        parser.error('--slurm has an effect only with --launcher slurm')
    if args.jobs > 1 and args.launcher == 'pytorch':
        parser.error('--launcher pytorch gives each run all GPUs of this machine: leave out --jobs')
    args.out = args.out or default_folder(args.configs)
    if args.out is None:
        parser.error('--out is needed with configs, and with a study file that is in no folder studies/')
    return args


def default_folder(paths: list[str]) -> Path | None:
    """Returns work_dirs/studies/consep for studies/consep.py; None for several files, and for files elsewhere."""
    parts = Path(paths[0]).absolute().with_suffix('').parts
    if len(paths) > 1 or 'studies' not in parts[:-1]:
        return None
    return Path('work_dirs', *parts[len(parts) - 1 - parts[::-1].index('studies', 1):])


def parse_budget(text: str) -> float:
    """Returns the seconds of a time such as 90m; a text of another form makes argparse print a message."""
    from mmcell.studies.times import parse_time
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    return run_command(parse_args, carry_out, after_interrupt=': the same command continues from here')


def carry_out(args: argparse.Namespace) -> int:
    """Carries the study out, prints and writes its table, and returns the exit status."""
    begun = time.time()
    save_before_the_end()
    for path in args.configs:
        refuse_unreadable_config(path)
    if not args.dry_run:
        make_folder(args.out, '--out')
    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        import mmcell.datasets  # noqa: F401
    from mmcell.studies.dependencies import refuse_missing_trainings
    from mmcell.studies.execution import is_done, refuse_other_settings
    from mmcell.studies.plan import make_variants, parse_varied
    from mmcell.studies.runs import plan_runs
    study = read_study(args)
    variants = make_variants(study.experiments, study.options, dict(map(parse_varied, study.varied)))
    runs = plan_runs(variants, study.seeds, study.n_folds, study.with_submission)
    refuse_what_would_fail(variants, study)
    commands = make_commands(args, study, begun, runs)
    refuse_missing_trainings(runs, args.out)
    for run in runs:
        refuse_other_settings(run, commands)
    left = [run for run in runs if not is_done(run, args.out)]
    if args.dry_run:
        list_runs(runs, left, args)
        return ExitStatus.DONE
    outcomes = carry_out_runs(left, commands, args)
    from _study_results import write_results
    write_results(runs, variants, study, commands, args)
    return report(outcomes, runs, args)


def save_before_the_end() -> None:
    """Lets every way of ending the study end it as Ctrl-C does, so that the trainings save a checkpoint."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup lets the study ignore the end of the terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def list_runs(runs: list['Run'], left: list['Run'], args: argparse.Namespace) -> None:
    """Prints which runs are done, and about how long the others take."""
    from mmcell.studies.progress import estimate_left
    for run in runs:
        print(f'{"to do" if run in left else "done "}  {run.folder}')
    if left:
        print(estimate_left(runs, args.out).describe(args.jobs))


def refuse_what_would_fail(variants: list['Variant'], study: 'Study') -> None:
    """Stops before the first training if its data cannot be measured, or tests would be refused."""
    from mmcell.studies.measuring import refuse_unfit_data
    from mmcell.studies.submissions import refuse_missing_test_images
    refuse_wrong_flags(variants)
    refuse_unfit_data(variants, study.n_folds)
    if study.with_submission:
        refuse_missing_test_images(variants)


def refuse_wrong_flags(variants: list['Variant']) -> None:
    """Stops before the first training if tools/test.py would refuse its flags."""
    parser = argparse.ArgumentParser(prog='study.py --vary', usage='a flag of tools/test.py has a wrong value')
    add_tile_arguments(parser, '')
    parser.add_argument('--tta', action='store_true')
    for variant in variants:
        tile_settings(parser.parse_args(variant.flag_texts))


def read_study(args: argparse.Namespace) -> 'Study':
    """Returns the study of the files, with the flags of the command line."""
    from mmcell.studies.study_files import read_study
    study = read_study(args.configs)
    max_epochs = [f'train_cfg.max_epochs={args.max_epochs}'] if args.max_epochs else []
    return replace(study, seeds=tuple(args.seeds or study.seeds), n_folds=args.folds or study.n_folds,
                   varied=tuple(args.vary or study.varied), share_mib=args.share_mib or study.share_mib,
                   with_submission=study.with_submission if args.submission is None else args.submission,
                   options=(*study.options, *(args.cfg_options or []), *max_epochs))


def make_commands(args: argparse.Namespace, study: 'Study', begun: float, runs: list['Run']) -> 'Commands':
    """Returns how the runs are started; ``begun`` is the time from which the budget counts."""
    from mmcell.studies.budget import plan_limit
    from mmcell.studies.execution import Commands
    start, launched = (sys.executable,), ()
    if args.launcher == 'pytorch':
        from torch import cuda
        start = (sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
                 str(max(cuda.device_count(), 1)))
        launched = ('--launcher', 'pytorch')
    return Commands(args.out, Path(__file__).parent, ('--amp', *launched) if args.amp else launched, launched, start,
                    plan_limit(begun, args.budget, args.out, [args.out / run.folder for run in runs]),
                    None if study.share_mib is None else study.share_mib * 2 ** 20)


def carry_out_runs(runs: list['Run'], commands: 'Commands', args: argparse.Namespace) -> list['Outcome']:
    """Carries runs out, up to --jobs at once, and prints a line when one begins and when it ends."""
    from mmcell.studies.pool import carry_out_all
    numbers = {run.folder: f'[{number}/{len(runs)}] {run.folder}' for number, run in enumerate(runs, 1)}
    outcomes = []
    for outcome in carry_out_all(runs, commands, args.jobs, args.slurm if args.launcher == 'slurm' else None,
                                 find_gpus() if args.jobs > 1 and args.launcher == 'none' else (),
                                 on_begin=lambda run: print(f'{numbers[run.folder]} …', flush=True)):
        outcomes.append(outcome)
        if outcome.has_begun or outcome.message:
            reason = f', {outcome.message}' if outcome.message else ''
            print(f'{numbers[outcome.run.folder]}: {outcome.status}{reason}', flush=True)
    return outcomes


def find_gpus() -> list[str]:
    """Returns the GPUs that this command may use, as CUDA_VISIBLE_DEVICES names them: numbers, or GPU-… and MIG-…."""
    from torch import cuda
    n_gpus = cuda.device_count()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = map(str, range(n_gpus)) if visible is None else visible.split(',')
    return [name.strip() for name in names][:n_gpus]


def report(outcomes: list['Outcome'], runs: list['Run'], args: argparse.Namespace) -> int:
    """Says which runs failed, and what is left and for how long; returns the exit status."""
    from mmcell.studies.progress import estimate_left
    failed = [outcome for outcome in outcomes if outcome.status == 'failed']
    n_stopped = sum(outcome.status == 'stopped' for outcome in outcomes)
    for outcome in failed:
        print(f'error: {outcome.run.folder}: {outcome.message}', file=sys.stderr)
    if n_stopped:
        print(f'{estimate_left(runs, args.out).describe(args.jobs)}; the same command continues')
    if failed and len(failed) == len(runs):
        return ExitStatus.FAILED
    return ExitStatus.PARTLY if failed or n_stopped else ExitStatus.DONE


if __name__ == '__main__':
    sys.exit(main())
