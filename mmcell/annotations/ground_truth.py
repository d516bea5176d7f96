"""The images, classes and true cells of an annotation file as arrays, which predictions are held against."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mmcell.annotations.channel_order import stated_channel_order
from mmcell.annotations.coco_json import AnnotationError, read_annotations
from mmcell.annotations.raw_layout import TEST_FOLDER
from mmcell.classes.matching import match_classes
from mmcell.errors import quote
from mmcell.files.text_files import is_integer
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.ragged import new_indices


@dataclass(frozen=True)
class ImageSource:
    """The file of an image, and how it is read; the arguments of :func:`mmcell.images.image_file.read_image`."""

    path: Path
    channel_order: str = 'rgb'
    percentiles: tuple[float, float] | None = None


@dataclass(frozen=True)
class ImageSet:
    """I images and C classes of a file, in its order. Cells name their image and their class by these places.

    Attributes:
        source: The file, for messages.
        image_ids: I ids.
        file_names: I file names, relative to ``folder``.
        sizes: (I, 2) int64, height and width in px.
        class_ids: C category ids.
        class_names: C names, or None if the file does not name its classes.
        folder: The folder of the images.
        channel_order: The order of the channels in image files, 'rgb' or 'bgr'.
    """

    source: str
    image_ids: list[int]
    file_names: list[str]
    sizes: np.ndarray
    class_ids: list[int]
    class_names: list[str] | None
    folder: Path
    channel_order: str

    @cached_property
    def place_of_image(self) -> dict[int, int]:
        """The place of each image by its id."""
        return {image_id: place for place, image_id in enumerate(self.image_ids)}

    @cached_property
    def place_of_class(self) -> dict[int, int]:
        """The place of each class by its category id."""
        return {class_id: place for place, class_id in enumerate(self.class_ids)}

    def image_source(self, place: int) -> ImageSource:
        """Returns where the annotation file says that an image lies."""
        return ImageSource(self.folder / self.file_names[place], self.channel_order)

    def classes_of_labels(self, names: Sequence[str] | None, source: str) -> np.ndarray:
        """Returns the place of the class of each label, (C,) int64.

        Args:
            names: The names of the classes in the order of the labels. If they are None, or the file has no names, the
                labels stand for the classes in the order of the file.
            source: Where the labels come from, for messages.

        Raises:
            ClassesError: The names are not those of the file.
        """
        if names is None or self.class_names is None:
            return np.arange(len(self.class_ids))
        return np.array(match_classes(names, self.class_names, source, self.source), np.int64)

    def count_by_class(self, class_index: np.ndarray) -> dict[str, int]:
        """Returns the number of cells of each class by its name.

        Args:
            class_index: (N,) int64, the class of each cell.
        """
        counts = np.bincount(class_index, minlength=len(self.class_ids)).tolist()
        return dict(zip(self.class_names, counts, strict=True))

    def is_test_data(self) -> bool:
        """Whether the annotation file says that its images are test data.

        It does so if its name contains the word "test", for example ``test.json``, or if an image lies in a folder
        ``test`` or ``test_release``. Test data under other names is not recognized.
        """
        words = ''.join(letter if letter.isalpha() else ' ' for letter in Path(self.source).stem.lower()).split()
        return 'test' in words or any({'test', TEST_FOLDER} & set(Path(name.lower()).parts[:-1])
                                      for name in self.file_names)


@dataclass(frozen=True)
class GroundTruth(ImageSet):
    """The images and classes of an annotation file with their N true cells, image after image.

    Attributes:
        image_index: (N,) int64, ascending, the place of the image of each cell.
        class_index: (N,) int64, the place of the class of each cell.
        rles: N masks as compressed COCO RLEs of the size of their image.
        areas_px: (N,) float64, the areas in the annotation file.
        boxes_xywh: (N, 4) float64 in px.
        is_crowd: (N,) bool, whether it is a region that is not annotated cell by cell (``iscrowd``).
    """

    image_index: np.ndarray
    class_index: np.ndarray
    rles: list[dict]
    areas_px: np.ndarray
    boxes_xywh: np.ndarray
    is_crowd: np.ndarray

    def of_images(self, is_kept: np.ndarray) -> 'GroundTruth':
        """Returns the images with a flag, (I,) bool, and their cells."""
        images, cells = np.flatnonzero(is_kept), np.flatnonzero(is_kept[self.image_index])
        return replace(
            self, image_ids=[self.image_ids[place] for place in images], sizes=self.sizes[images],
            file_names=[self.file_names[place] for place in images],
            image_index=new_indices(is_kept)[self.image_index[cells]], class_index=self.class_index[cells],
            rles=[self.rles[cell] for cell in cells], areas_px=self.areas_px[cells], boxes_xywh=self.boxes_xywh[cells],
            is_crowd=self.is_crowd[cells])


def read_true_cells(path: str | Path, crowds_allowed: bool = True) -> GroundTruth:
    """Reads an annotation file, which may have images without a cell, or no cell at all.

    Args:
        path: The file.
        crowds_allowed: Whether regions that are not annotated cell by cell are accepted.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: :func:`mmcell.annotations.coco_json.read_annotations` refuses the file, or it states a channel
            order that does not exist.
    """
    return to_ground_truth(read_annotations(path, crowds_allowed=crowds_allowed), path)


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Reads an annotation file with true cells that predictions can be measured against.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: :func:`read_true_cells` refuses the file, or there is no image, no true cell, or a region that
            is not annotated cell by cell.
    """
    truth = read_true_cells(path, crowds_allowed=False)
    if not truth.image_ids:
        raise AnnotationError(f'{path} contains no image')
    if not truth.rles:
        raise AnnotationError(f'{path} contains no true cell to measure against in its {len(truth.image_ids)} images. '
                              'Predictions of test images whose cells are unknown can be submitted with '
                              'tools/submit.py')
    return truth


