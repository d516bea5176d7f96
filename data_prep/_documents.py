"""Classes, parts and folds of images with cells, and the annotation files that are made of them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from _conversion import path_between

from mmcell.annotations import coco_json
from mmcell.annotations.annotated_image import AnnotatedImage, LayoutError
from mmcell.annotations.file_sets import TEST_JSON, TRAIN_JSON, TRAINVAL_JSON, VAL_JSON
from mmcell.annotations.splits import choose_folds, choose_validation_groups
from mmcell.errors import list_some, quote
from mmcell.images.channel_order import other_order
from mmcell.masks.rle import EncodedInstances

# Annotation files list all classes up to the largest number, which therefore must not be, for example, a date.
_NUMBERED = re.compile(r'class([1-9][0-9]{0,3})')


def rename_classes(images: list[AnnotatedImage], known: list[str] | None,
                   renames: dict[str, str]) -> tuple[list[AnnotatedImage], list[str] | None]:
    """Gives classes other names; classes that get the same name are joined, and cells of a class without name left out.

    Args:
        images: The images.
        known: The names that the files list, also of classes without a cell; None if they do not.
        renames: The new name of each class by its old name; '' leaves the class out.

    Returns:
        The images, and the listed names, both with the new names.

    Raises:
        LayoutError: There is no class of one of the old names.
    """
    found = list(dict.fromkeys([*(known or []), *find_classes(images)]))
    unknown = [name for name in renames if name not in found]
    if unknown:
        raise LayoutError(f'--rename: there is no class {quote(unknown[0])}; the classes are {list_some(found)}')
    images = [replace(image, cells=_rename(image.cells, renames), crowds=_rename(image.crowds, renames),
                      doubts=tuple((path, renames.get(name, name), kinds) for path, name, kinds in image.doubts))
              for image in images]
    return images, known and list(dict.fromkeys(filter(None, (renames.get(name, name) for name in known))))


def describe_left_out(images: list[AnnotatedImage], renames: dict[str, str]) -> list[str]:
    """Returns a line for each class that ``--rename OLD=`` leaves out, with the number of its cells."""
    return [f'left out, cells of the class {name} (--rename): '
            f'{sum(len(image.cells[name].ids) for image in images if name in image.cells)}'
            for name, new_name in renames.items() if not new_name]


def _rename(by_class: dict[str, EncodedInstances], renames: dict[str, str]) -> dict[str, EncodedInstances]:
    parts: dict[str, list[EncodedInstances]] = {}
    for name, instances in by_class.items():
        if new_name := renames.get(name, name):
            parts.setdefault(new_name, []).append(instances)
    return {name: same[0] if len(same) == 1 else EncodedInstances.from_rles([rle for part in same for rle in part.rles])
            for name, same in parts.items()}


def find_classes(images: list[AnnotatedImage]) -> list[str]:
    """Returns the names of the classes that occur, sorted; class2 stands before class10."""
    names = {name for image in images for name in (*image.cells, *image.crowds)}
    return sorted(names, key=lambda name: (int(match[1]) if (match := _NUMBERED.fullmatch(name)) else 0, name))


def choose_class_names(images: list[AnnotatedImage], known: list[str] | None,
                       requested: list[str] | None) -> tuple[list[AnnotatedImage], list[str]]:
    """Chooses the names of all classes, in the order of their numbers.

    If all classes are called class1, class2 …, all numbers up to the largest one are classes, and requested names
    replace these names. Otherwise, requested names are an order of the names that occur.

    Args:
        images: The images.
        known: The names that the files list, also of classes without a cell; None if they do not.
        requested: The names that ``--class-names`` gives, or None.

    Returns:
        The images, with the cells of each class under its final name; and the names.

    Raises:
        LayoutError: There is no class; a name is missing, repeats, is empty, or has spaces at an end or control
            characters.
    """
    found = find_classes(images)
    names = list(dict.fromkeys([*(known or []), *found]))
    numbers = [int(match[1]) if (match := _NUMBERED.fullmatch(name)) else None for name in names]
    if requested is not None:
        _check_names(requested)
    if None not in numbers:
        names = [f'class{number}' for number in range(1, max(numbers, default=0) + 1)]
        if requested is None and not names:
            raise LayoutError('no image has a cell, and no class is named: check the masks, or name the classes with '
                              '--class-names')
        if requested is not None and len(requested) < len(names):
            raise LayoutError(f'--class-names has {len(requested)} names, but there are masks up to {names[-1]}.tif: '
                              'give one name per class')
        if requested is None:
            return images, names
        return rename_classes(images, None, {name: requested[int(name[5:]) - 1] for name in found})[0], requested
    if requested is None:
        _check_names(names)
        return images, names
    missing = [name for name in found if name not in requested]
    if missing:
        raise LayoutError(f'--class-names does not have {list_some(missing)}, of which there are cells: add the names, '
                          'or give --rename OLD=NEW to join a class with another one, and --rename OLD= to leave its '
                          'cells out')
    return images, requested


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise LayoutError(f'--class-names must differ from each other, got {names}')
    wrong = [name for name in names if not name or not name.isprintable() or name != name.strip()]
    if wrong:
        raise LayoutError('names of classes must have no control characters and no spaces at their ends, but got '
                          f'{quote(wrong[0])}: give --class-names or --rename')


def choose_validation(images: list[AnnotatedImage], val_ratio: float | None, seed: int,
                      group_by: re.Pattern | None) -> np.ndarray:
    """Returns which images are used for validation, (I,) bool.

    If the files say so of any image, they decide. Otherwise
    :func:`mmcell.annotations.splits.choose_validation_groups` does.

    Args:
        images: The I images for training and validation.
        val_ratio: The wanted share of validation, at least 0 and less than 1; None if the user gives none.
        seed: The seed of the random choices.
        group_by: As in :func:`find_groups`.

    Raises:
        LayoutError: The files say which images are used for validation, but a share is wanted.
    """
    if any(image.part == 'val' for image in images):
        if val_ratio is not None:
            raise LayoutError('the files say which images are for validation, so that --val-ratio has no effect: leave '
                              'it out')
        return np.array([image.part == 'val' for image in images])
    group_of_image, n_images, n_cells = find_groups(images, group_by)
    return choose_validation_groups(n_images, n_cells, .2 if val_ratio is None else val_ratio, seed)[group_of_image]


def divide_into_folds(images: list[AnnotatedImage], n_folds: int, seed: int, group_by: re.Pattern | None) -> list[int]:
    """Returns the fold of each image; :func:`mmcell.annotations.splits.choose_folds` chooses them.

    Args:
        images: The images for training and validation.
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


