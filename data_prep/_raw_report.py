"""What the conversion of raw folders prints: a table, notes on what was left out, and warnings."""

from collections import Counter
from pathlib import Path

import numpy as np
from _raw_data import TEST_JSON, cells_by_class

from mmcell.annotations import raw_layout
from mmcell.annotations.mask_doubts import describe_doubts
from mmcell.annotations.raw_layout import TestImage, TrainImage
from mmcell.errors import list_some
from mmcell.files.folders import describe_leftovers, list_folder


def print_table(train_images: list[TrainImage], names: list[str], val_ids: set[int]) -> None:
    """Prints the images, the cells of each class, the cells per image and the image sizes of each split."""
    from rich.console import Console
    from rich.table import Table
    splits = [('train', [image for i, image in enumerate(train_images, 1) if i not in val_ids]),
              ('val', [image for i, image in enumerate(train_images, 1) if i in val_ids]),
              ('trainval', train_images)]
    table = Table('', *(name for name, _ in splits), title='cells')
    table.add_row('images', *(str(len(images)) for _, images in splits))
    for number, name in enumerate(names, start=1):
        table.add_row(name, *(str(_count_cells(images, number)) for _, images in splits))
    counts = [[sum(cells_by_class(image).values()) for image in images] for _, images in splits]
    table.add_row('cells', *(str(sum(values)) for values in counts))
    table.add_row('cells per image: median', *(f'{np.median(values):g}' if values else '-' for values in counts))
    table.add_row('cells per image: maximum', *(str(max(values)) if values else '-' for values in counts))
    sizes = [[f'{image.width}x{image.height}' for image in sorted(images, key=lambda x: x.width * x.height)]
             for _, images in splits]
    table.add_row('smallest image, px', *(values[0] if values else '-' for values in sizes))
    table.add_row('largest image, px', *(values[-1] if values else '-' for values in sizes))
    Console(markup=False, emoji=False).print(table)


def print_folds(train_images: list[TrainImage], names: list[str], folds: list[int]) -> None:
    """Prints the images and the cells of each class of each fold.

    Args:
        train_images: The training images.
        names: The names of the classes.
        folds: The fold of each image.
    """
    from rich.console import Console
    from rich.table import Table
    parts = _images_by_fold(train_images, folds)
    table = Table('', *(f'fold {fold}' for fold in parts), title='folds of trainval')
    table.add_row('images', *(str(len(images)) for images in parts.values()))
    for number, name in enumerate(names, start=1):
        table.add_row(name, *(str(_count_cells(images, number)) for images in parts.values()))
    Console(markup=False, emoji=False).print(table)


def describe_missing_classes(train_images: list[TrainImage], names: list[str], folds: list[int]) -> list[str]:
    """Returns one sentence per fold that a class has no cell in; the arguments are those of :func:`print_folds`."""
    sentences = []
    for fold, images in _images_by_fold(train_images, folds).items():
        missing = [name for number, name in enumerate(names, start=1)
                   if _count_cells(train_images, number) and not _count_cells(images, number)]
        if missing:
            sentences.append(f'fold {fold} has no cell of {list_some(missing)}, which cannot be measured on it then: '
                             'its cells lie in too few images or groups for so many folds')
    return sentences


def _images_by_fold(train_images: list[TrainImage], folds: list[int]) -> dict[int, list[TrainImage]]:
    return {fold: [image for image, own_fold in zip(train_images, folds, strict=True) if own_fold == fold]
            for fold in sorted(set(folds))}


def _count_cells(images: list[TrainImage], number: int) -> int:
    """Returns the number of cells of a class in images."""
    return sum(cells_by_class(image).get(number, 0) for image in images)


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
