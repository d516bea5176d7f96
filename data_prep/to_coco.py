"""Converts images with cells, in the layouts of laboratories and programs, to COCO annotation files."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _conversion import add_pool_arguments, print_skipped, writing_at_the_end

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import MmcellError, escape
from mmcell.files.early_checks import refuse_missing, refuse_unwritable_folder
from mmcell.images.scale import parse_mpp

if TYPE_CHECKING:
    from mmcell.annotations.annotated_image import AnnotatedImage
    from mmcell.layouts.base import Layout, LayoutOptions, Listing

EXAMPLE = r"""examples:
  python data_prep/to_coco.py DATA --out annotations/ --channel-order bgr
  python data_prep/to_coco.py DATA --out annotations/ --folds 5
  python data_prep/to_coco.py DATA --layout qupath --rename Tumor=epithelial Other=
  python data_prep/to_coco.py DATA --class-names epithelial lymphocyte --group-by '^(patient\d+)' --val-ratio .25

DATA is a folder, or a COCO file, in one of these layouts:
  class-maps   train/NAME/image.tif with one label map per class, class1.tif, class2.tif …; test images in
               test_release/ with their list test_image_name_to_ids.json
  label-maps   one label map per image: NAME_masks.tif, NAME_label.png, masks/NAME.npy …
  cellpose     NAME_seg.npy of Cellpose
  hovernet     NAME.mat with inst_map and type_map, as of HoVer-Net and CoNSeP
  qupath       NAME.geojson or NAME.geojson.gz of QuPath
  aperio       NAME.xml of Aperio ImageScope, as of MoNuSAC
  imagej       ROIs of ImageJ and Fiji: NAME_rois.zip, NAME.roi
  coco         COCO JSON of another program, which is repaired as far as no guess is needed
  voc          PASCAL VOC: JPEGImages/, SegmentationObject/, SegmentationClass/, and lists in ImageSets/Segmentation/
  FILE.py      your own: a Python file with a function read_cells(image_path), which returns a label map per class

