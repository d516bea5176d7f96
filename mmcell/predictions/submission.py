"""Submission files: a zip with ``test-results.json``, which is checked before it is written, and later on request."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mmcell.annotations.ground_truth import ImageSet, read_true_cells
from mmcell.annotations.id_list import TEST_FOLDER, read_test_ids
from mmcell.errors import list_some, quote
from mmcell.files.text_files import read_json
from mmcell.files.whole_files import written_whole
from mmcell.masks.rle import areas_px, bboxes_xywh
from mmcell.predictions.cells import Predictions, find_empty_and_repeated, to_coco_results
from mmcell.predictions.packed_results import MEMBER, SubmissionError
from mmcell.predictions.result_files import images_without, parse_results
from mmcell.predictions.rules import MAX_LISTED, describe_problems, find_wrong_values, leave_image

KEYS = {'image_id', 'bbox', 'score', 'category_id', 'segmentation'}
TASK_CATEGORY_IDS = [1, 2, 3, 4]


@dataclass
class SubmissionReport:
    """The result of a check: errors make the submission invalid, remarks do not."""

    n_detections: int = 0
    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read_test_set(path: str | Path) -> ImageSet:
    """Reads the images and classes of an annotation file, or of the challenge's id list.

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
    if not isinstance(read_json(path, SubmissionError), list):
        return read_true_cells(path)
    images = read_test_ids(path)
    return ImageSet(str(path), [image.image_id for image in images], [image.file_name for image in images],
                    np.array([(image.height, image.width) for image in images], np.int64).reshape(-1, 2),
                    TASK_CATEGORY_IDS, None, path.parent / TEST_FOLDER, 'rgb')


def check_submission(records: object, images: ImageSet) -> SubmissionReport:
    """Checks the content of a submission.

    Errors are: anything but a list of dicts with exactly the keys of the format; what
    :func:`mmcell.predictions.result_files.parse_results` refuses; a box without width or height; a mask that is no
    compressed RLE, or has no pixel; the same mask twice in one class of one image.

    Remarks are about images without a detection, and about boxes that extend beyond their image.

    Args:
        records: The content of ``test-results.json``, as JSON gives it.
        images: The images and classes that the detections must belong to.
    """
    if not isinstance(records, list):
        return SubmissionReport(errors=[f'a list of detections expected, got {type(records).__name__}'])
    problems = {index: problem for index, record in enumerate(records)
                if (problem := _problem_of_format(record)) is not None}
    valid = [index for index in range(len(records)) if index not in problems]
    predictions, wrong = parse_results([records[index] for index in valid], images)
    problems |= {valid[place]: problem for place, problem in wrong.items()}
    problems |= _find_repeated(records, [valid[place] for place in range(len(valid)) if place not in wrong])
    return SubmissionReport(len(records), [f'detection {index}: {problems[index]}' for index in sorted(problems)],
                            _remarks(predictions, images))


def _problem_of_format(record: object) -> str | None:
    """Describes how one detection differs from the format that only submissions must have."""
    if not isinstance(record, dict) or record.keys() != KEYS:
        return f'a dict with {sorted(KEYS)} expected, got {quote(record)}'
    bbox, mask = record['bbox'], record['segmentation']
    if isinstance(bbox, list) and 0 in bbox[2:]:
        return f'bbox {quote(bbox)} is not [x, y, width, height] with positive sides'
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), str):
        return 'segmentation is not a compressed RLE with size and counts'
    return None


def _find_repeated(records: Sequence[dict], valid: Sequence[int]) -> dict[int, str]:
    """Describes the valid records, given by their indices, without a pixel, or with the mask and class of another."""
    problems, first = {}, {}
    for index, area in zip(valid, areas_px([records[index]['segmentation'] for index in valid]), strict=True):
        record = records[index]
        key = (record['image_id'], record['category_id'], record['segmentation']['counts'])
        if area == 0:
            problems[index] = 'the mask has no pixel'
        elif first.setdefault(key, index) != index:
            problems[index] = f'has the same mask and class as detection {first[key]}'
    return problems


def _remarks(predictions: Predictions, images: ImageSet) -> list[str]:
    remarks = []
    n_outside = np.count_nonzero(leave_image(predictions.boxes_xywh, images.sizes[predictions.image_index]))
    if n_outside:
        remarks.append(f'{n_outside} boxes leave their image: were they written as x1, y1, x2, y2? COCO expects '
                       'x, y, width, height (the AP of masks does not depend on boxes, but AP by size does)')
    without = images_without(predictions, images)
    if without:
        remarks.append(f'{len(without)} of {len(images.image_ids)} images have no detection: ' + list_some(
            [f'{images.image_ids[place]} ({images.file_names[place]})' for place in without], ', ', MAX_LISTED))
    return remarks


def write_submission(predictions: Predictions, images: ImageSet, path: str | Path) -> SubmissionReport:
    """Writes a submission zip; the file appears whole or not at all, and the same input gives the same bytes.

    Masks without a pixel are left out. Of equal masks of one class in one image, only the mask with the best score is
    written. Each box is recomputed from its mask, as in COCO's ground truth, because a predicted box may have no width
    at the edge of the image.

    Args:
        predictions: The predicted cells.
        images: The images and classes that they belong to.
        path: Where the zip file is written.

    Returns:
        The number of detections written, with remarks.

    Raises:
        SubmissionError: A score is not a number from 0 to 1.
    """
    is_empty, is_repeated = find_empty_and_repeated(predictions)
    kept = predictions.take(np.flatnonzero(~is_empty & ~is_repeated))
    kept = replace(kept, boxes_xywh=bboxes_xywh(kept.rles).astype(float))
    wrong = find_wrong_values(kept.scores, kept.boxes_xywh, kept.scores, kept.boxes_xywh)
    if wrong:
        raise SubmissionError(f'{len(wrong)} errors, nothing was written:\n' + describe_problems(wrong))
    with written_whole([path]) as (temporary,), zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
        # A fixed time stamp, because the default, the time of day, would make the bytes differ.
        member = zipfile.ZipInfo(MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, json.dumps(to_coco_results(kept, images), separators=(',', ':'), allow_nan=False))
    left_out = ((is_empty.sum(), 'masks without a pixel (no pixel was probable enough)'),
                (is_repeated.sum(), 'repeated masks'))
    return SubmissionReport(len(kept), [], [f'left out: {n} {what}' for n, what in left_out if n]
                            + _remarks(kept, images))
