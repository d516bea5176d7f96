"""The raw layout of the task: ``train/<name>/image.tif`` with ``class<k>.tif``, and ``test_release/<name>.tif``."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.images.pixels import read_image_size, read_label_map
from mmcell.masks.rle import EncodedInstances, encode_label_map

TRAIN_FOLDER = 'train'
TEST_FOLDER = 'test_release'
IMAGE_FILE = 'image.tif'
TEST_IDS_FILE = 'test_image_name_to_ids.json'
_CLASS_FILE = re.compile(r'class(\d+)\.tiff?', re.IGNORECASE)


class LayoutError(MmcellError):
    """The folders are not as the layout says; the message names the path, what was found and what to do."""


@dataclass(frozen=True)
class TrainImage:
    """One image with its cells, encoded.

    Attributes:
        file_name: path of the image relative to the data root, with forward slashes.
        instances_by_class: class number (from the file name) to its instances.
        empty_masks: class files that have no cell, relative to the data root.
        stray_files: files in the folder that are neither image nor masks, relative to the data root.
    """

    file_name: str
    height: int
    width: int
    instances_by_class: dict[int, EncodedInstances] = field(default_factory=dict)
    empty_masks: tuple[str, ...] = ()
    stray_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestImage:
    """One entry of the test id list."""

    file_name: str
    image_id: int
    height: int
    width: int


def find_train_folders(data_root: Path) -> list[Path]:
    """The folders under ``train/`` by name.

    Raises:
        LayoutError: there are none.
    """
    train = data_root / TRAIN_FOLDER
    folders = sorted(path for path in train.iterdir() if path.is_dir()) if train.is_dir() else []
    if not folders:
        raise LayoutError(f'no image folders in {train}: {TRAIN_FOLDER}/<name>/{IMAGE_FILE} with class1.tif … expected')
    return folders


def class_files(folder: Path) -> dict[int, Path]:
    """Class number to mask file of one image folder, by number.

    Raises:
        LayoutError: a class is numbered 0, or two files have the same number.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _CLASS_FILE.fullmatch(path.name)
        if match is None:
            continue
        number = int(match.group(1))
        if number == 0:
            raise LayoutError(f'{path}: classes are numbered from 1 (0 means "unmatched" to COCO evaluation)')
        if number in files:
            raise LayoutError(f'{path}: class {number} has a second file, {files[number].name}')
        files[number] = path
    return dict(sorted(files.items()))


def read_train_image(folder: Path, data_root: Path) -> TrainImage:
    """Reads and encodes one image folder.

    Raises:
        LayoutError: the image is missing, a mask has another size than it, or a TIFF is neither.
        ImageReadError: a file cannot be read, or a mask holds other things than ids.
    """
    image_path = folder / IMAGE_FILE
    if not image_path.exists():
        raise LayoutError(f'{folder}: has no {IMAGE_FILE}')
    height, width = read_image_size(image_path)
    instances_by_class, empty_masks = {}, []
    masks = class_files(folder)
    for number, path in masks.items():
        label_map = read_label_map(path)
        if label_map.shape != (height, width):
            raise LayoutError(f'{path}: the mask is {label_map.shape[1]} x {label_map.shape[0]} px, '
                              f'its image {width} x {height} px')
        instances = encode_label_map(label_map)
        if len(instances.ids):
            instances_by_class[number] = instances
        else:
            empty_masks.append(path.relative_to(data_root).as_posix())
    stray_files = sorted(set(folder.iterdir()) - {image_path, *masks.values()})
    for path in stray_files:
        if path.suffix.lower() in ('.tif', '.tiff'):
            raise LayoutError(f'{path}: is neither {IMAGE_FILE} nor class<number>.tif; rename it, or move it away')
    return TrainImage(image_path.relative_to(data_root).as_posix(), height, width, instances_by_class,
                      tuple(empty_masks), tuple(path.relative_to(data_root).as_posix() for path in stray_files))


def read_test_ids(path: Path) -> list[TestImage]:
    """Reads an id list: a JSON list of ``{file_name, id, height, width}``.

    Raises:
        LayoutError: it is not such a list, or ids or file names repeat.
    """
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        images = [TestImage(str(entry['file_name']), *(_as_int(entry[key]) for key in ('id', 'height', 'width')))
                  for entry in entries]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise LayoutError(f'{path}: a JSON list of {{file_name, id, height, width}} expected: {error!r}') from error
    for values, what in (([image.image_id for image in images], 'id'),
                         ([image.file_name for image in images], 'file_name')):
        repeated = {value for value in values if values.count(value) > 1}
        if repeated:
            raise LayoutError(f'{path}: {what} {sorted(repeated)[0]!r} is there more than once')
    return images


def _as_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'{value!r} is not an integer')
    return value


def check_test_image(image: TestImage, test_folder: Path) -> TestImage:
    """Reads a test image and compares its size with the id list; gives the entry back.

    Raises:
        LayoutError: the file is missing or has another size.
        ImageReadError: it cannot be read.
    """
    path = test_folder / image.file_name
    if not path.exists():
        raise LayoutError(f'{path}: is in the id list, but there is no such file')
    height, width = read_image_size(path)
    if (height, width) != (image.height, image.width):
        raise LayoutError(f'{path}: is {width} x {height} px, in the id list {image.width} x {image.height} px')
    return image

