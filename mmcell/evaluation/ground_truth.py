"""Reads and checks the true cells that predictions are measured against."""

from collections import Counter
from pathlib import Path

from mmcell.annotations.coco_json import AnnotationError, read_annotations
from mmcell.annotations.raw_layout import TEST_FOLDER


def read_ground_truth(path: str | Path) -> dict:
    """Reads a COCO annotation file with true cells that predictions can be measured against.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: :func:`mmcell.annotations.coco_json.read_annotations` refuses the file, or there is no image,
            no true cell, or a region that is not annotated cell by cell.
    """
    document = read_annotations(path, crowds_allowed=False)
    if not document['images']:
        raise AnnotationError(f'{path} contains no image')
    if not document['annotations']:
        raise AnnotationError(f"{path} contains no true cell to measure against in its {len(document['images'])} "
                              'images. Predictions of test images whose cells are unknown can be submitted with '
                              'tools/submit.py')
    return document


def count_by_class(document: dict, records: list[dict]) -> dict[str, int]:
    """Returns the number of annotations or detections of each class by its name, in the order of the categories."""
    counts = Counter(record['category_id'] for record in records)
    return {category['name']: counts[category['id']] for category in document['categories']}


def is_test_data(path: str | Path, document: dict) -> bool:
    """Whether an annotation file says that its images are test data.

    It does so if its name contains the word "test", for example ``test.json``, or if an image lies in a folder ``test``
    or ``test_release``. Test data under other names is not recognized.
    """
    words = ''.join(letter if letter.isalpha() else ' ' for letter in Path(path).stem.lower()).split()
    return 'test' in words or any(
        {'test', TEST_FOLDER} & set(Path(str(image.get('file_name', '')).lower()).parts[:-1])
        for image in document['images'])
