"""COCO annotation files: built from raw images, written whole or not at all, and checked when they are read."""

import json
from collections.abc import Iterable
from pathlib import Path

from mmcell.annotations.raw_layout import TestImage, TrainImage
from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole


def categories(names: list[str]) -> list[dict]:
    """COCO categories numbered from 1 in the order given."""
    return [{'id': number, 'name': name} for number, name in enumerate(names, start=1)]


def train_records(images: Iterable[TrainImage]) -> tuple[list[dict], list[dict]]:
    """COCO image and annotation records; image and annotation ids run from 1 in the order given."""
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
    """COCO image records of test images that lie in ``folder``, relative to the data root."""
    return [{'id': image.image_id, 'file_name': f'{folder}/{image.file_name}',
             'height': image.height, 'width': image.width} for image in images]


def subset(image_records: list[dict], annotations: list[dict], image_ids: set[int]) -> tuple[list[dict], list[dict]]:
    """The records of some images; ids are kept, so that an image has the same id in every file."""
    return ([record for record in image_records if record['id'] in image_ids],
            [annotation for annotation in annotations if annotation['image_id'] in image_ids])


def write_all(documents: dict[Path, dict]) -> None:
    """Writes JSON files so that a run that fails leaves every old file as it was.

    All are written under temporary names first and renamed when the last is complete.
    """
    with written_whole(documents) as temporary:
        for path, document in zip(temporary, documents.values(), strict=True):
            with open(path, 'w', encoding='utf-8') as file:
                json.dump(document, file, separators=(',', ':'), ensure_ascii=False)


class AnnotationError(MmcellError):
    """An annotation file contradicts itself or the config; the message says how, and what to do."""


def read_annotations(path: str | Path) -> dict:
    """Reads a COCO annotation file and checks what silently ruins training or evaluation.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: not COCO JSON; ids that repeat or are not positive (COCO evaluation takes annotation id 0
            for "unmatched"); class names that are missing or repeat; an annotation of an unknown image or category.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no annotation file {path}: make it with data_prep/to_coco.py (PASCAL VOC: '
                                'data_prep/voc_to_coco.py), or set ann_file')
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        images, cats = document['images'], document['categories']
        annotations = document.setdefault('annotations', [])
    # ValueError: also numbers of thousands of digits. RecursionError: nested too deep.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AnnotationError(f'{path}: COCO JSON with images and categories expected: {error!r}') from error
    for key in ('images', 'categories', 'annotations'):
        if not isinstance(document[key], list):
            raise AnnotationError(f'{path}: {key} must be a list, got {str(document[key])[:60]!r}')
    image_ids = _unique_ids(images, 'image', path)
    category_ids = _unique_ids(cats, 'category', path, positive=True)
    _unique_ids(annotations, 'annotation', path, positive=True)
    names = [category.get('name') for category in cats]
    if not all(isinstance(name, str) for name in names):
        raise AnnotationError(f'{path}: every category must have a name')
    if len(set(names)) < len(names):
        raise AnnotationError(f'{path}: two categories have the same name: {names}')
    for annotation in annotations:
        for key, known in (('image_id', image_ids), ('category_id', category_ids)):
            if not isinstance(annotation.get(key), int) or annotation[key] not in known:
                raise AnnotationError(f"{path}: annotation {annotation['id']} has {key} {annotation.get(key)!r}, "
                                      'which the file does not define')
    return document


def _unique_ids(records: list[dict], what: str, path: Path, positive: bool = False) -> set[int]:
    ids = [record.get('id') if isinstance(record, dict) else None for record in records]
    if not all(isinstance(value, int) for value in ids):
        raise AnnotationError(f'{path}: every {what} must have an integer id')
    if len(set(ids)) < len(ids):
        raise AnnotationError(f'{path}: {what} ids are not unique')
    if positive and ids and min(ids) < 1:
        raise AnnotationError(f'{path}: {what} ids must start at 1, found {min(ids)}')
    return set(ids)
