"""Reading the raw layout: ``train/<name>/image.tif`` with ``class<k>.tif``, and ``test_release/<name>.tif``."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.images.pixels import read_image_size, read_label_map, read_orientation
from mmcell.masks.rle import EncodedInstances, encode_label_map

TRAIN_FOLDER = 'train'
TEST_FOLDER = 'test_release'
IMAGE_FILE = 'image.tif'
TEST_IDS_FILE = 'test_image_name_to_ids.json'
_CLASS_FILE = re.compile(r'class(\d+)\.tiff?', re.IGNORECASE)


class LayoutError(MmcellError):
    """Files or folders do not follow the raw layout; the message says which path, what was found and what to do."""


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
    """

    file_name: str
    height: int
    width: int
    instances_by_class: dict[int, EncodedInstances] = field(default_factory=dict)
    empty_masks: tuple[str, ...] = ()
    stray_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestImage:
    """One entry of the list of test images and their ids.

    Attributes:
        file_name: The name of the image file in the folder of the test images.
        image_id: The id of the image in submissions.
        height: The height of the image in px.
        width: The width of the image in px.
    """

    file_name: str
    image_id: int
    height: int
    width: int


def find_train_folders(data_root: Path) -> list[Path]:
    """Returns the image folders under ``train/``, sorted by name.

    Raises:
        LayoutError: There is no folder ``train/``, or it contains no folder.
    """
    train = data_root / TRAIN_FOLDER
    folders = sorted(path for path in train.iterdir() if path.is_dir()) if train.is_dir() else []
    if not folders:
        raise LayoutError(f'no image folders in {train}: expected {TRAIN_FOLDER}/<name>/{IMAGE_FILE} with class1.tif … '
                          'beside it')
    return folders


def class_files(folder: Path) -> dict[int, Path]:
    """Returns the mask files of one image folder by class number, in ascending order.

    Raises:
        LayoutError: A class is numbered 0, or two files have the same class number.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _CLASS_FILE.fullmatch(path.name)
        if match is None:
            continue
        number = int(match.group(1))
        if number == 0:
            raise LayoutError(f'{path}: has the class number 0, but classes are numbered from 1; rename the file')
        if number in files:
            raise LayoutError(f'{path}: class {number} has a second file, {files[number].name}; keep only one of them')
        files[number] = path
    return dict(sorted(files.items()))


def read_train_image(folder: Path, data_root: Path) -> TrainImage:
    """Reads one image folder and encodes its cells.

    Raises:
        LayoutError: The image is missing, a mask differs from it in size or orientation, or a TIFF is neither the image
            nor a mask.
        ImageReadError: A file cannot be read, or a mask has values that are not instance ids.
    """
    image_path = folder / IMAGE_FILE
    if not image_path.exists():
        raise LayoutError(f'{folder}: has no {IMAGE_FILE}; add the image, or move the folder away')
    height, width = read_image_size(image_path)
    orientation = read_orientation(image_path)
    instances_by_class, empty_masks = {}, []
    masks = class_files(folder)
    for number, path in masks.items():
        label_map = read_label_map(path)
        if read_orientation(path) != orientation:
            raise LayoutError(f'{path}: has the tag Orientation {read_orientation(path)}, but {IMAGE_FILE} has '
                              f'{orientation}, so that mask and image may be turned differently; if they lie on each '
                              'other as stored, remove the tag from both, otherwise save both upright')
        if label_map.shape != (height, width):
            raise LayoutError(f'{path}: the mask is {label_map.shape[1]} x {label_map.shape[0]} px, but its image is '
                              f'{width} x {height} px (width x height)')
        instances = encode_label_map(label_map)
        if len(instances.ids):
            instances_by_class[number] = instances
        else:
            empty_masks.append(path.relative_to(data_root).as_posix())
    stray_files = sorted(set(folder.iterdir()) - {image_path, *masks.values()})
    for path in stray_files:
        if path.suffix.lower() in ('.tif', '.tiff'):
            raise LayoutError(f'{path}: is neither {IMAGE_FILE} nor class<number>.tif; rename the file, or move it '
                              'away')
    return TrainImage(image_path.relative_to(data_root).as_posix(), height, width, instances_by_class,
                      tuple(empty_masks), tuple(path.relative_to(data_root).as_posix() for path in stray_files))


def read_test_ids(path: Path) -> list[TestImage]:
    """Reads the list of test images: a JSON list of ``{file_name, id, height, width}``.

    Raises:
        LayoutError: The file is not a JSON list of this form, or an id or a file name repeats.
    """
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        images = [TestImage(str(entry['file_name']), *(_as_int(entry[key]) for key in ('id', 'height', 'width')))
                  for entry in entries]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise LayoutError(f'{path}: is not a JSON list of {{file_name, id, height, width}}: {error!r}') from error
    for values, key in (([image.image_id for image in images], 'id'),
                        ([image.file_name for image in images], 'file_name')):
        repeated = {value for value in values if values.count(value) > 1}
        if repeated:
            raise LayoutError(f'{path}: {key} {sorted(repeated)[0]!r} occurs more than once')
    return images


def _as_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'{value!r} is not an integer')
    return value


def check_test_image(image: TestImage, test_folder: Path) -> TestImage:
    """Reads a test image, compares its size with its entry in the id list, and returns the entry unchanged.

    Raises:
        LayoutError: The file is missing, or its size differs from the entry.
        ImageReadError: The file cannot be read.
    """
    path = test_folder / image.file_name
    if not path.exists():
        raise LayoutError(f'{path}: is in the id list, but the file does not exist')
    height, width = read_image_size(path)
    if (height, width) != (image.height, image.width):
        raise LayoutError(f'{path}: is {width} x {height} px, but {image.width} x {image.height} px in the id list '
                          '(width x height)')
    return image
