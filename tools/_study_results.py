"""Tables and report of a study, from all predictions that are there, and the folder of small files."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _measuring import showing_progress

if TYPE_CHECKING:
    from mmcell.evaluation.table_formats import ValueTable
    from mmcell.studies.execution import Commands
    from mmcell.studies.measuring import Measured
    from mmcell.studies.plan import Variant
    from mmcell.studies.runs import Run
    from mmcell.studies.study_files import Study


def write_results(runs: list['Run'], variants: list['Variant'], study: 'Study', commands: 'Commands',
                  args: argparse.Namespace) -> None:
    """Measures all predictions that are there, and writes tables, report and the folder that is to be carried."""
    from mmcell.studies.budget import fits, known_seconds, timed
    with timed('tables', args.out):
        measured, tables = show_results(runs, variants, study, args)
    if measured is not None:
        if fits(known_seconds('report', args.out), commands.limit.end):
            with timed('report', args.out):
                write_page(runs, measured, tables, study, args)
            print(f'wrote report.html to {args.out}')
        else:
            print('there is no time for report.html')
    if commands.share_bytes is not None:
        share(runs, commands)


def share(runs: list['Run'], commands: 'Commands') -> None:
    """Fills the folder of small files, and prints what it holds."""
    from mmcell.studies.budget import timed
    from mmcell.studies.sharing import SHARE, share_results
    share_all_weights(runs, commands)
    with timed('share', commands.folder):
        files = share_results(commands.folder, commands.share_bytes)
    print(f'{commands.folder / SHARE}: {len(files)} files, {sum(path.stat().st_size for path in files) / 2 ** 20:.1f} '
          f'MiB, each of at most {commands.share_bytes / 2 ** 20:g} MiB')


def share_all_weights(runs: list['Run'], commands: 'Commands') -> None:
    """Writes the weights of finished trainings that are missing, as long as there is time, and says which are left."""
    from mmcell.studies.budget import fits, known_seconds
    from mmcell.studies.facts import TRAINED
    from mmcell.studies.progress import known_share_seconds
    from mmcell.studies.sharing import lacks_weights, try_to_share_weights
    folder, left = commands.folder, 0
    for run in runs:
        if not (folder / run.folder / TRAINED).exists() or not lacks_weights(run, folder, commands.share_bytes):
            continue
        seconds = (known_share_seconds(folder) or 0.) + (known_seconds('share', folder) or 0.)
        if not fits(seconds, commands.limit.end):
            left += 1
        elif problem := try_to_share_weights(run, folder, commands.share_bytes):
            print(f'error: {run.folder}: {problem}', file=sys.stderr)
    if left:
        print(f'there is no time for the weights of {left} trainings; the same command writes them')


def show_results(runs: list['Run'], variants: list['Variant'], study: 'Study',
                 args: argparse.Namespace) -> tuple['Measured | None', list['ValueTable']]:
    """Measures all predictions that are there, and prints and writes the tables of the study.

    Returns:
        What was measured, or None if all trainings are final; and the tables.
    """
    from rich.console import Console

    from mmcell.evaluation.report_files import write_report as write_table
    from mmcell.evaluation.table_formats import print_whole
    from mmcell.studies.measuring import measure
    from mmcell.studies.progress import progress_table
    from mmcell.studies.results import study_tables, to_records
    compared = [run for run in runs if not run.variant.is_final]
    tables, records, measured = [], [], None
    if compared:
        with showing_progress('measuring') as on_step:
            measured = measure(compared, [variant for variant in variants if not variant.is_final], args.out,
                               args.score_thr, args.resamples, on_step)
        n_planned = len({(run.seed, run.fold) for run in compared})
        tables = study_tables(measured.rows, n_planned, measured.n_images, args.score_thr)
        records = to_records(measured.rows, n_planned)
    tables += filter(None, [progress_table(runs, args.out)])
    for suffix in ('md', 'tex', 'json', *(['csv'] if records else [])) if tables else ():
        write_table(args.out / f'table.{suffix}', {'question': study.question, 'rows': records}, tables, records)
    for table in tables:
        print_whole(Console(highlight=False, markup=False), table)
    if tables:
        print(f'wrote table.md, table.json and table.tex{", and table.csv" if records else ""} to {args.out}')
    return measured, tables


def write_page(runs: list['Run'], measured: 'Measured', tables: list['ValueTable'], study: 'Study',
               args: argparse.Namespace) -> None:
    """Writes the report of a study."""
    import shlex

    from mmcell.reports.report import write_report
    with showing_progress('report') as on_step:
        write_report(args.out / 'report.html', study.question or f'Study {args.out.name}',
                     shlex.join(['python', *sys.argv]), files=measured.files, runs=find_curves(runs, args.out),
                     tables=tables, question=study.question, on_step=on_step,
                     remarks=['The table and the curves are about all seeds. All other values, the images and the '
                              'mistakes are those of the first seed of each config that has predictions.']
                     if len({run.seed for run in runs}) > 1 else [])


def find_curves(runs: list['Run'], folder: Path) -> list:
    """Returns the trainings of each config that have logged a step, as one curve of the report."""
    from mmcell.reports.curve_sections import Run as Curve
    from mmcell.visualization.training_curves import read_step_facts
    trained: dict[str, list[Path]] = {}
    for run in runs:
        if read_step_facts(folder / run.folder).step_seconds is not None:
            trained.setdefault(run.folder.parts[0], []).append(folder / run.folder)
    return [Curve(name, tuple(folders)) for name, folders in trained.items()]