def to_ground_truth(document: dict, source: str | Path = 'the annotation file') -> GroundTruth:
    """Returns the content of an annotation file as arrays.

    Args:
        document: COCO ground truth with lists of ``images`` (id, height, width), ``categories`` (id, name) and
            ``annotations`` (image_id, category_id, area). Annotations have a ``segmentation``, or else masks cannot be
            measured, and a ``bbox``, or else boxes cannot be measured.
        source: The file, which is the name in messages; images lie in the folder that the entry ``info.data_root``
            names relative to it, or beside it.

    Raises:
        AnnotationError: There are no categories, an image or a category of an annotation is unknown, a key is missing,
            or a mask has another size than its image or cannot be converted to an RLE.
    """
    frame = _to_image_set(document, source)
    annotations = _value_of(document, source, 'annotations')
    image_index = _places(annotations, 'image_id', frame.place_of_image, 'images')
    class_index = _places(annotations, 'category_id', frame.place_of_class, 'categories')
    order = np.argsort(image_index, kind='stable')
    annotations, image_index = [annotations[index] for index in order], image_index[order]
    boxes_xywh = [annotation.get('bbox') or [np.nan] * 4 for annotation in annotations]
    sizes = frame.sizes.tolist()
    return GroundTruth(
        **{field.name: getattr(frame, field.name) for field in fields(frame)}, image_index=image_index,
        class_index=class_index[order], rles=[
            _to_rle(annotation, sizes[place]) for annotation, place in zip(annotations, image_index, strict=True)],
        areas_px=np.array([_value_of(annotation, 'annotation', 'area') for annotation in annotations], np.float64),
        boxes_xywh=np.array(boxes_xywh, np.float64).reshape(-1, 4),
        is_crowd=np.array([annotation.get('iscrowd', 0) for annotation in annotations], bool))


def _to_image_set(document: dict, source: str | Path) -> ImageSet:
    images, categories = (_value_of(document, source, section) for section in ('images', 'categories'))
    if not categories:
        raise AnnotationError(f'{source} has no categories; at least one is needed')
    info = document.get('info') if isinstance(document.get('info'), dict) else {}
    sizes = [[_value_of(image, 'image', key) for key in ('height', 'width')] for image in images]
    return ImageSet(
        str(source), [_value_of(image, 'image', 'id') for image in images],
        [image.get('file_name', '') for image in images], np.array(sizes, np.int64).reshape(-1, 2),
        *([_value_of(category, 'category', key) for category in categories] for key in ('id', 'name')),
        Path(source).parent / info.get('data_root', ''), stated_channel_order(document, source) or 'rgb')


def _value_of(record: dict, name: str | Path, key: str) -> object:
    if key not in record:
        number = f" {quote(record['id'])}" if 'id' in record else ''
        raise AnnotationError(f'{name}{number} has no {key}, which COCO evaluation needs')
    return record[key]


def _places(annotations: Sequence[dict], key: str, place_of: dict[int, int], section: str) -> np.ndarray:
    """Returns (N,) int64, the place of the image or class whose id each annotation has under a key."""
    values = [_value_of(annotation, 'annotation', key) for annotation in annotations]
    try:
        return np.array([place_of[value] for value in values], np.int64)
    except (KeyError, TypeError) as error:  # an id that is unknown, or a value that cannot be an id
        annotation = next(annotation for annotation, value in zip(annotations, values, strict=True)
                          if not is_integer(value) or value not in place_of)
        raise AnnotationError(f"annotation {quote(annotation.get('id'))}: {key} {quote(annotation[key])} is not the id "
                              f'of one of the {section}') from error


def _to_rle(annotation: dict, size: list[int]) -> dict | None:
    """Returns the mask of an annotation as a compressed RLE that is not decoded yet, or None if there is no mask."""
    mask = annotation.get('segmentation')
    is_rle = isinstance(mask, dict) and isinstance(mask.get('counts'), str) and mask.get('size') == size
    if mask is None or is_rle:
        return mask
    (rle,), problems = to_compressed_rles([mask], [tuple(size)])
    if problems:
        raise AnnotationError(f"annotation {quote(annotation.get('id'))}: {problems[0]}")
    return rle
