"""Writes a report to look at: values, curves, kinds of mistakes, and images with true and predicted cells.

It is one HTML file, which opens in a browser without a network. A folder is the work folder of a training, whose
curves, checkpoints and config are shown; a file has predictions, which are measured as tools/evaluate.py does it.
Trainings share their charts, and every results file is compared with the first.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _measuring import measure, short_names, showing_progress
from _options import refuse_other_suffix, refuse_wrong_score

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_missing, refuse_missing_annotations, refuse_unwritable_files

if TYPE_CHECKING:
    from mmcell.annotations.ground_truth import GroundTruth
    from mmcell.evaluation.evaluation import EvaluatedFile
    from mmcell.predictions.result_files import ResultFile

EXAMPLE = """example:
  python tools/report.py work_dirs/cell/mask-rcnn_r50 results.pkl --out report.html
  python tools/report.py new.pkl old.pkl --annotations annotations/val.json --names new old --out report.html
  python tools/report.py work_dirs/cell/mask-rcnn_r50 work_dirs/cell/mask-rcnn_convnext --out curves.html
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the report was written')
    parser.add_argument('inputs', nargs='+', metavar='INPUT',
                        help='work folder that tools/train.py wrote; or file that tools/test.py --out wrote, '
                             'submission zip, or JSON file with a list of COCO results. Without a results file, the '
                             'dump inside a work folder is taken if there is exactly one and it fits')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='HTML file to write')
    parser.add_argument('--annotations', metavar='FILE',
                        help='annotation file with the true cells of the predicted images (default: the validation '
                             'file in the config of the first work folder)')
    parser.add_argument('--names', nargs='+', metavar='NAME',
                        help='names of the inputs in tables and charts (default: the names of files and folders)')
    parser.add_argument('--title', help='title of the page (default: made of the names)')
    parser.add_argument('--score-thr', type=float, default=.5, metavar='SCORE',
                        help='lowest score of the detections from which all values except average precision are '
                             'computed, and with which the pictures open (default: .5)')
    parser.add_argument('--max-images', type=int, metavar='N',
                        help='show at most N images, those with the lowest F1; 0 shows none (default: 200)')
    parser.add_argument('--base', metavar='CONFIG',
                        help='config file with which the configs of the trainings are compared (default: the one that '
                             'each inherits from)')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N',
                        help='how often images are drawn at random for the intervals, 0 for no intervals (default: '
                             '1000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of these draws (default: 0)')
    args = parser.parse_intermixed_args()
    check(parser, args)
    return args


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with a message if the command line contradicts itself."""
    refuse_other_suffix(parser, '--out', args.out, '.html', '.htm')
    refuse_wrong_score(parser, args.score_thr)
    if args.resamples < 0 or args.seed < 0 or (args.max_images or 0) < 0:
        parser.error(f'--resamples, --seed and --max-images must not be negative, got {args.resamples}, {args.seed} '
                     f'and {args.max_images}')
    repeated = [path for path in args.inputs if args.inputs.count(path) > 1]
    if repeated:
        parser.error(f'{repeated[0]} is given twice')
    if args.names is not None and (len(args.names), len(set(args.names))) != (len(args.inputs),) * 2:
        parser.error(f'--names must be {len(args.inputs)} different names, one per input, got {args.names}')
    args.names = dict(zip(args.inputs, args.names or short_names(args.inputs), strict=True))
    args.work_dirs = [path for path in args.inputs if Path(path).is_dir()]
    args.results = [path for path in args.inputs if path not in args.work_dirs]
    if args.results and not args.work_dirs and args.annotations is None:
        parser.error('--annotations must name the file with the true cells of the results')
    if len(args.results) > 1 and args.resamples == 0:
        parser.error('several results files need --resamples above 0, because each difference is shown with its '
                     'interval')


def main() -> int:
    return run_command(parse_args, report)


def report(args: argparse.Namespace) -> None:
    """Reads, measures, and writes the page.

    Raises:
        MmcellError: The content of a file does not fit, a work folder has no log of a training, or no annotation file
            is known for the results.
        OSError: A file cannot be read or written.
    """
    refuse_missing_annotations(args.annotations)
    refuse_missing(*args.inputs, args.base)
    refuse_unwritable_files([args.out], '--out', [*args.inputs, args.annotations, args.base])
    import shlex

    from mmcell.checkpoints.seeds import group_seeds
    from mmcell.reports.curve_sections import Run
    from mmcell.reports.gallery import MAX_IMAGES
    from mmcell.reports.report import write_report
    files, remarks = measure_all(args)
    for remark in remarks:
        print(f'note: {remark}')
    max_images = MAX_IMAGES if args.max_images is None else args.max_images
    with showing_progress('report') as on_step:
        missing = write_report(
            args.out, args.title or ', '.join(args.names.values()), shlex.join(['python', *sys.argv]), files=files,
            runs=[Run(str(group), tuple(Path(args.work_dirs[place]) for place in group.places))
                  for group in group_seeds(args.work_dirs, [args.names[folder] for folder in args.work_dirs])],
            base=args.base,
            max_images=max_images, remarks=remarks, on_step=on_step)
    for remark in missing:
        print(f'note: {remark}')
    print(f'wrote {args.out}')


def measure_all(args: argparse.Namespace) -> tuple[list['EvaluatedFile'], list[str]]:
    """Measures all results files, or the dump in a work folder; returns them with notes on what was chosen."""
    from rich.console import Console

    from mmcell.annotations.ground_truth import read_ground_truth
    from mmcell.evaluation.average_precision import SIZE_BINS_PX
    from mmcell.evaluation.bootstrap import resample_weights
    from mmcell.predictions.result_files import read_predictions
    path, remarks = find_annotations(args)
    if path is None:
        return [], remarks
    truth = read_ground_truth(path)
    files = {result: read_predictions(result, truth) for result in args.results}
    if not files:
        files, others = find_dumps(args, truth)
        remarks += others
    weights = resample_weights(len(truth.image_ids), args.resamples, args.seed)
    console = Console(highlight=False, markup=False, emoji=False)
    return [measure(result, args.names[result], file, truth, weights, args.score_thr, SIZE_BINS_PX, console)
            for result, file in files.items()], remarks


def find_annotations(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Returns the annotation file: that of the command line, or the validation file in the config of a work folder.

    Returns:
        The path, None if there is nothing to measure; and a note on what was chosen.

    Raises:
        MmcellError: There are results to be measured, but no annotation file is known.
    """
    if args.annotations is not None:
        return args.annotations, []
    if not args.results and not any(dumps_in(folder) for folder in args.work_dirs):
        return None, ['no results file was given, and the work folders hold no dump (*.pkl): nothing is measured']
    from mmcell.checkpoints.seeds import read_settings
    from mmcell.settings.data_sets import find_validation_file
    for folder in args.work_dirs:
        path = find_validation_file(read_settings(folder) or {})
        if path is not None and path.is_file():
            return str(path), [f'the true cells are those of {path}, the validation file in the config of {folder}']
    if args.results:
        raise MmcellError('the true cells of the results are not known, because no config of a work folder names a '
                          'validation file that exists here: name the annotation file with --annotations')
    return None, ['nothing is measured, because no config of a work folder names a validation file that exists here: '
                  'name the annotation file with --annotations']


