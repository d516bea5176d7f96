"""Turns predictions of the test images into a checked submission zip, or checks one."""

import argparse
import sys

EXAMPLE = """example:
  python tools/submit.py results.pkl --annotations annotations/test.json --out submission.zip
  python tools/submit.py --check submission.zip --annotations annotations/test.json
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='?', help='file written by tools/test.py --out')
    parser.add_argument('--annotations', required=True, metavar='FILE',
                        help="annotations/test.json, or the task's id list (test_image_name_to_ids.json)")
    parser.add_argument('--out', default='submission.zip', help='zip to write (default: submission.zip)')
    parser.add_argument('--check', metavar='FILE', help='check this zip (or its JSON) and write nothing')
    args = parser.parse_args()
    if (args.results is None) == (args.check is None):
        parser.error('name either a results file or --check FILE')
    return args


def main() -> int:
    args = parse_args()
    try:
        return check(args) if args.check is not None else submit(args)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def submit(args: argparse.Namespace) -> int:
    from mmcell.predictions.dump_file import load_results, to_coco_detections
    from mmcell.predictions.submission import read_test_set, write_submission
    test_set = read_test_set(args.annotations)
    results = load_results(args.results)
    detections = [detection for result in results for detection in to_coco_detections(result, test_set.category_ids)]
    report = write_submission(detections, test_set, args.out)
    for remark in report.remarks:
        print(remark)
    print(f'wrote {report.n_detections} detections to {args.out}')
    return 0


def check(args: argparse.Namespace) -> int:
    from mmcell.predictions.submission import check_detections, read_submission, read_test_set
    report = check_detections(read_submission(args.check), read_test_set(args.annotations))
    for line in (*report.errors, *report.remarks):
        print(line)
    print(f'{args.check}: {report.n_detections} detections, '
          + (f'{len(report.errors)} errors: not valid' if report.errors else 'valid'))
    return 1 if report.errors else 0


if __name__ == '__main__':
    sys.exit(main())
