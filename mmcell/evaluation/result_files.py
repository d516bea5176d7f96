"""Reads predictions from files of each kind, and checks them against the annotation file they are measured with."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pycocotools.mask

from mmcell.classes.matching import ClassesError
from mmcell.errors import quote
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.rle import areas_px
from mmcell.predictions.categories import Categories
from mmcell.predictions.checks import is_finite_number, is_integer, leaves_image, shortened
from mmcell.predictions.dump_file import ResultsError, load_results, to_coco_detections
from mmcell.predictions.submission import read_submission

KEYS = ('image_id', 'category_id', 'score', 'segmentation')
# Models give equal scores now and then. If a greater share of the detections has one, the file has hardly any scores.
MOST_TIED = .5
# The first byte of pickles since protocol 2.
PICKLE_START = b'\x80'


@dataclass(frozen=True)
class ResultFile:
    """The predictions of a file.

    Attributes:
        detections: COCO results: image_id, category_id, bbox xywh in px, score, segmentation (compressed RLE).
        remarks: Notes about the file for people who read the values.
    """

    detections: list[dict]
    remarks: list[str]


def read_result_file(path: str | Path, document: dict) -> ResultFile:
    """Reads predictions and checks them. Whatever is left out, corrected or assumed is mentioned in a remark.

    The labels of a dump become category ids by the names of the classes.

    Args:
        path: A dump of ``tools/test.py --out``, a submission zip, or a JSON file with a list of COCO results. Masks may
            be compressed RLEs, RLEs with listed run lengths, or polygons. A missing ``bbox`` is taken from the mask.
        document: COCO ground truth, see :func:`mmcell.evaluation.ground_truth.read_ground_truth`.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The file is of another kind, or its predictions do not fit: an image or a category is unknown, a
            score is not a number from 0 to 1, a box is not made of four numbers, a mask cannot be decoded or has
            another size than its image, or an image occurs twice in a dump.
    """
    categories = Categories.of_document(document, 'the annotation file')
    sizes = {image['id']: (image['height'], image['width']) for image in document['images']}
    records, assumed = _read_records(Path(path), categories)
    _raise_for({index: problem for index, record in enumerate(records)
                if (problem := _problem_of(record)) is not None}, len(records), path)
    _refuse_unknown(records, list(sizes), categories.ids, path)
    rles, problems = to_compressed_rles([record['segmentation'] for record in records],
                                        [sizes[record['image_id']] for record in records])
    _raise_for({index: f"image {records[index]['image_id']}: {problem}" for index, problem in problems.items()},
               len(records), path)
    mask_boxes = pycocotools.mask.toBbox(rles).tolist() if rles else []
    detections = [{'image_id': record['image_id'], 'category_id': record['category_id'],
                   'bbox': [float(value) for value in record.get('bbox', box)], 'score': float(record['score']),
                   'segmentation': rle} for record, rle, box in zip(records, rles, mask_boxes, strict=True)]
    return ResultFile(detections, [*assumed, *_remarks(detections, records, sizes)])


def _read_records(path: Path, categories: Categories) -> tuple[list[dict], list[str]]:
    """Returns the detections of a file of each kind, not yet checked, and remarks on what is assumed of classes."""
    if not path.exists():
        raise FileNotFoundError(f'no results file {path}: make one with tools/test.py CONFIG CHECKPOINT --out FILE.pkl')
    with open(path, 'rb') as file:
        is_pickle = file.read(1) == PICKLE_START or path.suffix in ('.pkl', '.pickle')
    if is_pickle:
        return _read_dump(path, categories)
    records = read_submission(path)
    if isinstance(records, dict) and 'images' in records:
        raise ResultsError(f'{path} is an annotation file: the results come first, then the annotations')
    if not isinstance(records, list):
        raise ResultsError(f'{path} must contain a list of COCO results, got {type(records).__name__}')
    numbers = ', '.join(f'{number} {name}' for number, name in zip(categories.ids, categories.names, strict=True))
    return records, [f'{path} does not name the classes: its category ids are taken for those of the annotation file, '
                     + numbers] if records else []


def _read_dump(path: Path, categories: Categories) -> tuple[list[dict], list[str]]:
    """Returns what :func:`_read_records` returns, for a dump. Errors in its predictions name the file and the image."""
    samples = load_results(path)
    records = []
    for sample in samples:
        try:
            records += to_coco_detections(sample, categories.ids_of_sample(sample, str(path)))
        except ClassesError:
            raise
        except ResultsError as error:
            raise ResultsError(f'{path}: {error}') from error
    remark = categories.remark_on(samples, str(path))
    return records, [] if remark is None else [remark]


def _problem_of(record: object) -> str | None:
    """Describes what is wrong with one result, apart from its mask; None if it is valid."""
    if not isinstance(record, dict) or not set(KEYS) <= record.keys():
        return f'a detection must be a dict with {", ".join(KEYS)}, got {quote(record)}'
    for key in ('image_id', 'category_id'):
        if not is_integer(record[key]):
            return f'{key} {quote(record[key])} is not a whole number'
    where = f"image {record['image_id']}: "
    if not is_finite_number(record['score']) or not 0 <= record['score'] <= 1:
        return f"{where}score {quote(record['score'])} is not a number from 0 to 1"
    bbox = record.get('bbox', [0, 0, 0, 0])
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite_number, bbox)) or min(bbox[2:]) < 0:
        return f'{where}bbox {quote(bbox)} is not [x, y, width, height]'
    return None


def _raise_for(problems: dict[int, str], n_records: int, path: str | Path) -> None:
    """Raises ResultsError if there are problems, which are given by the index of the detection."""
    if problems:
        lines = [f'detection {index}: {problem}' for index, problem in problems.items()]
        raise ResultsError(f'{path}: {len(problems)} of {n_records} detections are wrong\n' + shortened(lines, '\n'))


def _refuse_unknown(records: list[dict], image_ids: list[int], category_ids: list[int], path: str | Path) -> None:
    """Raises ResultsError if the annotation file does not define the image or the category of a detection."""
    for key, known in (('image_id', image_ids), ('category_id', category_ids)):
        used = {record[key] for record in records}
        unknown = [quote(value) for value in sorted(used - set(known))]
        if unknown:
            hint = '; are the classes of these results numbered from 0?' if key == 'category_id' and 0 in used else ''
            raise ResultsError(f"{path}: predictions have an unknown {key}: {shortened(unknown, ', ')}. The annotation "
                               f"file has {shortened(list(map(str, known)), ', ')}{hint}")


def _remarks(detections: list[dict], records: list[dict], sizes: dict[int, tuple[int, int]]) -> list[str]:
    """Describes what is unusual about predictions that can be measured.

    Args:
        detections: The N detections as they are measured.
        records: The N detections as the file has them.
        sizes: The (height, width) in px of each image by its id.
    """
    remarks = []
    with_detections = {detection['image_id'] for detection in detections}
    without = [str(image_id) for image_id in sizes if image_id not in with_detections]
    if without:
        remarks.append(f'{len(without)} of {len(sizes)} images have no detection, their cells count as missed: '
                       + shortened(without, ', '))
    not_empty = [(detection['image_id'], detection['category_id'], detection['segmentation']['counts'])
                 for detection, area_px in zip(
                     detections, areas_px([detection['segmentation'] for detection in detections]), strict=True)
                 if area_px > 0]
    n_empty, n_repeated = len(detections) - len(not_empty), len(not_empty) - len(set(not_empty))
    if n_empty or n_repeated:
        remarks.append(f'{n_empty} masks without a pixel and {n_repeated} repeated masks count as detections; a '
                       'submission zip leaves them out')
    n_boxless = sum('bbox' not in record for record in records)
    if n_boxless:
        remarks.append(f"{n_boxless} detections have no box: the box of the mask is used")
    n_outside = sum(leaves_image(detection['bbox'], sizes[detection['image_id']]) for detection in detections)
    if n_outside:
        remarks.append(f'{n_outside} boxes leave their image: is bbox x1, y1, x2, y2? COCO wants x, y, width, height '
                       '(values of masks stay the same, values of boxes do not)')
    n_tied = sum(count for count in Counter(
        (detection['category_id'], detection['score']) for detection in detections).values() if count > 1)
    if n_tied > MOST_TIED * len(detections):
        remarks.append(f'{n_tied} of {len(detections)} detections have the same score as another one of their class: '
                       'AP then depends on their order in the file')
    return remarks
