"""Raw folders of images and masks, read and divided into training and validation, as annotation documents."""

import argparse
import os
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from _conversion import path_between, print_skipped

from mmcell.annotations import coco_json, raw_layout
from mmcell.annotations.raw_layout import LayoutError, TestImage, TrainImage
from mmcell.annotations.splits import choose_folds, choose_validation_groups
from mmcell.errors import quote
from mmcell.files.folders import list_folder
from mmcell.files.parallel import map_with_progress
from mmcell.images.channel_order import other_order, spread_evenly

TEST_JSON, TRAINVAL_JSON = 'test.json', 'trainval.json'


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
        group_by: As in :func:`find_groups`.
    """
    group_of_image, n_images, n_cells = find_groups(images, group_by)
    is_validation = choose_validation_groups(n_images, n_cells, val_ratio, seed)
    return set((np.flatnonzero(is_validation[group_of_image]) + 1).tolist())


def divide_into_folds(images: list[TrainImage], n_folds: int, seed: int, group_by: re.Pattern | None) -> list[int]:
    """Returns the fold of each image; :func:`mmcell.annotations.splits.choose_folds` chooses them.

    Args:
        images: The training images.
        n_folds: The number of folds.
        seed: The seed of the random choices.
        group_by: As in :func:`find_groups`.

    Raises:
        LayoutError: There are fewer groups than folds.
    """
    group_of_image, n_images, n_cells = find_groups(images, group_by)
    if len(n_images) < n_folds:
        of = f' of {len(images)} training images (--group-by)' if group_by else ''
        unit = 'group' if group_by else 'training image'
        raise LayoutError(f'--folds {n_folds}: the number of {unit}s{of} is only {len(n_images)}, and each fold needs '
                          f'at least one {unit}: ' + (f'give --folds {len(n_images)}' if len(n_images) > 1
                                                      else 'leave --folds out'))
    return choose_folds(n_images, n_cells, n_folds, seed)[group_of_image].tolist()


def find_groups(images: list[TrainImage], group_by: re.Pattern | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the images that must stay together.

    Args:
        images: I images.
        group_by: Images whose folder names have the same match are one group, which is not divided. An image whose
            folder name does not match is a group by itself, as is every image if this is None.

    Returns:
        The group of each image (I,); the number of images of each group (G,); and its number of cells of each class,
        (G, C).
    """
    names = [Path(image.file_name).parent.name for image in images]
    # Example with '^patient-(.)': the folders patient-A_1 and patient-A_2 both have the key ('A', ''). A folder with
    # the name A does not match, and has the key ('', 'A'), so that it does not get into their group.
    keys = [(group_key(name, group_by), '') if group_by and group_by.search(name) else ('', name) for name in names]
    group_indices = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    group_of_image = np.array([group_indices[key] for key in keys], int)
    n_classes = max((max(cells_by_class(image), default=0) for image in images), default=0)
    n_cells = np.zeros((len(group_indices), n_classes))
    for group, image in zip(group_of_image, images, strict=True):
        for number, count in cells_by_class(image).items():
            n_cells[group, number - 1] += count
    return group_of_image, np.bincount(group_of_image, minlength=len(group_indices)).astype(float), n_cells


def group_key(name: str, group_by: re.Pattern) -> str:
    """Returns the first parenthesised part of the match, or the whole match if ``group_by`` has no parentheses."""
    match = group_by.search(name)
    return match.group(1) if group_by.groups else match.group()


def build_documents(train_images: list[TrainImage], test_images: list[TestImage], names: list[str],
                    val_ids: set[int], folds: list[int] | None, data_root: Path, out: Path,
                    channel_order: str | None) -> dict[Path, dict]:
    """Returns the content of every annotation file by its path.

    ``info.data_root`` in the files is the path of the data root relative to the folder of the files, and
    ``info.channel_order`` the channel order, unless it is None. The image records of ``trainval.json`` have the entry
    ``fold``, unless ``folds`` is None.
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
    if folds is not None:
        document = documents[out / TRAINVAL_JSON]
        document['images'] = [{**record, 'fold': fold} for record, fold in zip(document['images'], folds, strict=True)]
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


def cells_by_class(image: TrainImage) -> dict[int, int]:
    """Returns the number of cells of each class by class number; classes without cells are left out."""
    return {number: len(instances.ids) for number, instances in image.instances_by_class.items()}
