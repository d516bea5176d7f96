"""Writes per-class TIFF masks as COCO JSON."""

import argparse
import os
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.annotations import coco_json, raw_layout
from mmcell.annotations.raw_layout import LayoutError, TestImage, TrainImage
from mmcell.annotations.splits import choose_validation_groups
from mmcell.errors import MmcellError
from mmcell.files.parallel import map_with_progress

TEST_JSON = 'test.json'
EXIT_SKIPPED = 3
EXAMPLE = """example:
  python data_prep/to_coco.py DATA_ROOT --out annotations/
  DATA_ROOT/train/<name>/image.tif, class1.tif … (instance-id maps; absent where the image has no such cell)
  DATA_ROOT/test_release/<name>.tif and DATA_ROOT/test_image_name_to_ids.json (both or neither)
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path, help='folder that holds train/ and, for tests, test_release/')
    parser.add_argument('--out', type=Path, default=Path('annotations'),
                        help='folder for train.json, val.json, trainval.json, test.json (default: annotations)')
    parser.add_argument('--val-ratio', type=float, default=.2, help='part of the images for validation (default: .2)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the split (default: 0)')
    parser.add_argument('--group-by', type=regular_expression, metavar='REGEX',
                        help='images whose folder names match alike stay on one side, for example those of a patient: '
                             r"'^(TCGA-\w+-\w+)'; compared is the first group of the expression, or the whole match")
    parser.add_argument('--skip-bad', action='store_true',
                        help='leave out images with bad files, list them, and end with exit status 3')
    parser.add_argument('--class-names', nargs='+', metavar='NAME',
                        help='names of class 1, 2, … (default: class1, class2, … as far as the files go)')
    parser.add_argument('--test-ids', type=Path, help='id list (default: DATA_ROOT/test_image_name_to_ids.json)')
    parser.add_argument('--jobs', type=int, default=usable_cores(), help='processes (default: one a core)')
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
    try:
        train_images, bad = map_with_progress(
            partial(raw_layout.read_train_image, data_root=args.data_root),
            raw_layout.find_train_folders(args.data_root), args.jobs, 'train images', args.skip_bad)
        names = choose_class_names(train_images, args.class_names)
        test_images, bad_tests = find_test_images(args.data_root, args.test_ids, args.jobs, args.skip_bad)
        bad += bad_tests
        val_ids = choose_validation_ids(train_images, args.val_ratio, args.seed, args.group_by)
        documents = build_documents(train_images, test_images, names, val_ids, args.data_root, args.out)
        coco_json.write_documents(documents)
    except (MmcellError, OSError) as error:
        print(f'error: {error}\nnothing was written', file=sys.stderr)
        return 1
    print_table(train_images, names, val_ids)
    print_notes(train_images, test_images, val_ids, args.data_root)
    print('wrote ' + ', '.join(str(path) for path in documents))
    stale = args.out / TEST_JSON
    if not test_images and stale.exists():
        stale.unlink()
        print(f'removed {stale}, left by an earlier conversion')
    for message in bad:
        print(f'skipped: {message}', file=sys.stderr)
    return EXIT_SKIPPED if bad else 0


def choose_class_names(images: list[TrainImage], given: list[str] | None) -> list[str]:
    """Class names from 1 up to the largest class number found, or those given.

    Raises:
        LayoutError: fewer names are given than there are classes, a name repeats, or there is no class at all.
    """
    n_classes = max((number for image in images for number in image.instances_by_class), default=0)
    if given is None:
        if n_classes == 0:
            raise LayoutError('no image has a cell: class1.tif … with instance ids expected beside each image.tif')
        return [f'class{number}' for number in range(1, n_classes + 1)]
    if len(given) < n_classes:
        raise LayoutError(f'{len(given)} --class-names for masks up to class{n_classes}.tif: name every class')
    if len(set(given)) < len(given):
        raise LayoutError(f'--class-names must differ from each other, got {given}')
    return given


def find_test_images(data_root: Path, test_ids: Path | None, jobs: int,
                     skip_bad: bool) -> tuple[list[TestImage], list[str]]:
    """The test images of the id list, each checked against its file, and messages of bad ones with ``skip_bad``.

    None where there is no test folder.

    Raises:
        LayoutError: there are test images without an id list, or an id list that was asked for without images.
    """
    folder = data_root / raw_layout.TEST_FOLDER
    ids_file = test_ids or data_root / raw_layout.TEST_IDS_FILE
    if not folder.is_dir():
        if test_ids is not None:
            raise LayoutError(f'--test-ids was given, but there is no folder {folder}')
        return [], []
    if not ids_file.exists():
        raise LayoutError(f'{folder} has test images, but there is no id list {ids_file}: name it with --test-ids')
    check = partial(raw_layout.check_test_image, test_folder=folder)
    return map_with_progress(check, raw_layout.read_test_ids(ids_file), jobs, 'test images', skip_bad)


def choose_validation_ids(images: list[TrainImage], val_ratio: float, seed: int,
                          group_by: re.Pattern | None) -> set[int]:
    """Image ids (from 1) of the validation part, chosen by :func:`mmcell.annotations.splits.choose_validation_groups`.

    An image whose folder name does not match ``group_by`` is a group by itself.
    """
    names = [Path(image.file_name).parent.name for image in images]
    keys = [(group_key(name, group_by), '') if group_by and group_by.search(name) else ('', name) for name in names]
    groups = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    n_classes = max((max(cells_by_class(image), default=0) for image in images), default=0)
    n_images, n_cells = np.zeros(len(groups)), np.zeros((len(groups), n_classes))
    for key, image in zip(keys, images, strict=True):
        n_images[groups[key]] += 1
        for number, count in cells_by_class(image).items():
            n_cells[groups[key], number - 1] += count
    in_val = choose_validation_groups(n_images, n_cells, val_ratio, seed)
    return {image_id for image_id, key in enumerate(keys, start=1) if in_val[groups[key]]}


def group_key(name: str, group_by: re.Pattern) -> str:
    """The part of a matching name that tells its group."""
    match = group_by.search(name)
    return match.group(1) if group_by.groups else match.group()


def build_documents(train_images: list[TrainImage], test_images: list[TestImage], names: list[str],
                    val_ids: set[int], data_root: Path, out: Path) -> dict[Path, dict]:
    """Path to content of every file to write. ``info.data_root`` leads from the file's folder to the images."""
    info = {'description': 'cells, converted by mmcell', 'data_root': path_between(out, data_root)}
    cats = coco_json.categories(names)
    image_records, annotations = coco_json.train_records(train_images)
    all_ids = {record['id'] for record in image_records}
    documents = {}
    for name, ids in (('train', all_ids - val_ids), ('val', val_ids), ('trainval', all_ids)):
        images, cells = coco_json.subset(image_records, annotations, ids)
        documents[out / f'{name}.json'] = {'info': info, 'categories': cats, 'images': images, 'annotations': cells}
    if test_images:
        images = coco_json.test_records(test_images, raw_layout.TEST_FOLDER)
        documents[out / TEST_JSON] = {'info': info, 'categories': cats, 'images': images, 'annotations': []}
    return documents


