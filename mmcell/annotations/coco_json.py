"""COCO annotation files: building them from raw images, writing them completely or not at all, and checking them."""

import json
from collections.abc import Iterable
from pathlib import Path

from mmcell.annotations.file_sets import describe_mixture, find_file_of_other_set
from mmcell.annotations.raw_layout import TestImage, TrainImage
from mmcell.errors import MmcellError
from mmcell.files.whole_files import remove_leftovers, written_whole


def categories(names: list[str]) -> list[dict]:
    """Returns COCO categories with these names, numbered from 1 in the same order."""
    return [{'id': number, 'name': name} for number, name in enumerate(names, start=1)]


def train_records(images: Iterable[TrainImage]) -> tuple[list[dict], list[dict]]:
    """Returns the COCO image records and annotation records of training images.

    Image ids and annotation ids each count from 1, in the order of the images and of the cells in them.
    """
    image_records, annotations = [], []
    for image_id, image in enumerate(images, start=1):
        image_records.append(
            {'id': image_id, 'file_name': image.file_name, 'height': image.height, 'width': image.width})
        for category_id, instances in image.instances_by_class.items():
            for rle, area_px, bbox_xywh in zip(
                    instances.rles, instances.areas_px.tolist(), instances.bboxes_xywh.tolist(), strict=True):
                annotations.append({
                    'id': len(annotations) + 1, 'image_id': image_id, 'category_id': category_id,
                    'segmentation': rle, 'area': area_px, 'bbox': bbox_xywh, 'iscrowd': 0})
    return image_records, annotations


def test_records(images: Iterable[TestImage], folder: str) -> list[dict]:
    """Returns COCO image records of test images.

    Args:
        images: The entries of the id list, whose ids are kept.
        folder: The folder of the image files, relative to the data root.
    """
    return [{'id': image.image_id, 'file_name': f'{folder}/{image.file_name}',
             'height': image.height, 'width': image.width} for image in images]


def subset(image_records: list[dict], annotations: list[dict], image_ids: set[int]) -> tuple[list[dict], list[dict]]:
    """Returns the image and annotation records of some images only.

    Ids are kept, so that an image has the same id in every file.
    """
    return ([record for record in image_records if record['id'] in image_ids],
            [annotation for annotation in annotations if annotation['image_id'] in image_ids])


def write_documents(documents: dict[Path, dict]) -> None:
    """Writes several JSON files. If one of them cannot be written, all older files of the same names stay as they were.

    All files are written under temporary names first, and are renamed when the last file is complete. Documents that
    belong together are marked by :func:`mmcell.annotations.file_sets.as_file_set` before: if the process is killed
    between two renames, :func:`read_annotations` then refuses the new files beside the old ones.

    Args:
        documents: The content of each file by its path.

    Raises:
        AnnotationError: A text cannot be written as UTF-8, because it comes from a file name whose bytes are not UTF-8.
        OSError: A file cannot be written.
    """
    for path in documents:
        remove_leftovers(path.parent, path.name.__eq__)
    with written_whole(documents) as temporary_paths:
        for path, temporary, document in zip(documents, temporary_paths, documents.values(), strict=True):
            try:
                with open(temporary, 'w', encoding='utf-8') as file:
                    json.dump(document, file, separators=(',', ':'), ensure_ascii=False)
            except UnicodeEncodeError as error:
                raise AnnotationError(f'{path}: cannot be written: the text {error.object!r:.200} is not Unicode. If '
                                      'it is the name of a file or folder, rename it') from error


class AnnotationError(MmcellError):
    """An annotation file contradicts itself or the config; the message says what is wrong."""


def read_annotations(path: str | Path) -> dict:
    """Reads a COCO annotation file and checks for mistakes that would silently ruin training or evaluation.

    Raises:
        FileNotFoundError: The file does not exist.
        AnnotationError: The file is not COCO JSON; an id repeats; an annotation or category id is not positive (COCO
            evaluation takes the annotation id 0 for "unmatched"); a class name is missing or repeats; or an annotation
            belongs to an image or a category that the file does not define; or a file of another conversion lies in
            the place of a file of the same set (:mod:`mmcell.annotations.file_sets`).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no annotation file {path}: make it with data_prep/to_coco.py (for PASCAL VOC with '
                                'data_prep/voc_to_coco.py), or name an existing file (in a config: ann_file)')
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        images, category_records = document['images'], document['categories']
        annotations = document.setdefault('annotations', [])
    # json raises ValueError also for numbers of thousands of digits, and RecursionError for too many nested levels.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AnnotationError(f'{path}: is not COCO JSON with images and categories: {error!r}') from error
    for key in ('images', 'categories', 'annotations'):
        if not isinstance(document[key], list):
            raise AnnotationError(f'{path}: {key} must be a list, got {str(document[key])[:60]!r}')
    image_ids = _unique_ids(images, 'image', path)
    category_ids = _unique_ids(category_records, 'category', path, must_be_positive=True)
    _unique_ids(annotations, 'annotation', path, must_be_positive=True)
    names = [category.get('name') for category in category_records]
    if not all(isinstance(name, str) for name in names):
        raise AnnotationError(f'{path}: every category must have a name that is text, got {names}')
    if len(set(names)) < len(names):
        raise AnnotationError(f'{path}: two categories have the same name: {names}')
    for annotation in annotations:
        for key, defined_ids in (('image_id', image_ids), ('category_id', category_ids)):
            if not isinstance(annotation.get(key), int) or annotation[key] not in defined_ids:
                raise AnnotationError(f"{path}: annotation {annotation['id']} has {key} {annotation.get(key)!r}, "
                                      'which the file does not define')
    other = find_file_of_other_set(path, document)
    if other is not None:
        raise AnnotationError(describe_mixture(path, other))
    return document


def _unique_ids(records: list[dict], kind: str, path: Path, must_be_positive: bool = False) -> set[int]:
    """Checks the ids of records and returns them; messages call the records by the name ``kind``."""
    ids = [record.get('id') if isinstance(record, dict) else None for record in records]
    if not all(isinstance(value, int) for value in ids):
        raise AnnotationError(f'{path}: every {kind} must have an integer id')
    if len(set(ids)) < len(ids):
        raise AnnotationError(f'{path}: {kind} ids are not unique')
    if must_be_positive and ids and min(ids) < 1:
        raise AnnotationError(f'{path}: {kind} ids must start at 1, found {min(ids)}')
    return set(ids)
