"""The images, classes and true cells of an annotation file as arrays, which predictions are held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from mmcell.annotations.coco_checks import SECTIONS
from mmcell.annotations.coco_json import AnnotationError, read_annotations
from mmcell.annotations.file_sets import info_of
from mmcell.annotations.folds import part_of_fold
from mmcell.annotations.id_list import TEST_FOLDER
from mmcell.classes.matching import match_classes
from mmcell.images.scale import to_mpp
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
        """Returns the number of cells of each class by its name; ``class_index`` (N,) is the class of each cell."""
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
        annotation_ids: (N,) int64, the ids in the annotation file.
        mpps: The micrometres per pixel that the file states for each of the I images; None for those without.
    """

    image_index: np.ndarray
    class_index: np.ndarray
    rles: list[dict]
    areas_px: np.ndarray
    boxes_xywh: np.ndarray
    is_crowd: np.ndarray
    annotation_ids: np.ndarray
    mpps: list[float | None]

    def of_images(self, is_kept: np.ndarray) -> 'GroundTruth':
        """Returns the images with a flag, (I,) bool, and their cells."""
        images, cells = np.flatnonzero(is_kept), np.flatnonzero(is_kept[self.image_index])
        return replace(
            self, image_ids=[self.image_ids[place] for place in images], sizes=self.sizes[images],
            file_names=[self.file_names[place] for place in images],
            image_index=new_indices(is_kept)[self.image_index[cells]], class_index=self.class_index[cells],
            rles=[self.rles[cell] for cell in cells], areas_px=self.areas_px[cells], boxes_xywh=self.boxes_xywh[cells],
            is_crowd=self.is_crowd[cells], annotation_ids=self.annotation_ids[cells],
            mpps=[self.mpps[place] for place in images])


def read_true_cells(path: str | Path, crowds_allowed: bool = True, fold: int | None = None) -> GroundTruth:
    """Reads an annotation file, which may have images without a cell, or no cell at all.

    Args:
        path: The file.
        crowds_allowed: Whether regions that are not annotated cell by cell are accepted.
        fold: The number of a fold, of which only the images are returned; None returns all images.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: :func:`mmcell.annotations.coco_json.read_annotations` refuses the file, or it has no such fold.
    """
    document = read_annotations(path, crowds_allowed=crowds_allowed)
    return to_ground_truth(part_of_fold(document, path, fold, held_out=True), path)


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
        document: The content, as :func:`mmcell.annotations.coco_json.read_annotations` returns it. Images lie in the
            folder that the entry ``info.data_root`` names relative to the file, or beside it.
        source: The file.
    """
    images, categories, annotations = (document[section] for section in SECTIONS)
    places = {image['id']: place for place, image in enumerate(images)}
    image_index = np.array([places[annotation['image_id']] for annotation in annotations], np.int64)
    if (image_index[1:] < image_index[:-1]).any():
        order = np.argsort(image_index, kind='stable')
        image_index, annotations = image_index[order], [annotations[place] for place in order.tolist()]
    place_of_class = {category['id']: place for place, category in enumerate(categories)}
    return GroundTruth(
        str(source), list(places), [image['file_name'] for image in images],
        np.array([(image['height'], image['width']) for image in images], np.int64).reshape(-1, 2),
        list(place_of_class), [category['name'] for category in categories],
        Path(source).parent / info_of(document).get('data_root', ''), info_of(document).get('channel_order') or 'rgb',
        image_index=image_index,
        class_index=np.array([place_of_class[annotation['category_id']] for annotation in annotations], np.int64),
        rles=[annotation['segmentation'] for annotation in annotations],
        areas_px=np.array([annotation['area'] for annotation in annotations], np.float64),
        boxes_xywh=np.fromiter(chain.from_iterable(annotation['bbox'] for annotation in annotations),
                               np.float64).reshape(-1, 4),
        is_crowd=np.array([annotation['iscrowd'] for annotation in annotations], bool),
        annotation_ids=np.array([annotation['id'] for annotation in annotations], np.int64),
        mpps=[to_mpp(image.get('mpp')) for image in images])
