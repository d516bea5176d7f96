"""What a conversion prints: a table, notes on what was repaired and left out, and warnings."""

from pathlib import Path

import numpy as np
from _documents import TEST_JSON

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.annotations.mask_doubts import describe_doubts
from mmcell.errors import escape, list_some
from mmcell.files.folders import describe_leftovers
from mmcell.layouts.base import Listing
from mmcell.layouts.reading import relative_name


def print_table(images: list[AnnotatedImage], names: list[str], is_validation: np.ndarray,
                test_images: list[AnnotatedImage]) -> None:
    """Prints the images, the cells of each class, the cells per image and the image sizes of each part.

    Args:
        images: I images for training and validation.
        names: The names of the classes.
        is_validation: (I,) bool.
        test_images: The test images; they are in the table if they have cells.
    """
    from rich.console import Console
    from rich.table import Table
    splits = [('train', select_images(images, ~is_validation)), ('val', select_images(images, is_validation)),
              ('trainval', images)]
    if any(image.cells for image in test_images):
        splits.append(('test', test_images))
    table = Table('', *(name for name, _ in splits), title='cells')
    table.add_row('images', *(str(len(part)) for _, part in splits))
    for name in names:
        table.add_row(name, *(str(_count_cells(part, name)) for _, part in splits))
    counts = [[image.n_cells for image in part] for _, part in splits]
    table.add_row('cells', *(str(sum(values)) for values in counts))
    table.add_row('cells per image: median', *(f'{np.median(values):g}' if values else '-' for values in counts))
    table.add_row('cells per image: maximum', *(str(max(values)) if values else '-' for values in counts))
    sizes = [[f'{image.width}x{image.height}' for image in sorted(part, key=lambda x: x.width * x.height)]
             for _, part in splits]
    table.add_row('smallest image, px', *(values[0] if values else '-' for values in sizes))
    table.add_row('largest image, px', *(values[-1] if values else '-' for values in sizes))
    Console(markup=False, emoji=False).print(table)


def print_folds(train_images: list[AnnotatedImage], names: list[str], folds: list[int]) -> None:
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
    table.add_row('images', *(str(len(part)) for part in parts.values()))
    for name in names:
        table.add_row(name, *(str(_count_cells(part, name)) for part in parts.values()))
    Console(markup=False, emoji=False).print(table)


def describe_missing_classes(train_images: list[AnnotatedImage], names: list[str], folds: list[int]) -> list[str]:
    """Returns one sentence per fold that a class has no cell in; the arguments are those of :func:`print_folds`."""
    sentences = []
    for fold, images in _images_by_fold(train_images, folds).items():
        missing = [name for name in names if _count_cells(train_images, name) and not _count_cells(images, name)]
        if missing:
            sentences.append(f'fold {fold} has no cell of {list_some(missing)}, which cannot be measured on it then: '
                             'its cells lie in too few images or groups for so many folds')
    return sentences


def _images_by_fold(train_images: list[AnnotatedImage], folds: list[int]) -> dict[int, list[AnnotatedImage]]:
    return {fold: [image for image, own_fold in zip(train_images, folds, strict=True) if own_fold == fold]
            for fold in sorted(set(folds))}


def _count_cells(images: list[AnnotatedImage], name: str) -> int:
    """Returns the number of cells of a class in images."""
    return sum(len(image.cells[name].ids) for image in images if name in image.cells)


def select_images(images: list[AnnotatedImage], is_selected: np.ndarray) -> list[AnnotatedImage]:
    """Returns the images with a flag, (I,) bool."""
    return [image for image, flag in zip(images, is_selected.tolist(), strict=True) if flag]


def print_notes(images: list[AnnotatedImage], is_validation: np.ndarray, test_images: list[AnnotatedImage],
                listing: Listing, root: Path) -> None:
    """Prints how many test images and images without a cell there are, what was repaired, and what was left out."""
    if not is_validation.any():
        print('val.json is empty: all images are in train.json. To train without validation, use tools/train.py CONFIG '
              '--cfg-options val_dataloader=None val_cfg=None val_evaluator=None')
    print(f'test images: {len(test_images)}' if test_images else f'no test images: {TEST_JSON} is not written')
    print(f'images without any cell, kept: {sum(not image.cells for image in images)}')
    for line in listing.notes:
        print(escape(line))
    remarks = dict(listing.remarks)
    for kind, paths in (('images without a file of cells', listing.images_without_masks),
                        ('files of cells without an image', listing.masks_without_image),
                        ('other files', listing.other_files)):
        if paths:
            remarks[f'left out, {kind}'] = tuple(paths)
    for image in [*images, *test_images]:
        for kind, names in image.remarks.items():
            remarks[kind] = (*remarks.get(kind, ()), *names)
    for kind, names in remarks.items():
        print(f'{kind}: {len(names)} ({list_some([relative_name(name, root) for name in names])})')
    if not any('left out' in text for text in (*remarks, *listing.notes)):
        print('left out: nothing')
    passed_over = describe_leftovers(relative_name(path, root) for path in listing.leftovers)
    if passed_over:
        print(passed_over)


def find_warnings(images: list[AnnotatedImage], names: list[str], is_validation: np.ndarray) -> list[str]:
    """Returns one sentence per matter that the user should look at before training."""
    sentences = describe_doubts(doubt for image in images for doubt in image.doubts)
    without = [name for name in names if not _count_cells(images, name)]
    if without:
        sentences.append(f'no image has a cell of {list_some(without)}, which a model cannot learn then: check the '
                         'names of the mask files and --class-names')
    if is_validation.any() and not any(image.cells for image in select_images(images, is_validation)):
        sentences.append('the validation images have no cell, so that nothing can be measured on them')
    return sentences
