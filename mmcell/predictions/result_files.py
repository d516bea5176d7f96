"""Reads predictions from files of each kind, in the frame of the images and classes of an annotation file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.annotations.coco_json import is_file
from mmcell.annotations.ground_truth import ImageSet, ImageSource
from mmcell.errors import list_some, quote
from mmcell.files.text_files import is_finite_number, is_integer
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.rle import bboxes_xywh
from mmcell.predictions.cells import Predictions, find_empty_and_repeated, join_predictions, to_predictions
from mmcell.predictions.packed_results import read_packed_results
from mmcell.predictions.rules import (
    MAX_LISTED,
    ResultsError,
    describe_problems,
    find_wrong_values,
    leave_image,
    unknown_id,
)

KEYS = ('image_id', 'category_id', 'score', 'segmentation')
# Models give equal scores now and then. If a greater share of the detections has one, the file has hardly any scores.
MOST_TIED = .5
# The first byte of pickles since protocol 2.
PICKLE_START = b'\x80'


@dataclass(frozen=True)
class ResultFile:
    """The predictions of a file.

    Attributes:
        predictions: The predicted cells.
        assumed: Notes about what the file leaves open, for people who read what is made from it.
        sources: Where the images of the file are, by their place in the image set and in the order of the file. A dump
            has entries for some images, and knows the file of each and how the model was shown it, unless MMDetection's
            own class wrote the dump. If there is no such file any more, the file that the annotation file names is
            taken, if it exists. Files of other kinds are about all images.
    """

    predictions: Predictions
    assumed: list[str]
    sources: dict[int, ImageSource]


def read_predictions(path: str | Path, images: ImageSet) -> ResultFile:
    """Reads predictions and checks them.

    The labels of a dump become classes by the names of the classes.

    Args:
        path: A dump of ``tools/test.py --out``, a submission zip, or a JSON file with a list of COCO results. Masks may
            be compressed RLEs, RLEs with listed run lengths, or polygons. A missing ``bbox`` is taken from the mask.
        images: The images and classes of the annotation file.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The file is of another kind, or its predictions do not fit: an image or a category is unknown, a
            score is not a number from 0 to 1, a box is not made of four numbers, a mask cannot be decoded or has
            another size than its image, or an image occurs twice in a dump.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no results file {path}: make one with tools/test.py CONFIG CHECKPOINT --out FILE.pkl')
    with open(path, 'rb') as file:
        is_pickle = file.read(1) == PICKLE_START or path.suffix in ('.pkl', '.pickle')
    return _read_dump(path, images) if is_pickle else _read_results(path, images)


def _read_dump(path: Path, images: ImageSet) -> ResultFile:
    # Only dumps need torch, which takes seconds to import.
    from mmcell.predictions.dump_file import load_results
    samples = load_results(path)
    parts = []
    for sample in samples:
        try:
            parts.append(to_predictions(sample, images, images.classes_of_labels(sample.get('classes'), str(path))))
        except ResultsError as error:
            raise ResultsError(f'{path}: {error}') from error
    sources = {place: _source_of(sample, images.image_source(place)) for sample in samples
               for place in [images.place_of_image[sample['img_id']]]}
    return ResultFile(join_predictions(parts), _assumed_of_dump(samples, images, path), sources)


def _source_of(sample: dict, stated: ImageSource) -> ImageSource:
    if not isinstance(sample.get('img_path'), str):
        return stated
    path = Path(sample['img_path'])
    # The path may be relative to another folder, or the images may have been moved together with the annotation file.
    if not is_file(path) and is_file(stated.path):
        path = stated.path
    return ImageSource(path, sample.get('channel_order') or stated.channel_order, sample.get('percentiles'))


def _assumed_of_dump(samples: Sequence[dict], images: ImageSet, path: Path) -> list[str]:
    names = next((sample.get('classes') for sample in samples), None)
    if not samples or (names is not None and images.class_names is not None):
        return []
    unnamed = ' and '.join(str(file) for file, known in ((path, names), (images.source, images.class_names))
                           if known is None)
    return [f'{unnamed} does not name the classes: labels are taken for the categories '
            f'{_list_classes(images, names or images.class_names)}, in this order']


def _list_classes(images: ImageSet, names: Sequence[str] | None) -> str:
    return ', '.join(map(str, images.class_ids) if names is None else (
        f'{number} {name}' for number, name in zip(images.class_ids, names, strict=False)))


