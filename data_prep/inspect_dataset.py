"""Looks for mistakes in annotation files and their images, describes the cells, and advises on settings of a config."""

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _conversion import positive_number, usable_cores

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import escape
from mmcell.files.early_checks import (
    refuse_missing,
    refuse_missing_annotations,
    refuse_unwritable_files,
    refuse_unwritable_folder,
)
from mmcell.settings.config_files import read_config_file, refuse_unreadable_config

if TYPE_CHECKING:
    from mmcell.inspection.advice_record import Advice
    from mmcell.inspection.findings import Finding
    from mmcell.inspection.sets import InspectedSet

EXAMPLE = """examples:
  python data_prep/inspect_dataset.py annotations/train.json annotations/val.json annotations/test.json
  python data_prep/inspect_dataset.py annotations/*.json --page page.html --write-config configs/cell/my-data.py
  python data_prep/inspect_dataset.py annotations/trainval.json --predictions out_of_fold.pkl --errors-out label_errors

Name all files that belong together: copies of images are looked for between them. A file that other named files contain
completely, as train.json and val.json contain trainval.json, is only counted. The guide docs/guides/data_doctor.md
explains every alarm.
"""
PLACES_SHOWN = 3
BASELINE = Path(__file__).resolve().parents[1] / 'configs' / 'cell' / 'mask-rcnn_r50.py'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'there is no alarm', 'the inspection failed',
                         'there are alarms: errors or warnings')
    parser.add_argument('files', nargs='+', type=Path, metavar='ANNOTATIONS.json', help='COCO annotation files')
    parser.add_argument('--config', type=Path, default=BASELINE, metavar='CONFIG',
                        help='config that the advice is about (default: configs/cell/mask-rcnn_r50.py)')
    parser.add_argument('--predictions', type=Path, metavar='RESULTS',
                        help='predictions of the images of the first file by models that have not seen them, as '
                             'tools/study.py --folds gathers them: likely label errors are listed')
    parser.add_argument('--errors-out', type=Path, metavar='FOLDER',
                        help='folder for the likely label errors as a table, and as GeoJSON to look at in QuPath (only '
                             'with --predictions)')
    parser.add_argument('--out', type=Path, metavar='REPORT.json', help='write everything as JSON')
    parser.add_argument('--page', type=Path, metavar='PAGE.html',
                        help='write one HTML page with pictures, which opens without a network')
    parser.add_argument('--write-config', type=Path, metavar='NEW.py',
                        help='write a config that inherits --config and has the settings that are advised')
    parser.add_argument('--force', action='store_true', help='replace the file that --write-config names')
    parser.add_argument('--jobs', type=positive_number, default=usable_cores(), metavar='N',
                        help='number of images that are read at the same time, each in its own process (default: the '
                             'number of processor cores)')
    args = parser.parse_args()
    if args.errors_out is not None and args.predictions is None:
        parser.error('--errors-out needs --predictions')
    if args.write_config is not None:
        check_written_config(parser, args)
    return args


