"""Measures predictions against true cells: COCO average precision, panoptic quality, AJI, Dice, F1, kinds of mistakes.

The names of the values say what was counted. AP50 counts all detections, AP50@100 at most 100 per image and class.
PQ_pooled adds numerators and denominators over all images before it divides; PQ_image_mean is the mean over the images.
Average precision uses all detections, all other values only those with a score of at least --score-thr. Intervals are
95 % percentile intervals of a bootstrap over images.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _measuring import measure, short_names, showing_progress
from _options import refuse_other_suffix, refuse_wrong_score

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import (
    refuse_missing,
    refuse_missing_annotations,
    refuse_unwritable_files,
    refuse_unwritable_folder,
)

if TYPE_CHECKING:
    from rich.console import Console

    from mmcell.annotations.ground_truth import GroundTruth
    from mmcell.evaluation.evaluation import EvaluatedFile
    from mmcell.evaluation.table_formats import ValueTable

# The upper limit of --size-bins. No cell is as large as this.
MAX_SIZE_PX = 100000
PACKAGES = ('pycocotools', 'numpy', 'scipy')
TABLE_SUFFIXES = ('.md', '.tex')
DUMP_SUFFIXES = ('.pkl', '.pickle')
EXAMPLE = """example:
  python tools/evaluate.py results.pkl annotations/val.json --out metrics.json
  python tools/evaluate.py submission.zip annotations/val.json --score-thr .3
  python tools/evaluate.py results.pkl annotations/val.json --sweep
  python tools/evaluate.py new.pkl annotations/val.json --compare old.pkl
  python tools/evaluate.py a.pkl b.pkl c.pkl annotations/val.json --out table.tex --out table.md
  python tools/evaluate.py results.pkl annotations/val.json --per-image images.csv --worst 20 --overlays worst
  python tools/evaluate.py results.pkl annotations/val.json --report report.html
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'everything was measured')
    parser.add_argument('results', nargs='+',
                        help='file that tools/test.py --out wrote, a submission zip, or a JSON file with a list of '
                             'COCO results. Several files are shown in one table, and compared with the first')
    parser.add_argument('annotations', help='annotation file with the true cells of the predicted images')
    parser.add_argument('--names', nargs='+', metavar='NAME',
                        help='names of the results files in tables (default: the names of the files)')
    parser.add_argument('--out', action='append', default=[], metavar='FILE',
                        help='also write all values, not rounded, to this JSON file. A file that ends in .csv gets one '
                             'line per value, not rounded; one that ends in .md or .tex gets the tables, rounded as '
                             'they are printed. May be given several times (default: no file)')
    parser.add_argument('--score-thr', type=float, default=.5, metavar='SCORE',
                        help='lowest score of the detections from which all values except average precision are '
                             'computed (default: .5)')
    parser.add_argument('--sweep', action='store_true',
                        help='also show five of the values at score thresholds from 0 to .95, and the best threshold '
                             'for each. Use it on validation data; it is refused if the name of the annotation file, '
                             'or of a folder of its images, says that they are test data (default: only --score-thr)')
    parser.add_argument('--compare', metavar='RESULTS',
                        help='also measure these other results, and show by how much the first results differ: first '
                             'minus other (default: no comparison)')
    parser.add_argument('--per-image', action='append', default=[], metavar='FILE',
                        help='also write the values of each image to this file, which ends in .csv, .json, .md or '
                             '.tex. May be given several times (default: no file)')
    parser.add_argument('--worst', type=int, default=5, metavar='N',
                        help='list the N images with the lowest F1 (default: 5; 0 lists none)')
    parser.add_argument('--overlays', type=Path, metavar='FOLDER',
                        help='draw the --worst images of the first results into this folder, with hits, missed cells '
                             'and spurious detections (default: no pictures)')
    parser.add_argument('--report', type=Path, metavar='FILE',
                        help='also write a page to look at with the values, kinds of mistakes and images to this HTML '
                             'file, as tools/report.py does (default: no page)')
    parser.add_argument('--size-bins', type=int, nargs='*', default=[16, 32], metavar='PX',
                        help='boundaries between the sizes that are measured separately, in px; the size of a cell is '
                             'the square root of its area (default: 16 32)')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N',
                        help='how often images are drawn at random for the intervals, 0 for no intervals (default: '
                             '1000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of these draws (default: 0)')
    args = parser.parse_intermixed_args()
    refuse_other_suffix(parser, '--report', args.report, '.html', '.htm')
    check_numbers(parser, args)
    check_files(parser, args)
    return args


