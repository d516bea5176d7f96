"""Checks single values in files of predictions, and shortens long lists of problems."""

import reprlib

import numpy as np

from mmcell.files.text_files import is_finite_number, is_integer

__all__ = ['MAX_LISTED', 'is_finite_number', 'is_integer', 'leaves_image', 'shortened', 'shown']
MAX_LISTED = 20


def leaves_image(bbox_xywh: list[float], size: tuple[int, int]) -> bool:
    """Returns whether a box extends beyond an image by more than a pixel.

    Args:
        bbox_xywh: Left, top, width, height in px.
        size: Height and width of the image in px.
    """
    x, y, width, height = bbox_xywh
    return x < -1 or y < -1 or x + width > size[1] + 1 or y + height > size[0] + 1


def shortened(lines: list[str], separator: str, max_listed: int = MAX_LISTED) -> str:
    """Joins the first lines, and adds how many more there are."""
    n_more = len(lines) - max_listed
    return separator.join(lines[:max_listed] + ([f'… and {n_more} more'] if n_more > 0 else []))


class _ShortRepr(reprlib.Repr):
    """Shows the beginning of a value of any origin, however deep, long or large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_int(self, value: int, level: int) -> str:
        return super().repr_int(value, level) if abs(value) < 10**30 else 'a number of more than 30 digits'

    def repr_ndarray(self, value: np.ndarray, level: int) -> str:
        return f'array of shape {value.shape} and type {value.dtype}'


# Shows a value of a file in a message. ``str`` and ``repr`` fail for deep values and large numbers, and take
# exponential time if parts of a value are the same object.
shown = _ShortRepr().repr
