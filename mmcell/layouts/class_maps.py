"""One id map per class, the raw layout: ``train/<name>/image.tif``, ``class<k>.tif``, ``test_release/<name>.tif``."""

import os
import re
from collections import Counter
from collections.abc import Container
from difflib import get_close_matches
from pathlib import Path

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.annotations.id_list import TEST_FOLDER, TEST_IDS_FILE, TestImage, read_test_ids
from mmcell.annotations.mask_doubts import find_doubts
from mmcell.errors import MmcellError, list_some
from mmcell.files.folders import file_problem, list_folder, refuse_unusable
from mmcell.files.names import name_key
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import Layout, LayoutError, LayoutOptions, Listing, Source, SourceCells
from mmcell.layouts.label_files import read_label_file
from mmcell.layouts.reading import read_source
from mmcell.masks.rle import encode_label_map

TRAIN_FOLDER = 'train'
IMAGE_FILE = 'image.tif'
# Annotation files list all classes up to the largest number, which therefore must not be, for example, a date.
MAX_CLASS_NUMBER = 1000
_IMAGE_NAME = re.compile(r'image\.tiff?', re.IGNORECASE)
_CLASS_NAME = re.compile(r'class([0-9]+)\.tiff?', re.IGNORECASE)
# Files beside the image that are probably images or masks with a wrong name or of a wrong format. Other files may lie
# there, for example notes, tables and previews.
_MISNAMED = re.compile(r'.*\.tiff?|(class[0-9]+|image)\.(png|jpe?g|bmp|gif|webp|npy|mat)', re.IGNORECASE)


def recognize(root: Path) -> str | None:
    """Returns what the folder contains, if it has image folders with masks of classes in ``train/``."""
    train = root / TRAIN_FOLDER
    folders = [path for path in list_folder(train)[0] if path.is_dir()] if train.is_dir() else []
    names = [path.name for folder in folders for path in list_folder(folder)[0]]
    if not any(_CLASS_NAME.fullmatch(name) or _IMAGE_NAME.fullmatch(name) for name in names):
        return None
    return f'{len(folders)} folders {TRAIN_FOLDER}/NAME with an {IMAGE_FILE} and one mask per class, class1.tif …'


def find_sources(root: Path, options: LayoutOptions) -> Listing:
    """Lists the image folders and the test images of a data root.

    Raises:
        FileError: A folder cannot be listed.
        LayoutError: There are no image folders, a link stands for a folder that is there itself, there are test images
            but no id list, or the reverse, or the id list is wrong.
    """
    found = [_find_source(folder) for folder in find_train_folders(root)]
    beside, leftovers = list_folder(root / TRAIN_FOLDER)
    test_sources, unlisted, test_leftovers = _find_test_images(root, options.test_ids)
    remarks = {
        f'left out, files beside the image folders in {TRAIN_FOLDER}/': [
            path.name for path in beside if path.is_file()],
        'left out, test images that are not in the id list': [path.name for path in unlisted],
        f'left out, files that are neither {IMAGE_FILE} nor class<k>.tif': [
            str(path) for _, paths, _ in found for path in paths]}
    return Listing([source for source, _, _ in found] + test_sources,
                   leftovers=[*leftovers, *(path for _, _, paths in found for path in paths), *test_leftovers],
                   remarks={kind: tuple(names) for kind, names in remarks.items() if names})


def _find_test_images(root: Path, test_ids: Path | None) -> tuple[list[Source], list[Path], list[Path]]:
    """Returns the test images, the files that are not in their id list, and leftovers; empty without a test folder."""
    folder, ids_file = root / TEST_FOLDER, test_ids or root / TEST_IDS_FILE
    if not os.path.lexists(folder):
        if test_ids is not None:
            raise LayoutError(f'--test-ids was given, but the folder of test images {folder} does not exist')
        return [], [], []
    paths, leftovers = list_folder(folder)  # raises an error for a broken link
    if not ids_file.exists():
        raise LayoutError(f'there is a folder of test images, {folder}, but their id list {ids_file} does not exist: '
                          'give its path with --test-ids')
    sources = [find_test_source(entry, folder) for entry in read_test_ids(ids_file)]
    path, count = Counter(source.image for source in sources).most_common(1)[0] if sources else (folder, 0)
    if count > 1:
        raise LayoutError(f'{ids_file}: {count} entries stand for the same file {path.name}')
    used = {source.image for source in sources}
    return sources, [path for path in paths if path not in used], leftovers