def path_between(start: Path, target: Path) -> str:
    """Relative path with forward slashes, or the absolute one where there is none (another drive)."""
    try:
        # Through links: '..' from a linked folder leads up from where it really lies.
        return Path(os.path.relpath(target.resolve(), start.resolve())).as_posix()
    except ValueError:
        return target.resolve().as_posix()


def print_table(train_images: list[TrainImage], names: list[str], val_ids: set[int]) -> None:
    """Prints images, cells of each class, cells an image and image sizes of each part."""
    from rich.console import Console
    from rich.table import Table
    parts = [('train', [image for i, image in enumerate(train_images, 1) if i not in val_ids]),
             ('val', [image for i, image in enumerate(train_images, 1) if i in val_ids]),
             ('trainval', train_images)]
    table = Table('', *(name for name, _ in parts), title='cells')
    table.add_row('images', *(str(len(images)) for _, images in parts))
    for number, name in enumerate(names, start=1):
        table.add_row(name, *(str(sum(cells_by_class(image).get(number, 0) for image in images))
                              for _, images in parts))
    counts = [[sum(cells_by_class(image).values()) for image in images] for _, images in parts]
    table.add_row('cells', *(str(sum(values)) for values in counts))
    table.add_row('cells an image: median', *(f'{np.median(values):g}' if values else '-' for values in counts))
    table.add_row('cells an image: maximum', *(str(max(values)) if values else '-' for values in counts))
    sizes = [[f'{image.width}x{image.height}' for image in sorted(images, key=lambda x: x.width * x.height)]
             for _, images in parts]
    table.add_row('smallest image, px', *(values[0] if values else '-' for values in sizes))
    table.add_row('largest image, px', *(values[-1] if values else '-' for values in sizes))
    Console().print(table)


def print_notes(train_images: list[TrainImage], test_images: list[TestImage], val_ids: set[int],
                data_root: Path) -> None:
    """Prints what was left out, and what else a reader would want to know."""
    if not val_ids:
        print('val.json is empty: all images are in train.json. To train without validation: tools/train.py CONFIG '
              '--cfg-options val_dataloader=None val_cfg=None val_evaluator=None')
    elif not any(cells_by_class(image) for i, image in enumerate(train_images, 1) if i in val_ids):
        print('warning: the validation images have no cell, so that nothing can be measured on them')
    print(f'test images: {len(test_images)}' if test_images
          else f'no {raw_layout.TEST_FOLDER}/ folder: {TEST_JSON} is not written')
    print(f'images without any cell, kept: {sum(not image.instances_by_class for image in train_images)}')
    listed = {image.file_name for image in test_images}
    test_folder = data_root / raw_layout.TEST_FOLDER
    unlisted = [path.name for path in sorted(test_folder.iterdir()) if path.name not in listed] if test_images else []
    for what, names in (('masks without any cell', [name for image in train_images for name in image.empty_masks]),
                        ('files that are neither image.tif nor class<k>.tif',
                         [name for image in train_images for name in image.stray_files]),
                        ('test images that are not in the id list', unlisted)):
        print(f'left out, {what}: {len(names)}' + (f" ({', '.join(names)})" if names else ''))


def cells_by_class(image: TrainImage) -> dict[int, int]:
    return {number: len(instances.ids) for number, instances in image.instances_by_class.items()}


if __name__ == '__main__':
    sys.exit(main())