def find_groups(images: list[AnnotatedImage],
                group_by: re.Pattern | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the images that must stay together.

    Args:
        images: I images.
        group_by: Images whose names have the same match are one group, which is not divided. An image whose name does
            not match is a group by itself, as is every image if this is None.

    Returns:
        The group of each image (I,); the number of images of each group (G,); and its number of cells of each class,
        (G, C).
    """
    names = [image_name(image.file_name) for image in images]
    # Example with '^patient-(.)': the folders patient-A_1 and patient-A_2 both have the key ('A', ''). A folder with
    # the name A does not match, and has the key ('', 'A'), so that it does not get into their group.
    keys = [(group_key(name, group_by), '') if group_by and group_by.search(name) else ('', image.file_name)
            for name, image in zip(names, images, strict=True)]
    group_indices = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    group_of_image = np.array([group_indices[key] for key in keys], int)
    place_of_class = {name: place for place, name in enumerate(find_classes(images))}
    n_cells = np.zeros((len(group_indices), len(place_of_class)))
    for group, image in zip(group_of_image, images, strict=True):
        for name, instances in image.cells.items():
            n_cells[group, place_of_class[name]] += len(instances.ids)
    return group_of_image, np.bincount(group_of_image, minlength=len(group_indices)).astype(float), n_cells


def image_name(file_name: str) -> str:
    """Returns the name of an image without suffix; that of its folder, if all images are called image.tif."""
    path = Path(file_name)
    return path.parent.name if path.stem.lower() == 'image' and path.parent.name else path.stem


def group_key(name: str, group_by: re.Pattern) -> str:
    """Returns the first parenthesised part of the match, or the whole match if ``group_by`` has no parentheses."""
    match = group_by.search(name)
    return match.group(1) if group_by.groups else match.group()


def build_documents(images: list[AnnotatedImage], is_validation: np.ndarray, test_images: list[AnnotatedImage],
                    names: list[str], folds: list[int] | None, root: Path, out: Path,
                    channel_order: str | None) -> dict[Path, dict]:
    """Returns the content of every annotation file by its path.

    ``info.data_root`` in the files is the path of the root relative to the folder of the files, and
    ``info.channel_order`` the channel order, unless it is None. The image records of ``trainval.json`` have the entry
    ``fold``, unless ``folds`` is None.
    """
    info = {'description': 'cells, converted by mmcell', 'data_root': path_between(out, root)}
    if channel_order is not None:
        info['channel_order'] = channel_order
    image_records, annotations = coco_json.to_records(images, names)
    ids = np.array([record['id'] for record in image_records], np.int64)
    documents = {}
    for name, is_used in ((TRAIN_JSON, ~is_validation), (VAL_JSON, is_validation),
                          (TRAINVAL_JSON, np.ones(len(ids), bool))):
        records, cells = coco_json.subset(image_records, annotations, set(ids[is_used].tolist()))
        documents[out / name] = _document(info, names, records, cells)
    if folds is not None:
        document = documents[out / TRAINVAL_JSON]
        document['images'] = [{**record, 'fold': fold} for record, fold in zip(document['images'], folds, strict=True)]
    if test_images:
        documents[out / TEST_JSON] = _document(info, names, *coco_json.to_records(test_images, names))
    return documents


def _document(info: dict, names: list[str], images: list[dict], annotations: list[dict]) -> dict:
    return {'info': info, 'categories': coco_json.categories(names), 'images': images, 'annotations': annotations}


def describe_swapped_colors(train_images: list[AnnotatedImage], test_images: list[AnnotatedImage],
                            channel_order: str) -> str | None:
    """Returns a warning if red and blue look swapped in most images of a part of the data, or None.

    Args:
        train_images: The images for training and validation.
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
