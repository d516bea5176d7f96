"""Reading the raw layout: ``train/<name>/image.tif`` with ``class<k>.tif``, and ``test_release/<name>.tif``."""

import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from mmcell.annotations.mask_doubts import find_doubts
from mmcell.errors import MmcellError, escape, list_some, quote
from mmcell.files.folders import file_problem, list_folder, refuse_unusable
from mmcell.files.names import is_bare_name, name_key
from mmcell.files.text_files import is_encodable, is_integer, read_json
from mmcell.images.channel_order import file_looks_swapped
from mmcell.images.image_file import ImageFile, open_image
from mmcell.masks.rle import EncodedInstances, encode_label_map

TRAIN_FOLDER = 'train'
TEST_FOLDER = 'test_release'
IMAGE_FILE = 'image.tif'
TEST_IDS_FILE = 'test_image_name_to_ids.json'
# Annotation files list all classes up to the largest number, which therefore must not be, for example, a date.
MAX_CLASS_NUMBER = 1000
_IMAGE_NAME = re.compile(r'image\.tiff?', re.IGNORECASE)
_CLASS_NAME = re.compile(r'class([0-9]+)\.tiff?', re.IGNORECASE)
# Files beside the image that are probably images or masks with a wrong name or of a wrong format. Other files may lie
# there, for example notes, tables and previews.
_MISNAMED = re.compile(r'.*\.tiff?|(class[0-9]+|image)\.(png|jpe?g|bmp|gif|webp|npy|mat)', re.IGNORECASE)


class LayoutError(MmcellError):
    """Files or folders do not follow the raw layout; the message says which path, what was found and what to do."""

    def __str__(self) -> str:
        """Returns the message in one line, also if the name of a file has line breaks."""
        return escape(super().__str__())


@dataclass(frozen=True)
class TrainImage:
    """One training image with its cells, encoded as RLE.

    Attributes:
        file_name: The path of the image relative to the data root, with forward slashes.
        height: The height of the image in px.
        width: The width of the image in px.
        instances_by_class: The cells by class number. The class number is the k in the file name class<k>.tif.
            Classes without a cell are left out.
        empty_masks: Paths of mask files that have no cell, relative to the data root.
        stray_files: Paths of files in the folder that are neither the image nor a mask, relative to the data root.
        leftovers: Paths of hidden files and leftovers of other programs in the folder, relative to the data root.
        doubts: For each mask that has a cell, its path relative to the data root, its class number, and what is
            doubtful about it: see :func:`mmcell.annotations.mask_doubts.find_doubts`.
        looks_swapped: Whether red and blue look swapped when the file is read as RGB; None if its colours do not tell,
            or were not looked at.
    """

    file_name: str
    height: int
    width: int
    instances_by_class: dict[int, EncodedInstances] = field(default_factory=dict)
    empty_masks: tuple[str, ...] = ()
    stray_files: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    doubts: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    looks_swapped: bool | None = None


@dataclass(frozen=True)
class TestImage:
    """One entry of the list of test images and their ids.

    Attributes:
        file_name: The name of the image file in the folder of the test images.
        image_id: The id of the image in submissions.
        height: The height of the image in px.
        width: The width of the image in px.
        looks_swapped: As in :class:`TrainImage`.
    """

    file_name: str
    image_id: int
    height: int
    width: int
    looks_swapped: bool | None = None


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


def read_train_image(folder: Path, data_root: Path, color_samples: Container[Path] = ()) -> TrainImage:
    """Reads one image folder and encodes its cells.

    Args:
        folder: The image folder.
        data_root: The folder that names of files are relative to.
        color_samples: The image folders whose images are asked whether red and blue look swapped.

    Raises:
        FileError: The folder, the image or a mask cannot be read, is a broken link, or is a pointer of Git LFS.
        LayoutError: The image is missing, a mask differs from it in size or orientation, a file is probably an image or
            mask with a wrong name, or the name of the folder is not UTF-8.
        ImageReadError: A file is no image, or a mask has values that are not instance ids.
    """
    def name_of(path: Path) -> str:
        return path.relative_to(data_root).as_posix()

    _refuse_other_encodings(folder)
    paths, leftovers = list_folder(folder)
    image_path = _find_image(folder, paths)
    with open_image(image_path) as image:
        image.check_pixels()
        is_swapped = file_looks_swapped(image) if folder in color_samples else None
    instances_by_class, empty_masks, doubts = {}, [], []
    masks = class_files(folder)
    for number, path in masks.items():
        label_map = _read_mask(path, image)
        instances = encode_label_map(label_map)
        if len(instances.ids):
            instances_by_class[number] = instances
            doubts.append((name_of(path), number, tuple(find_doubts(label_map, instances, number))))
        else:
            empty_masks.append(name_of(path))
    stray_files = [path for path in paths if path not in (image_path, *masks.values())]
    for path in stray_files:
        if _MISNAMED.fullmatch(path.name):
            raise LayoutError(f'{path}: is neither {IMAGE_FILE} nor class<number>.tif; rename or convert the file, or '
                              'move it away')
    return TrainImage(name_of(image_path), image.height, image.width, instances_by_class, tuple(empty_masks),
                      tuple(map(name_of, stray_files)), tuple(map(name_of, leftovers)), tuple(doubts), is_swapped)


