"""Checks the entries of dumps, which may come from anywhere, once for all that reads them."""

import math

import numpy as np

from mmcell.errors import quote
from mmcell.files.text_files import is_finite_number, is_integer
from mmcell.masks.rle_counts import find_invalid_rles
from mmcell.predictions.limits import LIMITS, exceeds
from mmcell.predictions.rules import find_wrong_values

_ARRAYS = {'bboxes': '(N, 4) of numbers', 'scores': '(N,) of numbers', 'labels': '(N,) of whole numbers'}
_MAX_ID = 2**63
# Entries that mmcell reads if they are there, what they must be, and whether a value is that.
_OPTIONAL = {
    'img_path': ('a text', lambda value: isinstance(value, str) and '\0' not in value),
    'channel_order': ("'rgb' or 'bgr'", lambda value: isinstance(value, str) and value in ('rgb', 'bgr')),
    'percentiles': ('two rising numbers from 0 to 100', lambda value: value is None or _are_percentiles(value)),
    'classes': ('a list of names', lambda value: isinstance(value, list | tuple)
                and all(isinstance(name, str) for name in value)),
    'ori_shape': ('height and width in px', lambda value: isinstance(value, list | tuple) and len(value) > 1
                  and all(is_integer(side) and 0 < side < 2**31 for side in value[:2])),
}


def problem_of_sample(sample: dict) -> str | None:
    """Describes what is wrong with the predictions for one image, as a dump contains them; None if nothing is.

    ``img_id`` is a whole number. ``pred_instances`` has arrays: bboxes (N, 4) xyxy, finite and with x1 <= x2 and
    y1 <= y2; scores (N,) from 0 to 1; labels (N,) from 0; and masks, which are N compressed RLEs or an array (N, H, W)
    of bool or uint8, all of one size, which is ``ori_shape`` if there is that entry.
    """
    if not is_integer(sample.get('img_id')) or abs(sample['img_id']) >= _MAX_ID:
        return f"img_id {quote(sample.get('img_id'))} is not a whole number"
    where = f"image {sample['img_id']}: "
    for key, (description, is_valid) in _OPTIONAL.items():
        if key in sample and not is_valid(sample[key]):
            return f'{where}{key} must be {description}, got {quote(sample[key])}'
    instances = sample.get('pred_instances')
    if not isinstance(instances, dict):
        return f'{where}pred_instances must be a dict, got {quote(instances)}'
    missing = {*_ARRAYS, 'masks'} - instances.keys()
    if missing:
        return f'{where}the predictions have no {sorted(missing)}'
    problem = _problem_of_arrays(instances) or _problem_of_masks(instances['masks'], sample)
    if problem is None and len(instances['masks']) != len(instances['scores']):
        problem = f"{len(instances['scores'])} scores, but {len(instances['masks'])} masks"
    return None if problem is None else where + problem


def _are_percentiles(value: object) -> bool:
    return (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_finite_number, value))
            and 0 <= value[0] < value[1] <= 100)


def _problem_of_arrays(instances: dict) -> str | None:
    for key, description in _ARRAYS.items():
        array = instances[key]
        kinds, row = ('iu' if key == 'labels' else 'iuf'), ((4,) if key == 'bboxes' else ())
        is_array = isinstance(array, np.ndarray) and array.ndim > 0 and array.shape[1:] == row
        if not is_array or (len(array) and array.dtype.kind not in kinds):
            return f'{key} must be a tensor {description}, got {quote(array)}'
    bboxes, scores, labels = (instances[key] for key in _ARRAYS)
    if not len(bboxes) == len(scores) == len(labels):
        return f'{len(bboxes)} boxes, {len(scores)} scores and {len(labels)} labels'
    if (labels < 0).any():
        return f'detection {int((labels < 0).argmax())}: label {quote(labels.min().item())} is negative'
    with np.errstate(invalid='ignore'):  # the difference of two infinite numbers
        boxes_xywh = np.concatenate([bboxes[:, :2], bboxes[:, 2:].astype(float) - bboxes[:, :2]], axis=1)
    wrong = find_wrong_values(scores, boxes_xywh, scores, bboxes, 'x1, y1, x2, y2')
    return next((f'detection {index}: {problem}' for index, problem in wrong.items()), None)


def _problem_of_masks(masks: object, sample: dict) -> str | None:
    if isinstance(masks, list):
        for index, mask in enumerate(masks):
            if (problem := _problem_of_form(mask)) is not None:
                return f'mask {index}: {problem}'
        sizes = {tuple(mask['size']) for mask in masks}
    elif isinstance(masks, np.ndarray) and masks.ndim == 3 and masks.dtype in (bool, np.uint8):
        sizes = {masks.shape[1:]} if len(masks) else set()
    else:
        return f'masks must be RLEs, or a tensor (N, H, W) of bool or uint8, got {quote(masks)}'
    if 'ori_shape' in sample:
        sizes |= {tuple(sample['ori_shape'][:2])}
    if len(sizes) > 1:
        return f'masks and ori_shape have several sizes (height, width): {quote(sorted(sizes))}'
    if sizes and math.prod(*sizes) > LIMITS.image_px:
        return exceeds('image_px', f'the image has {math.prod(*sizes):,} px')
    problems = find_invalid_rles(masks) if isinstance(masks, list) else {}
    return next((f'mask {index}: {problem}' for index, problem in problems.items()), None)


def _problem_of_form(mask: object) -> str | None:
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), str | bytes):
        return f'a compressed RLE with size and counts expected, got {quote(mask)}'
    size = mask.get('size')
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(is_integer(side) and 0 < side < 2**31
                                                                       for side in size):
        return f'size must be height and width in px, got {quote(size)}'
    return None