def check_numbers(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with a message if a number of the command line cannot be used."""
    refuse_wrong_score(parser, args.score_thr)
    if args.resamples < 0 or args.seed < 0 or args.worst < 0:
        parser.error(f'--resamples, --seed and --worst must not be negative, got {args.resamples}, {args.seed} and '
                     f'{args.worst}')
    if args.size_bins and args.size_bins[-1] >= MAX_SIZE_PX:
        parser.error(f'--size-bins must be below {MAX_SIZE_PX} px, got {args.size_bins}')
    if any(low >= high for low, high in zip([0, *args.size_bins], args.size_bins, strict=False)):
        parser.error(f'--size-bins must be rising numbers above 0, got {args.size_bins}')
    if args.resamples == 0 and (args.compare is not None or len(args.results) > 1):
        parser.error('--compare and several results files need --resamples above 0, because each difference is shown '
                     'with its interval')
    if args.overlays is not None and args.worst == 0:
        parser.error('--overlays draws the --worst images: --worst must be above 0')


def check_files(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with a message if files or names of the command line contradict each other.

    The annotation file may also come first: it is moved to its place.
    """
    if args.results[0].endswith('.json') and args.annotations.endswith((*DUMP_SUFFIXES, '.zip')):
        args.results, args.annotations = [*args.results[1:], args.annotations], args.results[0]
    repeated = [path for path in args.results if args.results.count(path) > 1]
    if repeated:
        parser.error(f'the results file {repeated[0]} is given twice')
    args.names = args.names or short_names(args.results)
    if len(set(args.names)) != len(args.results):
        parser.error(f'--names must be {len(args.results)} different names, one per results file, got {args.names}')
    if len(args.results) > 1 and (args.sweep or args.compare is not None):
        parser.error('--sweep and --compare take one results file; several files are compared with the first anyway')
    inputs = [Path(path).resolve() for path in (*args.results, args.annotations, args.compare) if path is not None]
    outputs = [*(('--out', path) for path in args.out), *(('--per-image', path) for path in args.per_image),
               *(('--report', path) for path in [args.report] if path is not None)]
    for flag, path in outputs:
        if Path(path).is_dir():
            parser.error(f'{flag} must be a file, but {path} is a folder')
        if Path(path).resolve() in inputs:
            parser.error(f'{flag} would overwrite {path}, which is read')
        if flag == '--per-image' and Path(path).suffix not in (*TABLE_SUFFIXES, '.csv', '.json'):
            parser.error(f'--per-image must end in .csv, .json, .md or .tex, got {path}')
    written = [Path(path).resolve() for _, path in outputs]
    if len(set(written)) < len(written):
        parser.error('--out, --per-image and --report name one file twice')


def main() -> int:
    return run_command(parse_args, print_values)


def print_values(args: argparse.Namespace) -> None:
    refuse_missing_annotations(args.annotations)
    refuse_missing(*args.results, args.compare)
    for flag, paths in (('--out', args.out), ('--per-image', args.per_image), ('--report', [args.report])):
        refuse_unwritable_files(paths, flag)
    refuse_unwritable_folder(args.overlays, '--overlays')
    from rich.console import Console
    run(args, Console(highlight=False, markup=False, emoji=False))


def run(args: argparse.Namespace, console: 'Console') -> None:
    """Reads the files, measures, and prints and writes what the arguments ask for.

    Raises:
        MmcellError: The content of a file does not fit, or --sweep was given for test data.
        OSError: A file cannot be read or written.
    """
    from mmcell.annotations.ground_truth import read_ground_truth
    from mmcell.evaluation import tables
    from mmcell.evaluation.bootstrap import resample_weights
    from mmcell.evaluation.evaluation import compare, sweep
    from mmcell.evaluation.table_formats import print_whole
    from mmcell.predictions.result_files import read_predictions
    truth = read_ground_truth(args.annotations)
    if args.sweep:
        refuse_test_data(truth)
    # All files are read before the first one is measured, so that users learn of a bad file at once.
    names = {**({} if args.compare is None else {args.compare: args.compare}),
             **dict(zip(args.results, args.names, strict=True))}
    files = {path: read_predictions(path, truth) for path in (*args.results, args.compare) if path is not None}
    weights = resample_weights(len(truth.image_ids), args.resamples, args.seed)
    evaluated = {path: measure(path, names[path], file, truth, weights, args.score_thr, args.size_bins, console)
                 for path, file in files.items()}
    results = [evaluated[path] for path in args.results]
    first, *others = results
    content = {**describe(args, truth), **to_content(first)}
    shown = make_tables(args, results)
    if args.sweep:
        with showing_progress('score thresholds'):
            content['sweep'] = sweep(first.pairs)
        shown.append(tables.sweep_table(content['sweep']))
    if args.compare is not None:
        content['compared_with'] = to_content(evaluated[args.compare])
        content['differences'] = compare(first.evaluation, evaluated[args.compare].evaluation)
        shown.append(tables.comparison_table(content['differences'], first.path, args.compare))
    for other in others:
        differences = compare(first.evaluation, other.evaluation)
        content.setdefault('others', []).append({**to_content(other), 'differences': differences})
        shown.append(tables.comparison_table(differences, first.path, other.path))
    # Files are written before anything is printed, because a closed pipe can end the program while it prints.
    remarks = write_files(args, content, shown, results)
    if args.report is not None:
        remarks += write_page(args, [*results, *(evaluated[path] for path in [args.compare] if path is not None)])
    for table in shown:
        print_whole(console, table)
    if not others:
        remarks = [*tables.error_lines(first.evaluation.errors), *remarks]
    for remark in remarks:
        console.print(remark, soft_wrap=True)


def make_tables(args: argparse.Namespace, results: list['EvaluatedFile']) -> list['ValueTable']:
    """Returns the tables of one results file, or the table of the values of several, and the worst images of the first.

    Args:
        args: The parsed command line.
        results: The results files.
    """
    from mmcell.evaluation import tables
    from mmcell.evaluation.per_image import worst_images
    first = results[0]
    shown = tables.file_tables(first, args.size_bins) if len(results) == 1 else [tables.values_table(results)]
    worst = worst_images(first.evaluation.images, args.worst)
    if worst:
        of_file = f' of {first.name}' if len(results) > 1 else ''
        shown.append(tables.images_table(
            worst, f"the {tables.count(len(worst), 'image')} with the lowest F1{of_file}", args.score_thr, ['F1']))
    return shown


def write_files(args: argparse.Namespace, content: dict, shown: list['ValueTable'],
                results: list['EvaluatedFile']) -> list[str]:
    """Writes the files and pictures that --out, --per-image and --overlays name; returns one line about each.

    Raises:
        MmcellError: An image does not fit its cells.
        OSError: A file cannot be read or written.
    """
    from mmcell.evaluation.per_image import with_average_precision, worst_images
    from mmcell.evaluation.report_files import write_report
    from mmcell.evaluation.tables import count, images_table
    remarks, first, truth = [], results[0], results[0].pairs.truth
    for out in args.out:
        write_report(out, content, shown, [row for file in results for row in file.value_rows()])
        what = 'the tables' if Path(out).suffix in TABLE_SUFFIXES else 'all values, not rounded,'
        remarks.append(f'wrote {what} to {out}')
    if args.per_image:
        rows = [{**({'results': file.name} if len(results) > 1 else {}), **row} for file in results
                for row in with_average_precision(file.evaluation.images, truth, file.evaluation.mask_matches)]
        for out in args.per_image:
            write_report(out, {'score_threshold': args.score_thr, 'images': rows},
                         [images_table(rows, 'values of each image', args.score_thr)], rows)
            remarks.append(f'wrote the values of each image to {out}')
    if args.overlays is not None:
        from mmcell.evaluation.pictures import draw_images
        images = [truth.place_of_image[row['image_id']] for row in worst_images(first.evaluation.images, args.worst)]
        with showing_progress('overlays'):
            draw_images(args.overlays, first.pairs, first.sources, images, first.evaluation.verdicts, args.score_thr)
        remarks.append(f"wrote {count(len(images), 'picture')} to {args.overlays}")
    return remarks


def write_page(args: argparse.Namespace, files: list['EvaluatedFile']) -> list[str]:
    """Writes the page of --report about results files; returns notes on it."""
    import shlex

    from mmcell.reports.report import write_report
    with showing_progress('report') as on_step:
        missing = write_report(args.report, ', '.join(file.name for file in files), shlex.join(['python', *sys.argv]),
                               files=files, size_bins_px=args.size_bins, on_step=on_step)
    return [*(f'note: {remark}' for remark in missing), f'wrote a page to look at to {args.report}']


def refuse_test_data(truth: 'GroundTruth') -> None:
    """Raises an error if an annotation file says that its images are test data.

    Raises:
        MmcellError: The name of the file contains the word "test", or an image lies in a folder for test images.
    """
    if truth.is_test_data():
        raise MmcellError('--sweep chooses a score threshold on the images that it measures, but the name of '
                          f'{truth.source}, or of a folder of its images, says that they are test data. Choose on '
                          'validation data, then measure here with --score-thr')


def describe(args: argparse.Namespace, truth: 'GroundTruth') -> dict:
    """Returns the part of the metrics file that describes software, annotations and settings."""
    from mmcell.checkpoints.provenance import describe_software
    from mmcell.evaluation.average_precision import CAPS
    from mmcell.evaluation.report_files import describe_file
    return {'software': describe_software(PACKAGES),
            'annotations': {**describe_file(args.annotations), 'images': len(truth.image_ids),
                            'true_cells': truth.count_by_class(truth.class_index)},
            'settings': {'score_threshold': args.score_thr, 'caps': CAPS, 'size_bins_px': args.size_bins,
                         'resamples': args.resamples, 'seed': args.seed, 'interval': '95 % percentile, over images'}}


def to_content(file: 'EvaluatedFile') -> dict:
    """Returns the part of the metrics file about one results file: the file, its values, intervals and mistakes."""
    from mmcell.evaluation.report_files import describe_file
    evaluation = file.evaluation
    return {'results': {**describe_file(file.path), 'detections': len(file.pairs.predictions), 'notes': file.remarks},
            'values': evaluation.values, 'intervals': evaluation.intervals, 'errors': evaluation.errors}


if __name__ == '__main__':
    sys.exit(main())
