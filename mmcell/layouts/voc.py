"""Reading the layout of PASCAL VOC 2007–2012: JPEG images, masks as palette PNGs, and lists of image names."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mmcell.errors import in_one_line, quote
from mmcell.files.folders import refuse_unusable
from mmcell.files.text_files import read_json, read_text
from mmcell.images.image_file import ImageFile
from mmcell.images.limits import ImageReadError
from mmcell.layouts.base import Layout, LayoutError, LayoutOptions, Listing, Source, SourceCells
from mmcell.masks.rle import encode_label_map

# The classes in the order of their numbers, from 1. Source: VOCinit.m in the challenge's development kit. Tiny PASCAL
# VOC has the same classes with the same numbers.
CLASS_NAMES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
# The value of pixels that are not annotated, mostly the border around an object.
VOID = 255
IMAGE_FOLDER = 'JPEGImages'
OBJECT_FOLDER = 'SegmentationObject'
CLASS_FOLDER = 'SegmentationClass'
LIST_FOLDER = Path('ImageSets') / 'Segmentation'
# Pillow would start other programs for some formats.
_MASK_FORMATS = ('PNG', 'BMP', 'GIF', 'TIFF')
_SUFFIXES = ('jpg', 'jpeg', 'png', 'tif', 'tiff', 'bmp')


def read_image_names(path: str | Path) -> list[str]:
    """Reads a list of image names without folder and suffix, for example 2007_000033, in the order of the list.

    Args:
        path: A text file with one name per line, as in ``ImageSets/Segmentation``, or a COCO file with the suffix
            ``.json``, whose image names are returned.

    Raises:
        FileNotFoundError: The file does not exist.
        FileError: The file is a broken link, or cannot be read.
        LayoutError: The file has neither of the two forms, contains no name, contains a name twice, or a name is not
            that of a file directly in ``JPEGImages``.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no list of images {path}: check the path and the name of the split')
    refuse_unusable(path)
    names = [_image_name(entry, path) for entry in _read_entries(path)]
    if not names:
        raise LayoutError(f'{path}: contains no image name')
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise LayoutError(f'{path}: contains the image name {quote(name)} more than once')
    return names


def _read_entries(path: Path) -> list[str]:
    """Returns the lines of a text file that are not empty, or the file names of the images in a COCO file."""
    if path.suffix.lower() != '.json':
        return [line.strip() for line in read_text(path, LayoutError).splitlines() if line.strip()]
    document = read_json(path, LayoutError)
    images = document.get('images') if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise LayoutError(f'{path}: is not COCO JSON with a list of images')
    entries = [image.get('file_name') if isinstance(image, dict) else None for image in images]
    wrong = [entry for entry in entries if not isinstance(entry, str) or not entry.strip()]
    if wrong:
        raise LayoutError(f'{path}: {len(wrong)} of its images have no file_name that is text, but {quote(wrong[0])}')
    return entries