def _read_results(path: Path, images: ImageSet) -> ResultFile:
    records = read_packed_results(path)
    if isinstance(records, dict) and 'images' in records:
        raise ResultsError(f'{path} is an annotation file: the results come first, then the annotations')
    if not isinstance(records, list):
        raise ResultsError(f'{path} must contain a list of COCO results, got {type(records).__name__}')
    predictions, problems = parse_results(records, images)
    if problems:
        raise ResultsError(f'{path}: {len(problems)} of {len(records)} detections are wrong\n'
                           + describe_problems(problems))
    assumed = [f'{path} does not name the classes: its category ids are taken for those of the annotation file, '
               + _list_classes(images, images.class_names)] if records else []
    n_boxless = sum('bbox' not in record for record in records)
    if n_boxless:
        assumed.append(f'{n_boxless} detections have no box: the box of the mask is used')
    return ResultFile(predictions, assumed,
                      {place: images.image_source(place) for place in range(len(images.image_ids))})


def parse_results(records: Sequence[object], images: ImageSet) -> tuple[Predictions, dict[int, str]]:
    """Checks a list of COCO results, as JSON gives it.

    Returns:
        The cells of the results that are valid; and what is wrong with the others, by their index in the list.
    """
    problems = {index: problem for index, record in enumerate(records)
                if (problem := _problem_of_form(record, images)) is not None}
    valid = [index for index in range(len(records)) if index not in problems]
    given = [records[index] for index in valid]
    boxes, given_scores = [record.get('bbox', [0] * 4) for record in given], [record['score'] for record in given]
    scores = np.array([score if is_finite_number(score) else np.nan for score in given_scores], np.float64)
    boxes_xywh = np.array([bbox if isinstance(bbox, list) and len(bbox) == 4 and all(map(is_finite_number, bbox))
                           else [np.nan] * 4 for bbox in boxes], np.float64).reshape(-1, 4)
    image_index, class_index = (np.array([place_of[record[key]] for record in given], np.int64) for key, place_of in (
        ('image_id', images.place_of_image), ('category_id', images.place_of_class)))
    rles, wrong = to_compressed_rles([record['segmentation'] for record in given],
                                     list(map(tuple, images.sizes[image_index].tolist())))
    wrong |= find_wrong_values(scores, boxes_xywh, given_scores, boxes)
    problems |= {valid[place]: f"image {given[place]['image_id']}: {problem}" for place, problem in wrong.items()}
    good = np.array([place for place in range(len(valid)) if place not in wrong], np.int64)
    rles = [rles[place] for place in good]
    has_box = np.array(['bbox' in given[place] for place in good], bool)
    boxes_xywh = np.where(has_box[:, None], boxes_xywh[good], bboxes_xywh(rles))
    return join_predictions([
        Predictions(image_index[good], class_index[good], scores[good], boxes_xywh, rles)]), problems


def _problem_of_form(record: object, images: ImageSet) -> str | None:
    if not isinstance(record, dict) or not set(KEYS) <= record.keys():
        return f'a detection must be a dict with {", ".join(KEYS)}, got {quote(record)}'
    for key, known in (('image_id', images.place_of_image), ('category_id', images.place_of_class)):
        if not is_integer(record[key]):
            return f'{key} {quote(record[key])} is not a whole number'
        if record[key] not in known:
            return unknown_id(key, record[key], known, images.source)
    return None


def describe_unusual(predictions: Predictions, images: ImageSet) -> list[str]:
    """Describes what is unusual about predictions that can be measured, for people who read the values."""
    remarks, n_images = [], len(images.image_ids)
    without = images_without(predictions, images)
    if without:
        remarks.append(f'{len(without)} of {n_images} images have no detection, their cells count as missed: '
                       + list_some([str(images.image_ids[place]) for place in without], ', ', MAX_LISTED))
    n_empty, n_repeated = map(np.count_nonzero, find_empty_and_repeated(predictions))
    if n_empty or n_repeated:
        remarks.append(f'{n_empty} masks without a pixel and {n_repeated} repeated masks count as detections; a '
                       'submission zip leaves them out')
    n_outside = np.count_nonzero(leave_image(predictions.boxes_xywh, images.sizes[predictions.image_index]))
    if n_outside:
        remarks.append(f'{n_outside} boxes leave their image: is bbox x1, y1, x2, y2? COCO wants x, y, width, height '
                       '(values of masks stay the same, values of boxes do not)')
    _, counts = np.unique(np.stack([predictions.class_index, predictions.scores]), axis=1, return_counts=True)
    n_tied = counts[counts > 1].sum()
    if n_tied > MOST_TIED * len(predictions):
        remarks.append(f'{n_tied} of {len(predictions)} detections have the same score as another one of their class: '
                       'AP then depends on their order in the file')
    return remarks


def images_without(predictions: Predictions, images: ImageSet) -> list[int]:
    """Returns the places of the images without a detection."""
    return np.flatnonzero(np.bincount(predictions.image_index, minlength=len(images.image_ids)) == 0).tolist()