def check_written_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with a message if the config could not be written after the inspection, which may take minutes."""
    if args.write_config.suffix != '.py':
        parser.error(f'--write-config must end in .py, got {args.write_config}')
    if args.write_config.exists() and not args.force:
        parser.error(f'{args.write_config} exists already: give --force to replace it, or another name')
    if 'train' not in find_parts(args.files):
        parser.error('--write-config needs the annotation file of the training: train.json or trainval.json')


def main() -> int:
    return run_command(parse_args, inspect)


def inspect(args: argparse.Namespace) -> ExitStatus:
    """Inspects the files, prints what is found, and writes the files that are asked for."""
    refuse_unreadable_config(args.config)
    refuse_missing_annotations(*args.files)
    refuse_missing(args.predictions)
    for flag, path in (('--out', args.out), ('--page', args.page), ('--write-config', args.write_config)):
        refuse_unwritable_files([path], flag, [*args.files, args.predictions, args.config])
    refuse_unwritable_folder(args.errors_out, '--errors-out')
    from mmcell.inspection.advice import AdviceError, advise
    from mmcell.inspection.defects import find_defects
    from mmcell.inspection.findings import LEVELS
    from mmcell.inspection.sets import inspect_sets
    config = read_config_file(args.config)
    sets = inspect_sets(args.files, args.jobs)
    findings = find_defects(sets)
    if args.predictions is not None:
        findings = [*findings, *find_errors_of_labels(sets[0], args)]
        findings.sort(key=lambda finding: LEVELS.index(finding.level))
    try:
        advice = advise(sets, config)
    except AdviceError as error:
        advice = []
        print(f'no advice: {escape(error)}', file=sys.stderr)
    print_findings([finding for finding in findings if finding.level != 'note'], sets)
    print_contents(sets)
    print_notes([finding for finding in findings if finding.level == 'note'])
    print_advice(advice, args.config)
    write_outputs(args, sets, findings, advice)
    return ExitStatus.PARTLY if findings and findings[0].level != 'note' else ExitStatus.DONE


def find_errors_of_labels(part: 'InspectedSet', args: argparse.Namespace) -> list['Finding']:
    """Compares a data set with predictions, writes the likely errors, and returns what is to be said about them."""
    import numpy as np

    from mmcell.inspection.label_error_files import write_label_errors
    from mmcell.inspection.label_error_findings import to_findings
    from mmcell.inspection.label_errors import find_label_errors
    from mmcell.predictions.result_files import read_predictions
    truth = part.truth
    results = read_predictions(args.predictions, truth)
    is_predicted = None
    if results.sources:
        is_predicted = np.isin(np.arange(len(truth.image_ids)), list(results.sources))
    errors = find_label_errors(truth, results.predictions, is_predicted)
    if args.errors_out is not None:
        write_label_errors(errors, args.errors_out)
        print(f'wrote the likely label errors to {escape(args.errors_out)}')
    return to_findings(errors)


def print_findings(alarms: list['Finding'], sets: list['InspectedSet']) -> None:
    """Prints the alarms, each with what to do and the first places."""
    n_images = len({(part.truth.folder, name) for part in sets for name in part.truth.file_names})
    if not alarms:
        print(f'{n_images} images inspected: no alarm')
    for finding in alarms:
        print(f'{finding.level.upper()} {finding.kind}: {escape(finding.sentence)}')
        if finding.advice:
            print(f'    {escape(finding.advice)}')
        for place in finding.places[:PLACES_SHOWN]:
            cell = '' if place.cell_id is None else f', cell {place.cell_id}'
            detail = f': {place.detail}' if place.detail else ''
            print(f'    - {escape(place.file_name)}{cell}{escape(detail)}')
        if len(finding.places) > PLACES_SHOWN:
            print(f'    - and {len(finding.places) - PLACES_SHOWN} more (--out, --page)')


def print_contents(sets: list['InspectedSet']) -> None:
    """Prints how many images and cells there are, and how large and crowded the cells are."""
    from rich.console import Console

    from mmcell.evaluation.table_formats import print_whole
    from mmcell.inspection.content_tables import tabulate_contents
    print_whole(Console(markup=False, emoji=False), tabulate_contents(sets))


def print_notes(notes: list['Finding']) -> None:
    """Prints what is worth knowing, apart from the numbers that the table of contents has."""
    for note in notes:
        if note.kind != 'summary':
            print(f'note: {escape(" ".join(filter(None, [note.sentence, note.advice])))}')


def print_advice(advice: list['Advice'], config: Path) -> None:
    """Prints the reason of each advice, and what to type."""
    from mmcell.inspection.advice_record import as_options
    if advice:
        print(f'\nadvice about {escape(config)}:')
    for entry in advice:
        print(f'  {entry.kind}: {escape(entry.sentence)}')
        typed = entry.flag or as_options(entry.settings)
        if typed:
            print(f'      {escape(typed)}')
        elif entry.settings:
            print(f'      {", ".join(entry.settings)}: too long to type; --write-config writes it')


def write_outputs(args: argparse.Namespace, sets: list['InspectedSet'], findings: list['Finding'],
                  advice: list['Advice']) -> None:
    """Writes the files that were asked for, and prints their names."""
    import json

    from mmcell.files.whole_files import written_whole
    if args.out is not None:
        with written_whole([args.out]) as (temporary,):
            temporary.write_text(json.dumps(to_document(args, sets, findings, advice), indent=1), encoding='utf-8')
        print(f'wrote {escape(args.out)}')
    if args.page is not None:
        from mmcell.reports.inspection_page import write_inspection_page
        command = shlex.join(['python', 'data_prep/inspect_dataset.py', *sys.argv[1:]])
        write_inspection_page(args.page, f'Inspection of {", ".join(part.name for part in sets)}', command, sets,
                              findings, advice)
        print(f'wrote {escape(args.page)}')
    if args.write_config is not None:
        from mmcell.inspection.written_config import write_config
        write_config(args.write_config, args.config, advice, find_parts(args.files), args.force)
        print(f'wrote {escape(args.write_config)}')


def find_parts(files: list[Path]) -> dict[str, Path]:
    """Returns the files by the part of the data that they are for: 'train', 'val' or 'test'.

    The words in the names of the files say so. Of several files for one part, the first is taken; trainval.json is for
    training if no other file is.
    """
    found: dict[str, Path] = {}
    for file in files:
        words = re.findall('[a-z]+', file.stem.lower())
        for part in ('train', 'val', 'test'):
            if part in words:
                found.setdefault(part, file)
    both = [file for file in files if 'trainval' in file.stem.lower()]
    return found if 'train' in found or not both else {'train': both[0], **found}


def to_document(args: argparse.Namespace, sets: list['InspectedSet'], findings: list['Finding'],
                advice: list['Advice']) -> dict:
    """Returns everything that was found, in JSON's types."""
    from dataclasses import asdict

    from mmcell.inspection.content_tables import describe_contents
    contents = {}
    for part in sets:
        cells, by_class = describe_contents(part)
        contents[part.name] = {'all': _without_nan(cells),
                               'classes': dict(zip(part.truth.class_names, map(_without_nan, by_class), strict=True))}
    return {
        'files': {part.name: part.truth.source for part in sets},
        'findings': [asdict(finding) for finding in findings],
        'contents': contents,
        'advice': {'config': str(args.config), 'entries': [asdict(entry) for entry in advice]}}


def _without_nan(numbers: dict[str, float]) -> dict[str, float | None]:
    return {key: None if value != value else value for key, value in numbers.items()}


if __name__ == '__main__':
    sys.exit(main())
