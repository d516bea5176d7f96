"""The layout of PASCAL VOC 2007–2012: ``JPEGImages``, and masks as palette PNGs for the images of ``ImageSets``."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmcell.annotations.raw_layout import LayoutError, TrainImage
from mmcell.images.pixels import ImageReadError, read_image_size
from mmcell.masks.rle import EncodedInstances, encode_label_map

# In the order of their numbers, from 1: development kit of the challenge, VOCinit.m. Tiny PASCAL VOC has the same.
CLASS_NAMES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
VOID = 255
IMAGE_FOLDER = 'JPEGImages'
OBJECT_FOLDER = 'SegmentationObject'
CLASS_FOLDER = 'SegmentationClass'
LIST_FOLDER = Path('ImageSets') / 'Segmentation'


def read_image_names(path: str | Path) -> list[str]:
    """Image names such as 2007_000033, without folder and suffix, in the order of a list.

    Args:
        path: one name a line, as in ``ImageSets/Segmentation``; or ``.json``, the file names of a COCO file's images.

    Raises:
        FileNotFoundError: there is no such file.
        LayoutError: it is not such a list, has no name, or has one twice.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no list of images {path}')
    try:
        text = path.read_text(encoding='utf-8')
        is_coco = path.suffix.lower() == '.json'
        entries = [image['file_name'] for image in json.loads(text)['images']] if is_coco else text.split('\n')
        names = [Path(entry.strip()).stem for entry in entries if entry.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(f'{path}: one image name a line, or COCO JSON with images, expected: {error!r}') from error
    if not names:
        raise LayoutError(f'{path}: names no image')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise LayoutError(f'{path}: names {repeated[0]} more than once')
    return names


def read_voc_image(name: str, voc_root: Path) -> TrainImage:
    """One image with its objects, encoded.

    An object has the pixels that carry its number in ``SegmentationObject``, in however many components; its class
    is the number that the same pixels carry in ``SegmentationClass``. The border between objects, 255 in both, is
    nobody's.

    Raises:
        FileNotFoundError: the image or a mask is not there.
        ImageReadError: one cannot be read, or a mask is not an image of palette indices.
        LayoutError: the three differ in size, or an object has no class, several, or one above 20.
    """
    image_path = voc_root / IMAGE_FOLDER / f'{name}.jpg'
    object_path, class_path = (voc_root / folder / f'{name}.png' for folder in (OBJECT_FOLDER, CLASS_FOLDER))
    height, width = read_image_size(image_path)
    objects, classes = read_palette_indices(object_path), read_palette_indices(class_path)
    for path, indices in ((object_path, objects), (class_path, classes)):
        if indices.shape != (height, width):
            raise LayoutError(f'{path}: is {indices.shape}, but {image_path} is {(height, width)} (height, width)')
    objects[objects == VOID] = 0
    try:
        class_of_object = find_classes(objects, classes)
    except ValueError as error:
        raise LayoutError(f'{object_path} and {class_path}: {error}') from error
    return TrainImage(f'{IMAGE_FOLDER}/{name}.jpg', height, width, _encode_by_class(objects, class_of_object))


def read_palette_indices(path: str | Path) -> np.ndarray:
    """The indices (H, W) uint8 of a palette image, where OpenCV would give its colours; a grey image's values.

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read, or has colours.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no mask file {path}')
    try:
        with Image.open(path) as image:
            mode, indices = image.mode, np.array(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ImageReadError(f'{path}: cannot be read as an image: {error}') from error
    if mode not in ('P', 'L'):
        raise ImageReadError(f'{path}: has pixels of mode {mode}; a palette image (P) as PASCAL VOC publishes it, or a '
                             'grey one of the same numbers (L), expected')
    return indices


def find_classes(objects: np.ndarray, classes: np.ndarray) -> dict[int, int]:
    """The class of each object.

    Args:
        objects: (H, W) object numbers, 0 = no object.
        classes: (H, W) class numbers, 0 = background, 255 = void, which says nothing.

    Returns:
        Object number to class number, both ascending by object.

    Raises:
        ValueError: an object's pixels are of no class, of several, or of one that PASCAL VOC does not have.
    """
    is_known = (objects > 0) & (classes != VOID)
    pairs = np.unique(np.stack([objects[is_known], classes[is_known]]), axis=1)
    found: dict[int, int] = {}
    for number in np.unique(objects[objects > 0]).tolist():
        of_object = pairs[1, pairs[0] == number].tolist()
        if len(of_object) != 1 or not 1 <= of_object[0] <= len(CLASS_NAMES):
            raise ValueError(f'object {number} lies on the class numbers {of_object}; one of 1 to {len(CLASS_NAMES)} '
                             f'expected beside void ({VOID})')
        found[number] = of_object[0]
    return found


def _encode_by_class(objects: np.ndarray, class_of_object: dict[int, int]) -> dict[int, EncodedInstances]:
    """Class number, ascending, to its instances."""
    class_numbers = np.zeros(VOID + 1, np.uint8)
    class_numbers[list(class_of_object)] = list(class_of_object.values())
    classes = class_numbers[objects]
    return {number: encode_label_map(np.where(classes == number, objects, 0))
            for number in sorted(set(class_of_object.values()))}
