"""Measures predictions against true cells: COCO average precision, panoptic quality, AJI, Dice, F1, kinds of mistakes.

The names of the values say what was counted. AP50 counts all detections, AP50@100 at most 100 per image and class.
PQ_pooled adds numerators and denominators over all images before it divides; PQ_image_mean is the mean over the images.
Average precision uses all detections, all other values only those with a score of at least --score-thr. Intervals are
95 % percentile intervals of a bootstrap over images.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from mmcell.evaluation.evaluation import Evaluation
    from mmcell.evaluation.result_files import ResultFile

# The upper limit of --size-bins. No cell is as large as this.
MAX_SIZE_PX = 100000
PACKAGES = ('faster-coco-eval', 'pycocotools', 'numpy', 'scipy')
EXAMPLE = """example:
  python tools/evaluate.py results.pkl annotations/val.json --out metrics.json
  python tools/evaluate.py submission.zip annotations/val.json --score-thr .3
  python tools/evaluate.py results.pkl annotations/val.json --sweep
  python tools/evaluate.py new.pkl annotations/val.json --compare old.pkl

Exit status: 0 if everything was measured, 1 if not, 2 if the command line is wrong.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', help='file that tools/test.py --out wrote, a submission zip, or a JSON file with a '
                                        'list of COCO results')
    parser.add_argument('annotations', help='annotation file with the true cells of the predicted images')
    parser.add_argument('--out', metavar='FILE.json',
                        help='also write all values to this file, not rounded (default: no file)')
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
    parser.add_argument('--size-bins', type=int, nargs='*', default=[16, 32], metavar='PX',
                        help='boundaries between the sizes that are measured separately, in px; the size of a cell is '
                             'the square root of its area (default: 16 32)')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N',
                        help='how often images are drawn at random for the intervals, 0 for no intervals (default: '
                             '1000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of these draws (default: 0)')
    args = parser.parse_args()
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be from 0 to 1, got {args.score_thr:g}')
    if args.resamples < 0 or args.seed < 0:
        parser.error(f'--resamples and --seed must not be negative, got {args.resamples} and {args.seed}')
    if args.size_bins and args.size_bins[-1] >= MAX_SIZE_PX:
        parser.error(f'--size-bins must be below {MAX_SIZE_PX} px, got {args.size_bins}')
    if any(low >= high for low, high in zip([0, *args.size_bins], args.size_bins, strict=False)):
        parser.error(f'--size-bins must be rising numbers above 0, got {args.size_bins}')
    if args.compare is not None and args.resamples == 0:
        parser.error('--compare needs --resamples above 0, because each difference is shown with its interval')
    inputs = [Path(path).resolve() for path in (args.results, args.annotations, args.compare) if path is not None]
    if args.out is not None and Path(args.out).is_dir():
        parser.error(f'--out must be a file, but {args.out} is a folder')
    if args.out is not None and Path(args.out).resolve() in inputs:
        parser.error(f'--out would overwrite {args.out}, which is read')
    return args


def main() -> int:
    args = parse_args()
    from rich.console import Console

    from mmcell.errors import MmcellError
    try:
        run(args, Console(highlight=False, markup=False))
    except (MmcellError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace, console: 'Console') -> None:
    """Reads the files, measures, and prints and writes what the arguments ask for.

    Raises:
        MmcellError: The content of a file does not fit, or --sweep was given for test data.
        OSError: A file cannot be read or written.
    """
    from mmcell.evaluation.bootstrap import resample_weights
    from mmcell.evaluation.evaluation import compare, evaluate, sweep
    from mmcell.evaluation.ground_truth import read_ground_truth
    from mmcell.evaluation.metrics_file import write_metrics
    from mmcell.evaluation.result_files import read_result_file
    from mmcell.evaluation.tables import comparison_table, print_whole, sweep_table
    document = read_ground_truth(args.annotations)
    if args.sweep:
        refuse_test_data(args.annotations, document)
    # All files are read before the first one is measured, so that users learn of a bad file at once.
    files = {path: read_result_file(path, document) for path in (args.results, args.compare) if path is not None}
    weights = resample_weights(len(document['images']), args.resamples, args.seed)
    evaluations = {}
    for path, file in files.items():
        print_facts(path, file, document, args, console)
        with showing_progress(path) as on_step:
            evaluations[path] = evaluate(document, file.detections, args.score_thr, weights, args.size_bins, on_step)
    content = {**describe(args, document), **to_content(args.results, files, evaluations)}
    if args.sweep:
        with showing_progress('score thresholds'):
            content['sweep'] = sweep(document, files[args.results].detections)
    if args.compare is not None:
        content['compared_with'] = to_content(args.compare, files, evaluations)
        content['differences'] = compare(evaluations[args.results], evaluations[args.compare])
    # The file is written before anything is printed, because a closed pipe can end the program while it prints.
    if args.out is not None:
        write_metrics(content, args.out)
    print_tables(evaluations[args.results], files[args.results], document, args, console)
    if args.sweep:
        print_whole(console, sweep_table(content['sweep']))
    if args.compare is not None:
        print_whole(console, comparison_table(content['differences'], args.results, args.compare))
    if args.out is not None:
        console.print(f'wrote all values, not rounded, to {args.out}', soft_wrap=True)