def _image_name(entry: str, path: Path) -> str:
    """Returns an entry of a list without folders and without the suffix of an image file."""
    name = entry.strip().replace('\\', '/').rpartition('/')[2]
    stem, _, suffix = name.rpartition('.')
    name = stem if suffix.lower() in _SUFFIXES and stem else name
    if name in ('', '.', '..') or len(name.split()) > 1 or not name.isprintable():
        raise LayoutError(f'{path}: {quote(entry)} is not an image name; one name per line is expected, without a '
                          f'second column, as in the lists in {LIST_FOLDER.as_posix()}')
    return name


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads the objects of one image, which are encoded as RLE.

    An object consists of all pixels that have its number in ``SegmentationObject``; they may form several separate
    pieces. Its class is the number that the same pixels have in ``SegmentationClass``. The border between objects,
    255 in both files, belongs to no object.

    Raises:
        FileError: A mask does not exist, is a broken link, or is a pointer of Git LFS.
        ImageReadError: A file cannot be read, or a mask is not an image of palette indices.
        LayoutError: The three files differ in size, or an object has no class, several classes, or a class above 20.
    """
    object_path, class_path = source.files
    for path in source.files:
        refuse_unusable(path)
    objects, classes = (_read_palette_indices(path, image) for path in source.files)
    objects[objects == VOID] = 0
    instances = encode_label_map(objects)
    class_numbers = _find_classes(instances.ids, objects, classes, f'{object_path} and {class_path}')
    return SourceCells({CLASS_NAMES[number - 1]: instances.take(class_numbers == number)
                        for number in np.unique(class_numbers).tolist()})


def _read_palette_indices(path: Path, image: ImageFile) -> np.ndarray:
    """Reads the palette indices, or grey values, (H, W) uint8 of a mask, of which OpenCV would return the colours."""
    try:
        # From a file, Pillow would read as many bytes as a part claims to have, for which Python reserves memory.
        with Image.open(io.BytesIO(path.read_bytes()), formats=_MASK_FORMATS) as mask:
            # Before it is decoded, because a small file can claim any size.
            if mask.size != (image.width, image.height):
                raise LayoutError(f'{path}: has (height, width) {mask.size[::-1]}, but {image.path} has '
                                  f'{(image.height, image.width)}')
            mode, indices = mask.mode, np.array(mask)
    except LayoutError:
        raise
    # A damaged file makes Pillow fail in many ways.
    except Exception as error:
        raise ImageReadError(f'{path}: cannot be read as an image: {in_one_line(error)}') from error
    if mode not in ('P', 'L'):
        raise ImageReadError(f'{path}: has pixels of mode {mode}; expected a palette image (mode P), as PASCAL VOC '
                             'publishes it, or a grey image with the same numbers (mode L)')
    return indices


def _find_classes(numbers: np.ndarray, objects: np.ndarray, classes: np.ndarray, source: str) -> np.ndarray:
    """Returns the class, (N,) int64, of each of the objects ``numbers`` (N,) in two maps (H, W)."""
    # Example: objects [[1 1 0], [2 2 2]] over classes [[5 255 0], [8 8 255]]. Without void and background the pixels
    # give the pairs (1, 5), (2, 8), (2, 8). The unique pairs are the columns of [[1 2], [5 8]]: object 1 has class 5,
    # and object 2 has class 8.
    is_known = (objects > 0) & (classes != VOID)
    pairs = np.unique(np.stack([objects[is_known], classes[is_known]]), axis=1)
    classes_of = {number: pairs[1, pairs[0] == number].tolist() for number in numbers.tolist()}
    for number, found in classes_of.items():
        if len(found) != 1 or not 1 <= found[0] <= len(CLASS_NAMES):
            raise LayoutError(f'{source}: object {number} has pixels with the class numbers {found}; expected exactly '
                              f'one number from 1 to {len(CLASS_NAMES)}, apart from void ({VOID})')
    return np.array([found[0] for found in classes_of.values()], np.int64)


def recognize(root: Path) -> str | None:
    """Returns what the folder contains, if it has the folders of PASCAL VOC."""
    has_all = all((root / folder).is_dir() for folder in (IMAGE_FOLDER, OBJECT_FOLDER, CLASS_FOLDER))
    return f'{IMAGE_FOLDER}/, {OBJECT_FOLDER}/ and {CLASS_FOLDER}/ of PASCAL VOC' if has_all else None


def find_sources(root: Path, options: LayoutOptions) -> Listing:
    """Lists the images that the lists of images name.

    Raises:
        FileNotFoundError: There is no list, or a list does not exist.
        LayoutError: A file is not a list of images, or an image is in two lists.
    """
    lists = options.lists or {part: root / LIST_FOLDER / f'{part}.txt' for part in ('train', 'val')}
    sources: dict[str, Source] = {}
    for part, path in lists.items():
        for name in read_image_names(path):
            if name in sources:
                raise LayoutError(f'{path}: contains the image {quote(name)}, which is in the list of the part '
                                  f'{sources[name].part} as well')
            masks = tuple(root / folder / f'{name}.png' for folder in (OBJECT_FOLDER, CLASS_FOLDER))
            sources[name] = Source(root / IMAGE_FOLDER / f'{name}.jpg', masks, part)
    return Listing(list(sources.values()), class_names=list(CLASS_NAMES))


LAYOUT = Layout('voc', f'PASCAL VOC: {IMAGE_FOLDER}/, {OBJECT_FOLDER}/, {CLASS_FOLDER}/, and lists in '
                f'{LIST_FOLDER.as_posix()}/', recognize, find_sources, read_cells, ('lists',), has_stains=False)
