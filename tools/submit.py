"""Writes predictions of the test images into a submission zip, or checks a submission zip.

A submission is checked before it is written. If it is invalid, the reasons are listed, and nothing is written.
"""

import argparse
import sys

from _options import refuse_wrong_score

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.files.early_checks import refuse_missing, refuse_unwritable_files

EXAMPLE = """example:
  python tools/submit.py results.pkl --annotations annotations/test.json --out submission.zip
  python tools/submit.py --check submission.zip --annotations annotations/test.json
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the submission is valid',
                         'it is not valid or a file cannot be read or written')
    parser.add_argument('results', nargs='?', help='file that tools/test.py --out wrote; not together with --check')
    parser.add_argument('--annotations', required=True, metavar='FILE',
                        help='annotation file of the test images (annotations/test.json), or the list of image ids '
                             'that the challenge publishes (test_image_name_to_ids.json)')
    parser.add_argument('--out', default='submission.zip', metavar='FILE.zip',
                        help='zip to write (default: submission.zip)')
    parser.add_argument('--score-thr', type=float, default=0., metavar='SCORE',
                        help='write only detections with at least this score, for values that count each cell once, '
                             'such as PQ, AJI and Dice; AP needs all of them (default: 0)')
    parser.add_argument('--check', metavar='FILE',
                        help='check this zip, or the JSON inside it, and write nothing (default: write a zip)')
    args = parser.parse_args()
    if (args.results is None) == (args.check is None):
        parser.error('give either a results file or --check FILE, and not both')
    refuse_wrong_score(parser, args.score_thr)
    if args.score_thr and args.check is not None:
        parser.error('--score-thr has no effect on --check, which writes nothing')
    return args


def main() -> int:
    return run_command(parse_args, submit_or_check)


def submit_or_check(args: argparse.Namespace) -> int | None:
    refuse_missing(args.annotations, args.results, args.check)
    if args.check is not None:
        return check(args)
    refuse_unwritable_files([args.out], '--out', [args.results, args.annotations])
    return submit(args)


def submit(args: argparse.Namespace) -> None:
    import numpy as np

    from mmcell.predictions.result_files import read_predictions
    from mmcell.predictions.submission import read_test_set, write_submission
    images = read_test_set(args.annotations)
    file = read_predictions(args.results, images)
    predictions = file.predictions.take(np.flatnonzero(file.predictions.scores >= args.score_thr))
    report = write_submission(predictions, images, args.out)
    for remark in [*file.assumed, *report.remarks]:
        print(remark)
    print(f'wrote {report.n_detections} detections to {args.out}')


def check(args: argparse.Namespace) -> int:
    from mmcell.predictions.packed_results import read_packed_results
    from mmcell.predictions.submission import check_submission, read_test_set
    report = check_submission(read_packed_results(args.check), read_test_set(args.annotations))
    for line in (*report.errors, *report.remarks):
        print(line)
    print(f'{args.check}: {report.n_detections} detections, '
          + (f'{len(report.errors)} errors: not valid' if report.errors else 'valid'))
    return ExitStatus.FAILED if report.errors else ExitStatus.DONE


if __name__ == '__main__':
    sys.exit(main())
