"""Checks single values in files of predictions, and shortens long lists of problems."""

from mmcell.files.text_files import is_finite_number, is_integer

__all__ = ['MAX_LISTED', 'is_finite_number', 'is_integer', 'leaves_image', 'shortened']
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