A label map has the size of its image: 0 is background, and all pixels of a cell have the cell's own positive number.
The folder --out then contains train.json, val.json (validation), trainval.json (both together) and, if there are test
images, test.json. The images stay where they are. With --folds, each image in trainval.json also has a fold: a
training with --cfg-options fold=0 holds the images of fold 0 out and is validated on them.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the files were written and no image was left out', 'nothing was written',
                         'the files were written without the images that --skip-bad left out')
    parser.add_argument('data', type=Path, metavar='DATA', help='folder with images and their cells, or a COCO file')
    parser.add_argument('--layout', default='auto', metavar='NAME',
                        help='how images and cells are stored: one of the names below, or a Python file of your own '
                             '(default: auto, which looks at the names of the files and says what it takes them for)')
    parser.add_argument('--out', type=Path, default=Path('annotations'), metavar='FOLDER',
                        help='folder where the annotation files are written (default: annotations)')
    add_file_arguments(parser)
    add_class_arguments(parser)
    add_split_arguments(parser)
    add_pool_arguments(parser)
    args = parser.parse_args()
    if args.val_ratio is not None and not 0 <= args.val_ratio < 1:
        parser.error(f'--val-ratio must be at least 0 and less than 1, got {args.val_ratio}')
    if args.folds is not None and args.folds < 2:
        parser.error(f'--folds must be at least 2, got {args.folds}')
    if args.seed < 0:
        parser.error(f'--seed must be at least 0, got {args.seed}')
    for option in ('lists', 'rename'):
        names = [name for name, _ in getattr(args, option)]
        if len(set(names)) < len(names):
            parser.error(f'--{option}: every name may be given once, got {names}')
    return args


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where files lie."""
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='folder of the images, if the layout does not find them')
    parser.add_argument('--masks', type=Path, metavar='FOLDER',
                        help='folder of the masks or annotations, if the layout does not find them')
    parser.add_argument('--mask-suffix', metavar='TEXT',
                        help='what the name of a mask has in addition to the name of its image, for example _nuclei '
                             '(default: the usual ends, such as _masks)')
    parser.add_argument('--class-table', type=Path, metavar='FILE',
                        help='CSV table with the class of each cell of the label maps (default: a table or a map of '
                             'classes beside each label map, if there is one; otherwise all cells have one class)')
    parser.add_argument('--lists', nargs='+', default=[], type=lambda text: name_and_value(text, 'PART=FILE', PARTS),
                        metavar='PART=FILE',
                        help='which images, or which COCO file, are used for what; PART is train, val or test. For voc '
                             'each FILE is a text file with one image name per line, or COCO JSON whose images are '
                             'taken (default: the lists of the layout)')
    parser.add_argument('--mpp', type=parse_mpp, metavar='UM',
                        help='micrometres per pixel of all images, which are written into the annotation files '
                             '(default: what the files of the cells or the image files say, if anything)')
    parser.add_argument('--test-ids', type=Path, metavar='FILE',
                        help='JSON list of the test images and their ids (default: DATA/test_image_name_to_ids.json)')
    parser.add_argument('--drop-crowds', action='store_true',
                        help='leave out regions that are not annotated cell by cell (iscrowd 1 in COCO files), which '
                             'tools/evaluate.py cannot measure (default: keep them; training ignores them)')


PARTS = ('train', 'val', 'test')


def add_class_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options about classes and colours."""
    parser.add_argument('--class-names', nargs='+', metavar='NAME',
                        help='names of class 1, 2, … in this order, for example --class-names epithelial lymphocyte. '
                             'If the files name their classes, it is an order of these names (default: the names in '
                             'the files, sorted; class1, class2, … if they have only numbers)')
    parser.add_argument('--rename', nargs='+', default=[], type=lambda text: name_and_value(text, 'OLD=NEW'),
                        metavar='OLD=NEW',
                        help='give classes other names; classes that get the same name become one. OLD= without a new '
                             'name leaves the cells of a class out')
    parser.add_argument('--channel-order', choices=['rgb', 'bgr'],
                        help='order of the colours in the image files, which is written into the annotation files; '
                             'bgr: files that are tagged RGB but hold blue first, as those of the challenge (default: '
                             'rgb; a warning appears if nuclei look brown, as if red and blue were swapped)')


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options about training, validation and folds."""
    parser.add_argument('--val-ratio', type=float, metavar='FRACTION',
                        help='fraction of the training images that is used for validation, at least 0 and less than '
                             '1; for example .25 for a quarter. Each class occurs in training and in validation if '
                             'that is possible (default: .2, or the validation images that the files name)')
    parser.add_argument('--folds', type=int, metavar='N',
                        help='also divide the training images into N folds for cross-validation, which are written '
                             'into trainval.json: each fold has about the same share of the images and of the cells of '
                             'each class (default: no folds)')
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='whole number that the random choices of the split and of the folds depend on; the same '
                             'number always gives the same split, another number may give another (default: 0)')
    parser.add_argument('--group-by', type=regular_expression, metavar='REGEX',
                        help='regular expression for the names of images (for class-maps those of their folders). '
                             'Images with the same match are kept together, in training or in validation and in one '
                             "fold, for example all images of a patient: '^(TCGA-\\w+-\\w+)'. If the expression has "
                             'parentheses, only the part inside the first pair is compared (default: every image by '
                             'itself)')


def name_and_value(text: str, form: str, names: tuple[str, ...] = ()) -> tuple[str, str]:
    """Returns the two sides of ``NAME=VALUE``; argparse prints a message if there is no such form or name."""
    name, sign, value = text.partition('=')
    if not name or not sign or (names and (name not in names or not value)):
        one_of = f' with one of {", ".join(names)} before the sign' if names else ''
        raise argparse.ArgumentTypeError(f'{text!r} does not have the form {form}{one_of}')
    return name, value


def regular_expression(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not a regular expression: {error}') from error


def main() -> int:
    return run_command(parse_args, convert)


def convert(args: argparse.Namespace) -> ExitStatus:
    """Reads the images and their cells, writes the annotation files, and prints what is in them."""
    with writing_at_the_end():
        refuse_missing(args.data, args.images, args.masks, args.class_table, args.test_ids,
                       *(path for _, path in args.lists))
        refuse_unwritable_folder(args.out, '--out')
        refuse_foreign_files(args.out)
    from _conversion_report import describe_missing_classes, find_warnings, print_folds, print_notes, print_table
    from _documents import (
        build_documents,
        choose_class_names,
        choose_validation,
        describe_left_out,
        describe_swapped_colors,
        divide_into_folds,
        rename_classes,
    )

    from mmcell.annotations.coco_json import write_documents
    from mmcell.annotations.file_sets import TEST_JSON, as_file_set
    from mmcell.layouts.reading import find_root
    with writing_at_the_end():
        layout, options = choose_layout(args)
        listing = layout.find_sources(args.data, options)
        root = find_root(args.data, listing.sources)
        images, test_images, skipped = read_images(listing, layout, options, root, args)
        everything, renames = [*images, *test_images], dict(args.rename)
        listing.notes.extend(describe_left_out(everything, renames))
        everything, names = choose_class_names(*rename_classes(everything, listing.class_names, renames),
                                               args.class_names)
        images, test_images = everything[:len(images)], everything[len(images):]
        is_validation = choose_validation(images, args.val_ratio, args.seed, args.group_by)
        folds = divide_into_folds(images, args.folds, args.seed, args.group_by) if args.folds else None
        swapped = describe_swapped_colors(images, test_images, args.channel_order or 'rgb')
        # If the files look swapped and nobody has said that they are, the annotation files leave the question open,
        # so that readers of these files look at the images and warn as well.
        order = args.channel_order or (None if swapped else 'rgb')
        documents = build_documents(images, is_validation, test_images, names, folds, root, args.out, order)
        write_documents(as_file_set(documents))
    print_table(images, names, is_validation, test_images)
    if folds is not None:
        print_folds(images, names, folds)
    print_notes(images, is_validation, test_images, listing, root)
    if swapped:
        print(f'warning: {escape(swapped)}', file=sys.stderr)
    print('wrote ' + ', '.join(escape(path) for path in documents))
    stale = args.out / TEST_JSON
    if not test_images and stale.exists():
        stale.unlink()
        print(f'removed {escape(stale)}, which an earlier conversion had written, because there are no test images now')
    for sentence in [*find_warnings(images, names, is_validation),
                     *describe_missing_classes(images, names, folds or [])]:
        print(f'warning: {sentence}', file=sys.stderr)
    if skipped:
        print(f'skipped {skipped}', file=sys.stderr)
    return ExitStatus.PARTLY if skipped else ExitStatus.DONE


def refuse_foreign_files(folder: Path) -> None:
    """Checks that no file would be overwritten or removed that is not of an earlier conversion.

    Raises:
        MmcellError: There is such a file in the folder.
    """
    from mmcell.annotations.file_sets import TEST_JSON, TRAIN_JSON, TRAINVAL_JSON, VAL_JSON, is_converted
    for path in (folder / name for name in (TRAIN_JSON, VAL_JSON, TRAINVAL_JSON, TEST_JSON)):
        if os.path.lexists(path) and not is_converted(path):
            raise MmcellError(f'{path}, which no conversion has written, would be overwritten: name another folder '
                              'with --out, or move that file away')


def choose_layout(args: argparse.Namespace) -> tuple['Layout', 'LayoutOptions']:
    """Returns the layout of the files, and prints it if it was recognized rather than named."""
    from mmcell.layouts.base import LayoutError, LayoutOptions
    from mmcell.layouts.choose import AUTO, get_layout, recognize_layout, refuse_unread_options
    options = LayoutOptions(args.images, args.masks, args.mask_suffix, args.class_table,
                            {part: Path(path) for part, path in args.lists}, args.test_ids, args.drop_crowds)
    if args.layout != AUTO:
        layout = get_layout(args.layout)
        refuse_unread_options(layout, options)
        return layout, options
    try:
        layout, text = recognize_layout(args.data)
    except LayoutError as error:
        if args.images or args.masks or args.mask_suffix:
            error.add_note('With --images, --masks or --mask-suffix, name the layout as well, for example --layout '
                           'label-maps')
        raise
    refuse_unread_options(layout, options)
    print(f'layout: {layout.name} ({escape(text)}). If this is wrong, name another one with --layout')
    return layout, options


def read_images(listing: 'Listing', layout: 'Layout', options: 'LayoutOptions', root: Path,
                args: argparse.Namespace) -> tuple[list['AnnotatedImage'], list['AnnotatedImage'], str]:
    """Reads all images; with ``--skip-bad``, it prints one line for each image that is left out.

    Returns:
        The images for training and validation, the test images, and how many of them were left out, for example '1 of 5
        training images'; empty if none was.

    Raises:
        MmcellError: An image is bad and may not be left out, or all images of a part are bad, or so many training
            images that none is left for validation.
    """
    from functools import partial

    from mmcell.annotations.annotated_image import LayoutError
    from mmcell.files.parallel import map_with_progress
    from mmcell.images.channel_order import spread_evenly
    from mmcell.layouts.reading import read_source
    parts, skipped = [], []
    for kind, is_test in (('training', False), ('test', True)):
        sources = [source for source in listing.sources if (source.part == 'test') == is_test]
        samples = {source.image for source in spread_evenly(sources)} if layout.has_stains else set()
        read = partial(read_source, read_cells=layout.read_cells, options=options, root=root, color_samples=samples,
                       mpp=args.mpp)
        images, bad = map_with_progress(read, sources, args.jobs, f'{kind} images', args.skip_bad)
        print_skipped(bad, kind, len(images))
        listing.images_without_masks.extend(image for image in images if isinstance(image, Path))
        images = [image for image in images if not isinstance(image, Path)]
        if bad:
            skipped.append(f'{len(bad)} of {len(sources)} {kind} images')
        if not is_test and not images:
            raise LayoutError(f'{args.data}: has no image for training')
        if not is_test and bad:
            refuse_lost_part(sources, images, bad, args.val_ratio)
        parts.append(images)
    return *parts, ' and '.join(skipped)


def refuse_lost_part(sources: list, images: list['AnnotatedImage'], bad: list[str], val_ratio: float | None) -> None:
    """Refuses to go on if bad images have left no image for training, or none for validation.

    Raises:
        LayoutError: A part that the files name has no image left, or only one image is left for both parts.
    """
    from mmcell.annotations.annotated_image import LayoutError
    for part in ('train', 'val'):
        if any(source.part == part for source in sources) and not any(image.part == part for image in images):
            raise LayoutError(f'{part}.json would have no image, because all of its images were skipped. The first: '
                              f'{bad[0]}. Mend the images')
    if len(images) < 2 and val_ratio != 0:
        raise LayoutError(f'only {len(images)} of {len(sources)} training images can be used, so that none is left for '
                          f'validation. The first that cannot: {bad[0]}. Mend the images, or give --val-ratio 0')


if __name__ == '__main__':
    sys.exit(main())
