"""Submission files: a zip with ``test-results.json``, which is checked before it is written, and later on request."""

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pycocotools.mask

from mmcell.annotations.coco_json import read_annotations
from mmcell.annotations.raw_layout import to_test_images
from mmcell.errors import MmcellError, quote
from mmcell.files.text_files import parse_json, read_json
from mmcell.files.whole_files import written_whole
from mmcell.masks.rle import areas_px
from mmcell.predictions.categories import Categories
from mmcell.predictions.checks import is_finite_number, is_integer, leaves_image, shortened
from mmcell.predictions.dump_file import drop_empty_and_repeated
from mmcell.predictions.limits import LIMITS, exceeds

MEMBER = 'test-results.json'
KEYS = {'image_id', 'bbox', 'score', 'category_id', 'segmentation'}
TASK_CATEGORY_IDS = [1, 2, 3, 4]


class SubmissionError(MmcellError):
    """A submission is not valid; the message lists the errors."""


@dataclass(frozen=True)
class TestSet:
    """The images and categories that the detections of a submission must belong to.

    Attributes:
        sizes: Maps each image id to (height, width) in px.
        file_names: Maps each image id to the file name.
        categories: The category ids that are allowed, with the names of the classes if the file has them.
    """

    sizes: dict[int, tuple[int, int]]
    file_names: dict[int, str]
    categories: Categories

    @property
    def category_ids(self) -> list[int]:
        """The category ids that are allowed."""
        return self.categories.ids


