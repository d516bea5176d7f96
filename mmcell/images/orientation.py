"""Turns images as the tag Orientation of TIFF and EXIF says, so that their first row is at the top."""

import numpy as np

# Rows first, then columns: which axis is reversed, after rows and columns were exchanged for the values 5 to 8.
# Source: TIFF 6.0, page 36.
_REVERSED = {1: (False, False), 2: (False, True), 3: (True, True), 4: (True, False)}


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Returns an image (H, W, C), or (W, H, C) for the orientations 5 to 8, as it is meant to be seen.

    Example: with orientation 6, the first stored row is the right side. The stored rows [1 2 3] and [4 5 6] are seen as
    [4 1], [5 2] and [6 3].

    Args:
        image: (H, W, C) as stored.
        orientation: Value of the tag, 1 to 8.
    """
    if orientation > 4:
        image = image.swapaxes(0, 1)
    rows, columns = _REVERSED[(orientation - 1) % 4 + 1]
    return image[::-1 if rows else 1, ::-1 if columns else 1]


def stored_box(box_xyxy: tuple[int, int, int, int], height: int, width: int, orientation: int,
               ) -> tuple[int, int, int, int]:
    """Returns where a rectangle of the turned image lies in the stored image.

    Args:
        box_xyxy: x0, y0, x1, y1 in px of the turned image.
        height: Height of the turned image in px.
        width: Width of the turned image in px.
        orientation: Value of the tag, 1 to 8.
    """
    x0, y0, x1, y1 = box_xyxy
    rows, columns = _REVERSED[(orientation - 1) % 4 + 1]
    if rows:
        y0, y1 = height - y1, height - y0
    if columns:
        x0, x1 = width - x1, width - x0
    return (y0, x0, y1, x1) if orientation > 4 else (x0, y0, x1, y1)
