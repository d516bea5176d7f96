"""What predictions must be like, whichever file they come from: one set of rules over arrays, and their messages."""

from collections.abc import Collection, Sequence

import numpy as np

from mmcell.errors import MmcellError, list_some, quote

MAX_LISTED = 20


class ResultsError(MmcellError):
    """Predictions are not in the format of MMDetection's ``tools/test.py --out``, or do not fit the annotation file."""


def find_wrong_values(scores: np.ndarray, boxes_xywh: np.ndarray, given_scores: Sequence[object],
                      given_boxes: Sequence[object], box_form: str = 'x, y, width, height') -> dict[int, str]:
    """Returns what is wrong with scores and boxes, by the index of the detection.

    A score is a number from 0 to 1. A box has finite numbers, and sides that are not negative.

    Args:
        scores: (M,) numbers, NaN in place of what is no number.
        boxes_xywh: (M, 4) numbers, NaN in place of what is no box.
        given_scores, given_boxes: M scores and boxes as they were given, for messages.
        box_form: The numbers of a box as it was given.
    """
    is_wrong_box = ~np.isfinite(boxes_xywh).all(axis=1) | (boxes_xywh[:, 2:] < 0).any(axis=1)
    problems = {int(index): f'bbox {_shown(given_boxes[index])} is not [{box_form}]'
                for index in np.flatnonzero(is_wrong_box)}
    return problems | {int(index): f'score {_shown(given_scores[index])} is not a number from 0 to 1'
                       for index in np.flatnonzero(~((scores >= 0) & (scores <= 1)))}


def _shown(value: object) -> str:
    return quote(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)


def unknown_id(key: str, value: int, known: Collection[int], source: str) -> str:
    """Returns the message for the image or category of a detection, under its key, that a file does not define."""
    hint = '; are the classes of these results numbered from 0?' if key == 'category_id' and value == 0 else ''
    return f"unknown {key} {quote(value)}: {source} has {list_some(list(known), ', ', MAX_LISTED)}{hint}"


def problem_of_labels(labels: np.ndarray, n_classes: int) -> str | None:
    """Returns what is wrong with the labels (M,) int of one image if they stand for none of the classes, or None."""
    if not labels.size or 0 <= labels.min() <= labels.max() < n_classes:
        return None
    return (f'labels {labels.min()} to {labels.max()} are predicted, but there are {n_classes} categories with the '
            f'labels 0 to {n_classes - 1}')


def leave_image(boxes_xywh: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns (M,) bool, whether boxes (M, 4) extend beyond images of sizes (M, 2), all in px, by more than a pixel."""
    ends = boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    return (boxes_xywh[:, :2] < -1).any(axis=1) | (ends > sizes[:, ::-1] + 1).any(axis=1)


def describe_problems(problems: dict[int, str]) -> str:
    """Returns one line per kind of problem, which are given by the index of the detection, with the first of them."""
    by_text: dict[str, list[int]] = {}
    for index in sorted(problems):
        by_text.setdefault(problems[index], []).append(index)
    return list_some([f'detection {first}{f" and {len(others)} more" if others else ""}: {text}'
                      for text, (first, *others) in by_text.items()], '\n', MAX_LISTED)