def find_dumps(args: argparse.Namespace, truth: 'GroundTruth') -> tuple[dict[str, 'ResultFile'], list[str]]:
    """Returns the dump of each work folder that holds exactly one, if it is about the images of an annotation file.

    Returns:
        The dumps by their paths, which get the names of their folders in ``args.names``; and notes on what was chosen.
    """
    from mmcell.predictions.result_files import read_predictions
    files, notes = {}, []
    for folder in args.work_dirs:
        dumps = dumps_in(folder)
        if len(dumps) > 1:
            notes.append(f'{folder} holds {len(dumps)} dumps, of which none is measured: name those that should be, '
                         f'for example {dumps[0]}')
        for path in dumps if len(dumps) == 1 else ():
            try:
                file = read_predictions(path, truth)
            except MmcellError as error:
                notes.append(f'{path} is not measured: {error}')
                continue
            if all(str(source.path).endswith(truth.file_names[place]) for place, source in file.sources.items()):
                files[path] = file
                args.names[path] = args.names[folder]
                notes.append(f'{path} is measured, the only dump in {folder}')
            else:
                notes.append(f'{path} is not measured, because its images are not those of {truth.source}: name the '
                             'annotation file with --annotations')
    return files, notes


def dumps_in(folder: str) -> list[str]:
    return [str(path) for path in sorted(Path(folder).glob('*.pkl'))]


if __name__ == '__main__':
    sys.exit(main())
