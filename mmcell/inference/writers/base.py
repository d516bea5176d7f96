"""Types that the writers of all formats share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells

# A function that writes some cells of an image. Its second argument is the number of the first cell; the numbers of the
# other cells follow.
WriteCells = Callable[[Cells, int], None]


@dataclass(frozen=True)
class ImageInfo:
    """An image whose cells are written.

    Attributes:
        path: The image file.
        height_px: Height of the image.
        width_px: Width of the image.
        class_names: Names of the classes; a label is an index of this list.
        mpp: Micrometres per pixel; None if not known.
        pixels: (H, W, 3) uint8 RGB. None for an image that is too large to be held in memory as a whole; it gets no
            overlay.
        channel_order: 'rgb' or 'bgr', as the file was read; None if not known.
    """

    path: Path
    height_px: int
    width_px: int
    class_names: list[str]
    mpp: float | None = None
    pixels: np.ndarray | None = None
    channel_order: str | None = None