def refuse_test_data(path: str, document: dict) -> None:
    """Raises an error if an annotation file says that its images are test data.

    Raises:
        MmcellError: The name of the file contains the word "test", or an image lies in a folder for test images.
    """
    from mmcell.errors import MmcellError
    from mmcell.evaluation.ground_truth import is_test_data
    if is_test_data(path, document):
        raise MmcellError(f'--sweep chooses a score threshold on the images that it measures, but the name of {path}, '
                          'or of a folder of its images, says that they are test data. Choose on validation data, then '
                          'measure here with --score-thr')


def print_facts(path: str, file: 'ResultFile', document: dict, args: argparse.Namespace, console: 'Console') -> None:
    """Prints the numbers of detections, true cells and images, and notes on what is unusual in the results file."""
    console.print(f"{path}: {len(file.detections)} detections; {args.annotations}: {len(document['annotations'])} true "
                  f"cells in {len(document['images'])} images", soft_wrap=True)
    for remark in file.remarks:
        console.print(f'note: {remark}', soft_wrap=True)


def print_tables(evaluation: 'Evaluation', file: 'ResultFile', document: dict, args: argparse.Namespace,
                 console: 'Console') -> None:
    """Prints the tables of one results file."""
    from mmcell.evaluation import tables
    from mmcell.evaluation.ground_truth import count_by_class
    counts = (count_by_class(document, records) for records in (document['annotations'], file.detections))
    for table in (tables.headline_table(evaluation, len(document['images']), args.score_thr),
                  tables.class_table(evaluation, *counts), tables.size_table(evaluation, document, args.size_bins),
                  tables.confusion_table(evaluation.errors), tables.error_table(evaluation.errors)):
        tables.print_whole(console, table)
    for line in tables.error_lines(evaluation.errors):
        console.print(line, soft_wrap=True)


@contextmanager
def showing_progress(label: str) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what the block is doing, if standard error is a terminal.

    Args:
        label: The text that is shown at first.

    Yields:
        A function that takes the name of a step, and shows it after the label.
    """
    from rich.console import Console
    from rich.markup import escape
    with Console(stderr=True).status(escape(label)) as status:
        yield lambda step: status.update(escape(f'{label}: {step}'))


def describe(args: argparse.Namespace, document: dict) -> dict:
    """Returns the part of the metrics file that describes software, annotations and settings."""
    from mmcell.checkpoints.provenance import describe_software
    from mmcell.evaluation.average_precision import CAPS
    from mmcell.evaluation.ground_truth import count_by_class
    from mmcell.evaluation.metrics_file import describe_file
    return {'software': describe_software(PACKAGES),
            'annotations': {**describe_file(args.annotations), 'images': len(document['images']),
                            'true_cells': count_by_class(document, document['annotations'])},
            'settings': {'score_threshold': args.score_thr, 'caps': CAPS, 'size_bins_px': args.size_bins,
                         'resamples': args.resamples, 'seed': args.seed, 'interval': '95 % percentile, over images'}}


def to_content(path: str, files: dict[str, 'ResultFile'], evaluations: dict[str, 'Evaluation']) -> dict:
    """Returns the part of the metrics file about one results file: the file, its values, intervals and mistakes."""
    from mmcell.evaluation.metrics_file import describe_file
    return {'results': {**describe_file(path), 'detections': len(files[path].detections),
                        'notes': files[path].remarks},
            'values': evaluations[path].values, 'intervals': evaluations[path].intervals(),
            'errors': evaluations[path].errors}


if __name__ == '__main__':
    sys.exit(main())
