"""Converts TIFF masks, one file per class and image, to COCO annotation files for training, validation and test."""

import argparse
import re
import sys
from pathlib import Path

from _conversion import add_pool_arguments, writing_at_the_end

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import escape

EXAMPLE = r"""examples:
  python data_prep/to_coco.py DATA_ROOT --out annotations/ --channel-order bgr
  python data_prep/to_coco.py DATA_ROOT --out annotations/ --folds 5
  python data_prep/to_coco.py DATA_ROOT --class-names epithelial lymphocyte --group-by '^(patient\d+)' --val-ratio .25

DATA_ROOT contains:
  train/<name>/image.tif           one folder per training image
  train/<name>/class1.tif, …       one mask per class: 0 is background, and all pixels of a cell have the cell's own
                                   positive number; no file for a class without cells in this image
  test_release/<name>.tif          test images, if there are any
  test_image_name_to_ids.json      list of the test images, [{"file_name": …, "id": …, "height": …, "width": …}, …]

The folder --out then contains train.json, val.json (validation), trainval.json (both together) and, if there are test
images, test.json. The images stay where they are. With --folds, each image in trainval.json also has a fold: a
training with --cfg-options fold=0 holds the images of fold 0 out and is validated on them.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the files were written and no image was left out', 'nothing was written',
                         'the files were written without the images that --skip-bad left out')
    parser.add_argument('data_root', type=Path, metavar='DATA_ROOT',
                        help='folder that contains train/ and, if there are test images, test_release/')
    parser.add_argument('--out', type=Path, default=Path('annotations'), metavar='FOLDER',
                        help='folder where the annotation files are written (default: annotations)')
    parser.add_argument('--val-ratio', type=float, default=.2, metavar='FRACTION',
                        help='fraction of the training images that is used for validation, at least 0 and less than '
                             '1; for example .25 for a quarter. Each class occurs in training and in validation if '
                             'that is possible (default: .2)')
    parser.add_argument('--folds', type=int, metavar='N',
                        help='also divide the training images into N folds for cross-validation, which are written '
                             'into trainval.json: each fold has about the same share of the images and of the cells of '
                             'each class (default: no folds)')
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='whole number that the random choices of the split and of the folds depend on; the same '
                             'number always gives the same split, another number may give another (default: 0)')
    parser.add_argument('--group-by', type=regular_expression, metavar='REGEX',
                        help='regular expression for folder names under train/. Images with the same match are kept '
                             'together, in training or in validation and in one fold, for example all images of a '
                             r"patient: '^(TCGA-\w+-\w+)'. If the expression has parentheses, only the part inside the "
                             'first pair is compared (default: every image by itself)')
    parser.add_argument('--class-names', nargs='+', metavar='NAME',
                        help='names of class 1, 2, … in this order, for example --class-names epithelial lymphocyte '
                             '(default: class1, class2, … up to the largest class number)')
    parser.add_argument('--channel-order', choices=['rgb', 'bgr'],
                        help='order of the colours in the image files, which is written into the annotation files; '
                             'bgr: files that are tagged RGB but hold blue first, as those of the challenge (default: '
                             'rgb; a warning appears if nuclei look brown, as if red and blue were swapped)')
    parser.add_argument('--test-ids', type=Path, metavar='FILE',
                        help='JSON list of the test images and their ids (default: '
                             'DATA_ROOT/test_image_name_to_ids.json)')
    add_pool_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.val_ratio < 1:
        parser.error(f'--val-ratio must be at least 0 and less than 1, got {args.val_ratio}')
    if args.folds is not None and args.folds < 2:
        parser.error(f'--folds must be at least 2, got {args.folds}')
    if args.seed < 0:
        parser.error(f'--seed must be at least 0, got {args.seed}')
    return args


def regular_expression(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not a regular expression: {error}') from error


def main() -> int:
    return run_command(parse_args, convert)


def convert(args: argparse.Namespace) -> ExitStatus:
    """Reads the raw folders, writes the annotation files, and prints what is in them."""
    from _raw_data import (
        TEST_JSON,
        build_documents,
        choose_class_names,
        choose_validation_ids,
        describe_swapped_colors,
        divide_into_folds,
        read_images,
    )
    from _raw_report import describe_missing_classes, find_warnings, print_folds, print_notes, print_table

    from mmcell.annotations.coco_json import write_documents
    from mmcell.annotations.file_sets import as_file_set
    with writing_at_the_end():
        train_images, test_images, skipped = read_images(args)
        names = choose_class_names(train_images, args.class_names)
        val_ids = choose_validation_ids(train_images, args.val_ratio, args.seed, args.group_by)
        folds = divide_into_folds(train_images, args.folds, args.seed, args.group_by) if args.folds else None
        swapped = describe_swapped_colors(train_images, test_images, args.channel_order or 'rgb')
        # If the files look swapped and nobody has said that they are, the annotation files leave the question open,
        # so that readers of these files look at the images and warn as well.
        order = args.channel_order or (None if swapped else 'rgb')
        documents = build_documents(train_images, test_images, names, val_ids, folds, args.data_root, args.out, order)
        write_documents(as_file_set(documents))
    print_table(train_images, names, val_ids)
    if folds is not None:
        print_folds(train_images, names, folds)
    print_notes(train_images, test_images, val_ids, args.data_root)
    if swapped:
        print(f'warning: {escape(swapped)}', file=sys.stderr)
    print('wrote ' + ', '.join(escape(path) for path in documents))
    stale = args.out / TEST_JSON
    if not test_images and stale.exists():
        stale.unlink()
        print(f'removed {escape(stale)}, which an earlier conversion had written, because there are no test images now')
    for sentence in [*find_warnings(train_images, names, val_ids),
                     *describe_missing_classes(train_images, names, folds or [])]:
        print(f'warning: {sentence}', file=sys.stderr)
    if skipped:
        print(f'skipped {skipped}', file=sys.stderr)
    return ExitStatus.PARTLY if skipped else ExitStatus.DONE


if __name__ == '__main__':
    sys.exit(main())
