"""Converts TIFF masks, one file per class and image, to COCO annotation files for training, validation and test."""

import argparse
import os
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.annotations import coco_json, raw_layout
from mmcell.annotations.file_sets import as_file_set
from mmcell.annotations.mask_doubts import describe_doubts
from mmcell.annotations.raw_layout import LayoutError, TestImage, TrainImage
from mmcell.annotations.splits import choose_validation_groups
from mmcell.errors import MmcellError, escape, list_some, quote
from mmcell.files.folders import describe_leftovers, list_folder
from mmcell.files.names import print_any_text
from mmcell.files.parallel import map_with_progress
from mmcell.images.channel_order import other_order, spread_evenly
from mmcell.images.image_file import CHANNEL_ORDERS

TEST_JSON = 'test.json'
EXIT_SKIPPED = 3
EXAMPLE = r"""examples:
  python data_prep/to_coco.py DATA_ROOT --out annotations/ --channel-order bgr
  python data_prep/to_coco.py DATA_ROOT --class-names epithelial lymphocyte --group-by '^(patient\d+)' --val-ratio .25

DATA_ROOT contains:
  train/<name>/image.tif           one folder per training image
  train/<name>/class1.tif, …       one mask per class: 0 is background, and all pixels of a cell have the cell's own
                                   positive number; no file for a class without cells in this image
  test_release/<name>.tif          test images, if there are any
  test_image_name_to_ids.json      list of the test images, [{"file_name": …, "id": …, "height": …, "width": …}, …]

The folder --out then contains train.json, val.json (validation), trainval.json (both together) and, if there are test
images, test.json. The images stay where they are.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path, metavar='DATA_ROOT',
                        help='folder that contains train/ and, if there are test images, test_release/')
    parser.add_argument('--out', type=Path, default=Path('annotations'), metavar='FOLDER',
                        help='folder where the annotation files are written (default: annotations)')
    parser.add_argument('--val-ratio', type=float, default=.2, metavar='FRACTION',
                        help='fraction of the training images that is used for validation, at least 0 and less than '
                             '1; for example .25 for a quarter. Each class occurs in training and in validation if '
                             'that is possible (default: .2)')
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='whole number that the random choices of the split depend on; the same number always '
                             'gives the same split, another number may give another (default: 0)')
    parser.add_argument('--group-by', type=regular_expression, metavar='REGEX',
                        help='regular expression for folder names under train/. Images with the same match are kept '
                             'together, either all in training or all in validation, for example all images of a '
                             r"patient: '^(TCGA-\w+-\w+)'. If the expression has parentheses, only the part inside the "
                             'first pair is compared (default: every image by itself)')
    parser.add_argument('--skip-bad', action='store_true',
                        help='leave out images with damaged or wrong files, list them, and end with exit status 3 '
                             '(default: stop at the first bad file and write nothing)')
    parser.add_argument('--class-names', nargs='+', metavar='NAME',
                        help='names of class 1, 2, … in this order, for example --class-names epithelial lymphocyte '
                             '(default: class1, class2, … up to the largest class number)')
    parser.add_argument('--channel-order', choices=CHANNEL_ORDERS,
                        help='order of the colours in the image files, which is written into the annotation files; '
                             'bgr: files that are tagged RGB but hold blue first, as those of the challenge (default: '
                             'rgb; a warning appears if nuclei look brown, as if red and blue were swapped)')
    parser.add_argument('--test-ids', type=Path, metavar='FILE',
                        help='JSON list of the test images and their ids (default: '
                             'DATA_ROOT/test_image_name_to_ids.json)')
    parser.add_argument('--jobs', type=int, default=usable_cores(), metavar='N',
                        help='number of images that are converted at the same time, each in its own process (default: '
                             'the number of processor cores)')
    args = parser.parse_args()
    if not 0 <= args.val_ratio < 1:
        parser.error(f'--val-ratio must be at least 0 and less than 1, got {args.val_ratio}')
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def regular_expression(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not a regular expression: {error}') from error


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def main() -> int:
    args = parse_args()
    print_any_text()
    try:
        train_images, test_images, skipped = read_images(args)
        names = choose_class_names(train_images, args.class_names)
        val_ids = choose_validation_ids(train_images, args.val_ratio, args.seed, args.group_by)
        swapped = describe_swapped_colors(train_images, test_images, args.channel_order or 'rgb')
        # If the files look swapped and nobody has said that they are, the annotation files leave the question open,
        # so that readers of these files look at the images and warn as well.
        order = args.channel_order or (None if swapped else 'rgb')
        documents = build_documents(train_images, test_images, names, val_ids, args.data_root, args.out, order)
        coco_json.write_documents(as_file_set(documents))
    except (MmcellError, OSError) as error:
        print(f'error: {escape(error)}\nnothing was written', file=sys.stderr)
        return 1
    print_table(train_images, names, val_ids)
    print_notes(train_images, test_images, val_ids, args.data_root)
    if swapped:
        print(f'warning: {escape(swapped)}', file=sys.stderr)
    print('wrote ' + ', '.join(escape(path) for path in documents))
    stale = args.out / TEST_JSON
    if not test_images and stale.exists():
        stale.unlink()
        print(f'removed {escape(stale)}, which an earlier conversion had written, because there are no test images now')
    for sentence in find_warnings(train_images, names, val_ids):
        print(f'warning: {sentence}', file=sys.stderr)
    if skipped:
        print(f'skipped {skipped}', file=sys.stderr)
    return EXIT_SKIPPED if skipped else 0


def read_images(args: argparse.Namespace) -> tuple[list[TrainImage], list[TestImage], str]:
    """Reads all images; with ``--skip-bad``, it prints one line for each image that is left out.

    Returns:
        The training images, the test images, and how many of them were left out, for example '1 of 5 training images';
        empty if none was.

    Raises:
        MmcellError: An image is bad and may not be left out, or all images are bad, or so many training images that
            none is left for validation.
    """
    folders = raw_layout.find_train_folders(args.data_root)
    train_images, bad_train = map_with_progress(
        partial(raw_layout.read_train_image, data_root=args.data_root, color_samples=spread_evenly(folders)), folders,
        args.jobs, 'train images', args.skip_bad)
    print_skipped(bad_train, 'training', len(train_images))
    test_images, bad_test = find_test_images(args.data_root, args.test_ids, args.jobs, args.skip_bad)
    print_skipped(bad_test, 'test', len(test_images))
    if bad_train and len(train_images) < 2 and args.val_ratio > 0:
        raise LayoutError(f'only {len(train_images)} of {len(folders)} training images can be used, so that none is '
                          f'left for validation. The first that cannot: {bad_train[0]}. Mend the images, or give '
                          '--val-ratio 0')
    parts = [f'{len(bad)} of {len(bad) + len(images)} {kind} images' for bad, images, kind in (
        (bad_train, train_images, 'training'), (bad_test, test_images, 'test')) if bad]
    return train_images, test_images, ' and '.join(parts)


def print_skipped(messages: list[str], kind: str, n_good: int) -> None:
    """Prints why images were left out.

    Args:
        messages: One message per image that was left out.
        kind: What the images are: 'training' or 'test'.
        n_good: The number of images that are left.

    Raises:
        LayoutError: No image is left.
    """
    for message in messages:
        print(f'skipped: {escape(message)}', file=sys.stderr)
    if messages and not n_good:
        raise LayoutError(f'none of the {len(messages)} {kind} images can be used. The first: {messages[0]}')


def choose_class_names(images: list[TrainImage], requested: list[str] | None) -> list[str]:
    """Returns the names of all classes, from class 1 up to the largest class number that occurs.

    Args:
        images: The training images.
        requested: The names that ``--class-names`` gives; None for class1, class2, …

    Raises:
        LayoutError: There are fewer names than classes; a name repeats, is empty, or has spaces at an end or control
            characters; or no image has a cell and no name is given.
    """
    n_classes = max((number for image in images for number in image.instances_by_class), default=0)
    if requested is None:
        if n_classes == 0:
            raise LayoutError('no image has a cell: expected class1.tif … with instance ids beside each image.tif')
        return [f'class{number}' for number in range(1, n_classes + 1)]
    if len(requested) < n_classes:
        raise LayoutError(f'--class-names has {len(requested)} names, but there are masks up to class{n_classes}.tif: '
                          'give one name per class')
    if len(set(requested)) < len(requested):
        raise LayoutError(f'--class-names must differ from each other, got {requested}')
    wrong = [name for name in requested if not name or not name.isprintable() or name != name.strip()]
    if wrong:
        raise LayoutError('--class-names must be names without control characters and without spaces at their ends, '
                          f'got {quote(wrong[0])}')
    return requested


def find_test_images(data_root: Path, test_ids: Path | None, jobs: int,
                     skip_bad: bool) -> tuple[list[TestImage], list[str]]:
    """Reads the list of test images and checks each entry against its image file.

    Args:
        data_root: The folder that contains the folder of the test images.
        test_ids: The path of the id list; None for its usual place in the data root.
        jobs: The number of processes.
        skip_bad: Whether bad images are left out instead of raising an error.

    Returns:
        The test images, and one message per image that was left out. Both are empty if there is no test folder.

    Raises:
        LayoutError: There are test images but no id list, an id list was given but there is no test folder, or an
            image does not match the id list and ``skip_bad`` is False.
    """
    folder = data_root / raw_layout.TEST_FOLDER
    ids_file = test_ids or data_root / raw_layout.TEST_IDS_FILE
    if not os.path.lexists(folder):
        if test_ids is not None:
            raise LayoutError(f'--test-ids was given, but the folder of test images {folder} does not exist')
        return [], []
    list_folder(folder)  # raises an error for a broken link
    if not ids_file.exists():
        raise LayoutError(f'there is a folder of test images, {folder}, but their id list {ids_file} does not exist: '
                          'give its path with --test-ids')
    entries = raw_layout.read_test_ids(ids_file)
    check = partial(raw_layout.check_test_image, test_folder=folder, color_samples=spread_evenly(entries))
    images, bad = map_with_progress(check, entries, jobs, 'test images', skip_bad)
    file_name, count = Counter(image.file_name for image in images).most_common(1)[0] if images else ('', 0)
    if count > 1:
        raise LayoutError(f'{ids_file}: {count} entries stand for the same file {file_name}')
    return images, bad


def choose_validation_ids(images: list[TrainImage], val_ratio: float, seed: int,
                          group_by: re.Pattern | None) -> set[int]:
    """Returns the ids of the images that are used for validation.

    :func:`mmcell.annotations.splits.choose_validation_groups` chooses them.

    Args:
        images: The training images. Their ids count from 1 in this order.
        val_ratio: The wanted share of validation, at least 0 and less than 1.
        seed: The seed of the random choices.
        group_by: Images whose folder names have the same match are one group, which is not divided. An image whose
            folder name does not match is a group by itself, as is every image if this is None.
    """
    names = [Path(image.file_name).parent.name for image in images]
    # Example with '^patient-(.)': the folders patient-A_1 and patient-A_2 both have the key ('A', ''). A folder with
    # the name A does not match, and has the key ('', 'A'), so that it does not get into their group.
    keys = [(group_key(name, group_by), '') if group_by and group_by.search(name) else ('', name) for name in names]
    group_indices = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    n_classes = max((max(cells_by_class(image), default=0) for image in images), default=0)
    n_images, n_cells = np.zeros(len(group_indices)), np.zeros((len(group_indices), n_classes))
    for key, image in zip(keys, images, strict=True):
        n_images[group_indices[key]] += 1
        for number, count in cells_by_class(image).items():
            n_cells[group_indices[key], number - 1] += count
    is_validation = choose_validation_groups(n_images, n_cells, val_ratio, seed)
    return {image_id for image_id, key in enumerate(keys, start=1) if is_validation[group_indices[key]]}


def group_key(name: str, group_by: re.Pattern) -> str:
    """Returns the first parenthesised part of the match, or the whole match if ``group_by`` has no parentheses."""
    match = group_by.search(name)
    return match.group(1) if group_by.groups else match.group()


def build_documents(train_images: list[TrainImage], test_images: list[TestImage], names: list[str],
                    val_ids: set[int], data_root: Path, out: Path, channel_order: str | None) -> dict[Path, dict]:
    """Returns the content of every annotation file by its path.

    ``info.data_root`` in the files is the path of the data root relative to the folder of the files, and
    ``info.channel_order`` the channel order, unless it is None.
    """
    info = {'description': 'cells, converted by mmcell', 'data_root': path_between(out, data_root)}
    if channel_order is not None:
        info['channel_order'] = channel_order
    categories = coco_json.categories(names)
    image_records, annotations = coco_json.train_records(train_images)
    all_ids = {record['id'] for record in image_records}
    documents = {}
    for name, ids in (('train', all_ids - val_ids), ('val', val_ids), ('trainval', all_ids)):
        images, cells = coco_json.subset(image_records, annotations, ids)
        documents[out / f'{name}.json'] = {
            'info': info, 'categories': categories, 'images': images, 'annotations': cells}
    if test_images:
        images = coco_json.test_records(test_images, raw_layout.TEST_FOLDER)
        documents[out / TEST_JSON] = {'info': info, 'categories': categories, 'images': images, 'annotations': []}
    return documents


def describe_swapped_colors(train_images: list[TrainImage], test_images: list[TestImage],
                            channel_order: str) -> str | None:
    """Returns a warning if red and blue look swapped in most images of a part of the data, or None.

    Args:
        train_images: The training images.
        test_images: The test images.
        channel_order: The channel order in which the files are read.
    """
    counts = {}
    for part, images in (('training', train_images), ('test', test_images)):
        verdicts = [image.looks_swapped for image in images]
        # What looks swapped in one order looks right in the other.
        counts[part] = [verdicts.count(is_swapped) for is_swapped in (
            (True, False) if channel_order == 'rgb' else (False, True))]
    swapped = [f'{n_swapped} of {n_swapped + n_right} {part} images' for part, (n_swapped, n_right) in counts.items()
               if n_swapped > n_right]
    if not swapped:
        return None
    found = (f'nuclei look brown in {" and ".join(swapped)} when they are read as {channel_order}, as if red and blue '
             'were swapped: ')
    if any(n_right > n_swapped for n_swapped, n_right in counts.values()):
        return found + 'training and test images must have the same order, so swap red and blue in these files'
    return (f'{found}convert again with --channel-order {other_order(channel_order)}, or with --channel-order '
            f'{channel_order} if they are brown in reality')


def path_between(start: Path, target: Path) -> str:
    """Returns the relative path from ``start`` to ``target`` with forward slashes.

    It is the absolute path of ``target`` if there is no relative path, because the two lie on different drives.
    """
    try:
        # Symbolic links are resolved first: '..' leads up from the place where a linked folder really lies.
        return Path(os.path.relpath(target.resolve(), start.resolve())).as_posix()
    except ValueError:
        return target.resolve().as_posix()


def print_table(train_images: list[TrainImage], names: list[str], val_ids: set[int]) -> None:
    """Prints the images, the cells of each class, the cells per image and the image sizes of each split."""
    from rich.console import Console
    from rich.markup import escape as without_markup
    from rich.table import Table
    splits = [('train', [image for i, image in enumerate(train_images, 1) if i not in val_ids]),
              ('val', [image for i, image in enumerate(train_images, 1) if i in val_ids]),
              ('trainval', train_images)]
    table = Table('', *(name for name, _ in splits), title='cells')
    table.add_row('images', *(str(len(images)) for _, images in splits))
    for number, name in enumerate(names, start=1):
        table.add_row(without_markup(name), *(
            str(sum(cells_by_class(image).get(number, 0) for image in images)) for _, images in splits))
    counts = [[sum(cells_by_class(image).values()) for image in images] for _, images in splits]
    table.add_row('cells', *(str(sum(values)) for values in counts))
    table.add_row('cells per image: median', *(f'{np.median(values):g}' if values else '-' for values in counts))
    table.add_row('cells per image: maximum', *(str(max(values)) if values else '-' for values in counts))
    sizes = [[f'{image.width}x{image.height}' for image in sorted(images, key=lambda x: x.width * x.height)]
             for _, images in splits]
    table.add_row('smallest image, px', *(values[0] if values else '-' for values in sizes))
    table.add_row('largest image, px', *(values[-1] if values else '-' for values in sizes))
    Console().print(table)


def print_notes(train_images: list[TrainImage], test_images: list[TestImage], val_ids: set[int],
                data_root: Path) -> None:
    """Prints how many test images and images without a cell there are, and which files were left out."""
    if not val_ids:
        print('val.json is empty: all images are in train.json. To train without validation, use tools/train.py CONFIG '
              '--cfg-options val_dataloader=None val_cfg=None val_evaluator=None')
    print(f'test images: {len(test_images)}' if test_images
          else f'no usable test images in {raw_layout.TEST_FOLDER}/: {TEST_JSON} is not written')
    print(f'images without any cell, kept: {sum(not image.instances_by_class for image in train_images)}')
    unlisted, leftovers = find_unlisted(test_images, data_root)
    in_train, train_leftovers = list_folder(data_root / raw_layout.TRAIN_FOLDER)
    for kind, names in (('masks without any cell', [name for image in train_images for name in image.empty_masks]),
                        ('files that are neither image.tif nor class<k>.tif',
                         [name for image in train_images for name in image.stray_files]),
                        (f'files beside the image folders in {raw_layout.TRAIN_FOLDER}/',
                         [path.name for path in in_train if path.is_file()]),
                        ('test images that are not in the id list', unlisted)):
        # The other lists are printed even if they are empty: that nothing was left out is worth knowing.
        if names or 'beside' not in kind:
            print(f'left out, {kind}: {len(names)}' + (f' ({list_some(names)})' if names else ''))
    passed_over = describe_leftovers([*(path.name for path in train_leftovers),
                                      *(name for image in train_images for name in image.leftovers), *leftovers])
    if passed_over:
        print(passed_over)


def find_unlisted(test_images: list[TestImage], data_root: Path) -> tuple[list[str], list[str]]:
    """Returns the names of the files beside the test images that are not in the id list, then those of leftovers."""
    if not test_images:
        return [], []
    paths, leftovers = list_folder(data_root / raw_layout.TEST_FOLDER)
    listed = {image.file_name for image in test_images}
    return [path.name for path in paths if path.name not in listed], [path.name for path in leftovers]


def find_warnings(train_images: list[TrainImage], names: list[str], val_ids: set[int]) -> list[str]:
    """Returns one sentence per matter that the user should look at before training."""
    sentences = describe_doubts(doubt for image in train_images for doubt in image.doubts)
    counts = Counter(number for image in train_images for number in image.instances_by_class)
    without = [name for number, name in enumerate(names, start=1) if not counts[number]]
    if without:
        sentences.append(f'no image has a cell of {list_some(without)}, which a model cannot learn then: check the '
                         'names of the mask files and --class-names')
    if val_ids and not any(cells_by_class(image) for i, image in enumerate(train_images, 1) if i in val_ids):
        sentences.append('the validation images have no cell, so that nothing can be measured on them')
    return sentences


def cells_by_class(image: TrainImage) -> dict[int, int]:
    """Returns the number of cells of each class by class number; classes without cells are left out."""
    return {number: len(instances.ids) for number, instances in image.instances_by_class.items()}


if __name__ == '__main__':
    sys.exit(main())