def _find_image(folder: Path, paths: list[Path]) -> Path:
    images = [path for path in paths if _IMAGE_NAME.fullmatch(path.name)]
    if not images:
        contents = f'it has {list_some([path.name for path in paths])}' if paths else 'it is empty'
        raise LayoutError(f'{folder}: has no {IMAGE_FILE} ({contents}); add the image, or move the folder away')
    if len(images) > 1:
        raise LayoutError(f'{images[1]}: is a second image beside {images[0].name}; keep only one of them')
    refuse_unusable(images[0])
    return images[0]


def _read_mask(path: Path, image: ImageFile) -> np.ndarray:
    refuse_unusable(path)
    with open_image(path) as mask:
        label_map = mask.read_label_map()
    if mask.orientation != image.orientation:
        raise LayoutError(f'{path}: has the tag Orientation {mask.orientation}, but {IMAGE_FILE} has '
                          f'{image.orientation}, so that mask and image may be turned differently; if they lie on each '
                          'other as stored, remove the tag from both, otherwise save both upright')
    if (mask.height, mask.width) != (image.height, image.width):
        turned = (': it was saved with rows and columns exchanged'
                  if (mask.width, mask.height) == (image.height, image.width) else '')
        raise LayoutError(f'{path}: the mask is {mask.width} x {mask.height} px, but its image is '
                          f'{image.width} x {image.height} px (width x height){turned}')
    return label_map


def _refuse_other_encodings(path: Path) -> None:
    """Refuses a file or folder whose name is not UTF-8, because annotation files, logs and tables could not hold it."""
    if not is_encodable(path.name):
        raise LayoutError(f'{path}: the name is not UTF-8, as names from old archives and shares are: rename it, for '
                          'example with convmv -f latin1 -t utf8 --notest')


def read_test_ids(path: Path) -> list[TestImage]:
    """Reads the list of test images: a JSON list of ``{file_name, id, height, width}``.

    Raises:
        FileError: The file is a broken link, or cannot be read.
        LayoutError: The file is not such a JSON list, a file name has a folder, or an id or a file name repeats.
    """
    refuse_unusable(path)
    entries = read_json(path, LayoutError)
    if not isinstance(entries, list):
        raise LayoutError(f'{path}: is not a JSON list of {{file_name, id, height, width}}, but begins with '
                          f'{quote(entries)}')
    images = [_read_entry(entry, f'{path}: entry {index}') for index, entry in enumerate(entries, start=1)]
    for key, attribute in (('id', 'image_id'), ('file_name', 'file_name')):
        for value, count in Counter(getattr(image, attribute) for image in images).most_common(1):
            if count > 1:
                raise LayoutError(f'{path}: {key} {quote(value)} occurs more than once')
    return images


def _read_entry(entry: object, where: str) -> TestImage:
    missing = [key for key in ('file_name', 'id', 'height', 'width') if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise LayoutError(f'{where} is {quote(entry)}; {", ".join(missing)} expected, too')
    for key, lowest in (('id', 0), ('height', 1), ('width', 1)):
        if not is_integer(entry[key]) or not lowest <= entry[key] < 2**63:
            raise LayoutError(f'{where} has the {key} {quote(entry[key])}; a whole number from {lowest} is expected')
    if not is_bare_name(entry['file_name']):
        raise LayoutError(f"{where} has the file_name {quote(entry['file_name'])}; the name of a file in "
                          f'{TEST_FOLDER}/ is expected, without folders')
    return TestImage(entry['file_name'], entry['id'], entry['height'], entry['width'])


def check_test_image(image: TestImage, test_folder: Path, color_samples: Container[TestImage] = ()) -> TestImage:
    """Reads a test image, and compares its size with its entry in the id list.

    Args:
        image: The entry in the id list.
        test_folder: The folder of the test images.
        color_samples: The entries whose images are asked whether red and blue look swapped.

    Returns:
        The entry with the name that the file really has: letters may be upper-case or lower-case, and have their
        accents in another form of Unicode.

    Raises:
        FileError: The file cannot be read, is a broken link, or is a pointer of Git LFS.
        LayoutError: The file is missing, or its size differs from the entry.
        ImageReadError: The file is no image.
    """
    path = test_folder / _find_name(image.file_name, test_folder)
    _refuse_other_encodings(path)
    refuse_unusable(path)
    with open_image(path) as file:
        file.check_pixels()
        is_swapped = file_looks_swapped(file) if image in color_samples else None
    if (file.height, file.width) != (image.height, image.width):
        turned = ': height and width are exchanged' if (file.height, file.width) == (image.width, image.height) else ''
        raise LayoutError(f'{path}: is {file.width} x {file.height} px, but {image.width} x {image.height} px in the '
                          f'id list (width x height){turned}')
    return replace(image, file_name=path.name, looks_swapped=is_swapped)


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
