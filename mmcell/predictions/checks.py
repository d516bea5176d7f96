"""Checks single values in files of predictions, and shortens long lists of problems."""

import math

MAX_LISTED = 20


def is_integer(value: object) -> bool:
    """Returns whether a value of a JSON file is a whole number; ``true`` is not a number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite_number(value: object) -> bool:
    """Returns whether a value of a JSON file is a number that a float can hold; ``true`` is not a number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that is larger than any float
        return False


def leaves_image(bbox_xywh: list[float], size: tuple[int, int]) -> bool:
    """Returns whether a box extends beyond an image by more than a pixel.

    Args:
        bbox_xywh: Left, top, width, height in px.
        size: Height and width of the image in px.
    """
    x, y, width, height = bbox_xywh
    return x < -1 or y < -1 or x + width > size[1] + 1 or y + height > size[0] + 1


def shortened(lines: list[str], separator: str) -> str:
    """Joins the first 20 lines, and adds how many more there are."""
    n_more = len(lines) - MAX_LISTED
    return separator.join(lines[:MAX_LISTED] + ([f'… and {n_more} more'] if n_more > 0 else []))