@dataclass
class SubmissionReport:
    """The result of a check: errors make the submission invalid, remarks do not."""

    n_detections: int = 0
    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read_test_set(path: str | Path) -> TestSet:
    """Reads an annotation file, or the challenge's id list (a JSON list of dicts with file_name, id, height, width).

    An id list has no categories; the four categories of the challenge, 1 to 4, are used for it.

    Args:
        path: The annotation file, ``annotations/test.json``, or the id list, ``test_image_name_to_ids.json``.

    Raises:
        FileNotFoundError: The file does not exist.
        MmcellError: The file is neither an annotation file that :func:`mmcell.annotations.coco_json.read_annotations`
            accepts, nor an id list in which every image has its own id and name.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no annotation file or id list {path}')
    document = read_json(path, SubmissionError)
    if isinstance(document, list):
        images = to_test_images(document, path)
        return TestSet({image.image_id: (image.height, image.width) for image in images},
                       {image.image_id: image.file_name for image in images},
                       Categories(TASK_CATEGORY_IDS, None, str(path)))
    document = read_annotations(path)
    return TestSet({image['id']: (image['height'], image['width']) for image in document['images']},
                   {image['id']: image['file_name'] for image in document['images']},
                   Categories.of_document(document, str(path)))


def check_detections(detections: object, test_set: TestSet) -> SubmissionReport:
    """Checks COCO results against a test set.

    Errors are: anything but a list of dicts with exactly the keys of the format; an unknown image or category; a score
    that is not a finite number in [0, 1]; a box that is not four finite numbers with positive sides; an RLE that has
    another size than its image, does not decode, or has no pixel; the same mask twice in one class of one image.

    Remarks are about images without a detection, and about boxes that extend beyond their image, as boxes do that were
    written as x1, y1, x2, y2 instead of x, y, width, height.

    Args:
        detections: The content of ``test-results.json``, as JSON gives it.
        test_set: The images and categories that the detections must belong to.
    """
    report = SubmissionReport()
    if not isinstance(detections, list):
        report.errors.append(f'a list of detections expected, got {type(detections).__name__}')
        return report
    report.n_detections = len(detections)
    seen: dict[tuple, int] = {}
    n_outside = 0
    for index, detection in enumerate(detections):
        problem = _problem_of(detection, test_set)
        if problem is None:
            key = (detection['image_id'], detection['category_id'], detection['segmentation']['counts'])
            if seen.setdefault(key, index) != index:
                problem = f'has the same mask and class as detection {seen[key]}'
            n_outside += leaves_image(detection['bbox'], test_set.sizes[detection['image_id']])
        if problem is not None:
            report.errors.append(f'detection {index}: {problem}')
    if n_outside:
        report.remarks.append(f'{n_outside} boxes leave their image: were they written as x1, y1, x2, y2? COCO expects '
                              'x, y, width, height (the AP of masks does not depend on boxes, but AP by size does)')
    found = {key[0] for key in seen}
    without = [f'{image_id} ({name})' for image_id, name in test_set.file_names.items() if image_id not in found]
    if without:
        report.remarks.append(f'{len(without)} of {len(test_set.sizes)} images have no detection: '
                              + shortened(without, ', '))
    return report


def _problem_of(detection: object, test_set: TestSet) -> str | None:
    """Describes what is wrong with one detection; None if it is valid."""
    if not isinstance(detection, dict) or detection.keys() != KEYS:
        return f'a dict with {sorted(KEYS)} expected, got {quote(detection)}'
    size = test_set.sizes.get(detection['image_id']) if is_integer(detection['image_id']) else None
    if size is None:
        return f"unknown image_id {quote(detection['image_id'])}"
    if not is_integer(detection['category_id']) or detection['category_id'] not in test_set.category_ids:
        return f"category_id {quote(detection['category_id'])} is not one of {test_set.category_ids}"
    if not is_finite_number(detection['score']) or not 0 <= detection['score'] <= 1:
        return f"score {quote(detection['score'])} is not a number in [0, 1]"
    bbox = detection['bbox']
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite_number, bbox)) or min(bbox[2:]) <= 0:
        return f'bbox {quote(bbox)} is not [x, y, width, height] with positive sides'
    return _problem_of_mask(detection['segmentation'], size)


def _problem_of_mask(rle: object, size: tuple[int, int]) -> str | None:
    if not isinstance(rle, dict) or not isinstance(rle.get('counts'), str):
        return 'segmentation is not a compressed RLE with size and counts'
    if rle.get('size') != list(size):
        return f"mask size {quote(rle.get('size'))} is not the size of the image, {list(size)} (height, width)"
    try:
        return None if areas_px([rle]) > 0 else 'the mask has no pixel'
    except ValueError as error:
        return str(error)


def write_submission(detections: list[dict], test_set: TestSet, path: str | Path) -> SubmissionReport:
    """Writes a checked submission zip; the file appears whole or not at all, and the same input gives the same bytes.

    Masks without a pixel are left out. Of equal masks of one class in one image, only the mask with the best score is
    written. Each box is recomputed from its mask, as in COCO's ground truth, because a predicted box may have no width
    at the edge of the image.

    Args:
        detections: COCO results, with masks as compressed RLE.
        test_set: The images and categories that the detections must belong to.
        path: Where the zip file is written.

    Returns:
        The number of detections written, with remarks on detections that were left out and images without a detection.

    Raises:
        SubmissionError: The remaining detections are not valid.
    """
    kept, n_empty, n_repeated = drop_empty_and_repeated(detections)
    kept = [{**detection, 'bbox': pycocotools.mask.toBbox(detection['segmentation']).tolist()} for detection in kept]
    report = check_detections(kept, test_set)
    if report.errors:
        raise SubmissionError(f'{len(report.errors)} errors, nothing was written:\n' + shortened(report.errors, '\n'))
    with written_whole([path]) as (temporary,), zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
        # A fixed time stamp, because the default, the time of day, would make the bytes differ.
        member = zipfile.ZipInfo(MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, json.dumps(kept, separators=(',', ':'), allow_nan=False))
    dropped = ((n_empty, 'masks without a pixel (no pixel was probable enough)'), (n_repeated, 'repeated masks'))
    report.remarks[:0] = [f'left out: {n} {what}' for n, what in dropped if n]
    return report


def read_submission(path: str | Path) -> object:
    """Returns the content of a submission: a zip with exactly ``test-results.json``, or that JSON file itself.

    Raises:
        FileNotFoundError: The file does not exist.
        SubmissionError: The zip holds other files or cannot be unpacked, the file is neither a zip nor JSON, or it is
            larger than the limits in :mod:`mmcell.predictions.limits`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no submission {path}')
    try:
        text = _read_member(path) if zipfile.is_zipfile(path) else _read_json_file(path)
        n_values = sum(map(text.count, (b',', b'[', b'{')))
        if n_values > LIMITS.json_values:
            raise SubmissionError(f"{path}: {exceeds('json_values', f'holds about {n_values:,} values')}")
        return parse_json(text, path, SubmissionError)
    except SubmissionError:
        raise
    # A damaged file makes the decompressor and the parser fail in many ways.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise SubmissionError(f'{path}: neither a zip with {MEMBER} nor JSON: {error}') from error


def _read_member(path: Path) -> bytes:
    """Returns the JSON in a zip, after it was checked that unpacking it is bounded.

    Raises:
        SubmissionError: The zip holds other files, is encrypted, is compressed in another way than deflate, or unfolds
            to more than the limit.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if names != [MEMBER]:
            raise SubmissionError(f'{path}: must hold exactly {MEMBER}, holds '
                                  + (shortened([quote(name) for name in names], ', ', 3) or 'nothing'))
        member, = members
        if member.flag_bits & 1:
            raise SubmissionError(f'{path}: {MEMBER} is encrypted: make the zip without a password')
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SubmissionError(f'{path}: {MEMBER} is compressed with method {member.compress_type}, which not every '
                                  'program can read: make the zip with the usual method, deflate')
        if member.file_size > LIMITS.json_bytes:
            raise SubmissionError(f"{path}: {exceeds('json_bytes', f'unfolds to {member.file_size:,} bytes')}")
        return archive.read(member)


def _read_json_file(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LIMITS.json_bytes:
        raise SubmissionError(f"{path}: {exceeds('json_bytes', f'has {size:,} bytes')}")
    return path.read_bytes()