def find_train_folders(data_root: Path) -> list[Path]:
    """Returns the image folders under ``train/``, sorted by name.

    Broken links are among them, because they probably stand for image folders: :func:`read_train_image` refuses them.

    Raises:
        FileError: ``train/`` cannot be listed.
        LayoutError: There is no folder ``train/``, it contains no folder, or a link stands for a folder that is there
            itself.
    """
    train = data_root / TRAIN_FOLDER
    paths = list_folder(train)[0] if train.is_dir() or train.is_symlink() else []
    folders = [path for path in paths if path.is_dir() or not path.exists()]
    if not folders:
        raise LayoutError(f'no image folders in {train}: expected {TRAIN_FOLDER}/<name>/{IMAGE_FILE} with class1.tif … '
                          f'beside it{_hint_at_root(data_root)}')
    targets: dict[Path, Path] = {}
    for folder in folders:
        other = targets.setdefault(folder.resolve(), folder)
        if other != folder:
            raise LayoutError(f'{folder} and {other.name} are the same folder, so that the image would be used twice: '
                              'remove the link')
    return folders


def _hint_at_root(data_root: Path) -> str:
    if not data_root.is_dir():
        return f'. {data_root} {file_problem(data_root) or "is a file: unpack it, and give the folder"}'
    children = list_folder(data_root)[0]
    misspelt = [child.name for child in children if child.is_dir() and child.name.lower() == TRAIN_FOLDER]
    if misspelt and not (data_root / TRAIN_FOLDER).exists():
        return f'. Rename {misspelt[0]} to {TRAIN_FOLDER}'
    around = [*data_root.resolve().parents[:2], *children]
    roots = [folder for folder in around if (folder / TRAIN_FOLDER).is_dir()]
    return f'. Give the folder that contains {TRAIN_FOLDER}/: {roots[0]}' if roots else ''


def class_files(folder: Path) -> dict[int, Path]:
    """Returns the mask files of one image folder by class number, in ascending order.

    Raises:
        FileError: The folder cannot be listed.
        LayoutError: A class is numbered 0, or two files have the same class number.
    """
    files: dict[int, Path] = {}
    for path in list_folder(folder)[0]:
        match = _CLASS_NAME.fullmatch(path.name)
        if match is None:
            continue
        number = int(match.group(1))
        if not 1 <= number <= MAX_CLASS_NUMBER:
            raise LayoutError(f'{path}: has the class number {number}, but classes are numbered from 1 to '
                              f'{MAX_CLASS_NUMBER}; rename the file')
        if number in files:
            raise LayoutError(f'{path}: class {number} has a second file, {files[number].name}; keep only one of them')
        files[number] = path
    return dict(sorted(files.items()))


def read_train_image(folder: Path, data_root: Path, color_samples: Container[Path] = ()) -> AnnotatedImage:
    """Reads one image folder and encodes its cells.

    Args:
        folder: The image folder.
        data_root: The folder that names of files are relative to.
        color_samples: As in :func:`mmcell.layouts.reading.read_source`.

    Raises:
        FileError: The folder, the image or a mask cannot be read, is a broken link, or is a pointer of Git LFS.
        LayoutError: The image is missing, a mask differs from it in size or orientation, a file is probably an image or
            mask with a wrong name, or the name of the folder is not UTF-8.
        ImageReadError: A file is no image, or a mask has values that are not instance ids.
    """
    return read_source(_find_source(folder)[0], read_cells, LayoutOptions(), data_root, color_samples)


def _find_source(folder: Path) -> tuple[Source, list[Path], list[Path]]:
    """Returns the image of a folder with its masks, the other files in it, and the leftovers of other programs."""
    try:
        paths, leftovers = list_folder(folder)
        image_path, masks = _find_image(folder, paths), class_files(folder)
        other_files = [path for path in paths if path not in (image_path, *masks.values())]
        misnamed = [path for path in other_files if _MISNAMED.fullmatch(path.name)]
        if misnamed:
            raise LayoutError(f'{misnamed[0]}: is neither {IMAGE_FILE} nor class<number>.tif; rename or convert the '
                              'file, or move it away')
    except MmcellError as error:
        return Source(folder / IMAGE_FILE, problem=error), [], []
    return Source(image_path, tuple(masks.values()), content=tuple(masks)), other_files, leftovers


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads the masks of one image folder, or compares a test image with its entry in the id list."""
    if source.part == 'test':
        _check_size(source, image)
        return SourceCells({})
    cells, empty_masks, doubts = {}, [], []
    for number, path in zip(source.content, source.files, strict=True):
        label_map = read_label_file(path, image)
        instances = encode_label_map(label_map)
        if len(instances.ids):
            cells[f'class{number}'] = instances
            doubts.append((str(path), f'class{number}', tuple(find_doubts(label_map, instances, number))))
        else:
            empty_masks.append(str(path))
    remarks = {'left out, masks without any cell': tuple(empty_masks)} if empty_masks else {}
    return SourceCells(cells, remarks=remarks, doubts=tuple(doubts))


def _find_image(folder: Path, paths: list[Path]) -> Path:
    images = [path for path in paths if _IMAGE_NAME.fullmatch(path.name)]
    if not images:
        contents = f'it has {list_some([path.name for path in paths])}' if paths else 'it is empty'
        raise LayoutError(f'{folder}: has no {IMAGE_FILE} ({contents}); add the image, or move the folder away')
    if len(images) > 1:
        raise LayoutError(f'{images[1]}: is a second image beside {images[0].name}; keep only one of them')
    refuse_unusable(images[0])
    return images[0]


def find_test_source(entry: TestImage, folder: Path) -> Source:
    """Returns the file of a test image.

    Args:
        entry: The entry in the id list.
        folder: The folder of the test images.

    Returns:
        The image with the name that the file really has: letters may be upper-case or lower-case, and have their
        accents in another form of Unicode. If the file is missing, the source has a problem that says so.
    """
    path, problem = folder / entry.file_name, None
    try:
        path = folder / _find_name(entry.file_name, folder)
    except MmcellError as error:
        problem = error
    return Source(path, (), 'test', (entry.height, entry.width), entry.image_id, problem)


def _check_size(source: Source, image: ImageFile) -> None:
    height, width = source.content
    if (image.height, image.width) != (height, width):
        turned = ': height and width are exchanged' if (image.height, image.width) == (width, height) else ''
        raise LayoutError(f'{image.path}: is {image.width} x {image.height} px, but {width} x {height} px in the '
                          f'id list (width x height){turned}')


def _find_name(name: str, folder: Path) -> str:
    if (folder / name).exists() or (folder / name).is_symlink():
        return name
    names = [path.name for path in list_folder(folder)[0]]
    twins = [other for other in names if name_key(other) == name_key(name)]
    if len(twins) != 1:
        without_suffix = [other for other in names if name_key(Path(other).stem) == name_key(name)]
        similar = twins or without_suffix or get_close_matches(name, names)
        hint = f'; files with similar names: {list_some(similar)}' if similar else ''
        raise LayoutError(f'{folder / name}: is in the id list, but the file does not exist{hint}')
    return twins[0]


LAYOUT = Layout('class-maps', f'{TRAIN_FOLDER}/NAME/{IMAGE_FILE} with one id map per class, class1.tif, class2.tif …',
                recognize, find_sources, read_cells, ('test_ids',))
