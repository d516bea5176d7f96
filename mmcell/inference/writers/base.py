"""What the writers of all formats have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.inference.cells import Cells

# Writes some cells of an image; the number of the first is given, the others follow.
WriteCells = Callable[[Cells, int], None]


@dataclass(frozen=True)
class ImageInfo:
    """An image whose cells are written.

    Attributes:
        path: of its file.
        height_px, width_px: its size.
        class_names: of the labels.
        mpp: micrometres a pixel, None where it is not known.
        pixels: (H, W, 3) uint8 RGB; None for an image too large to hold, of which there is no picture.
    """

    path: Path
    height_px: int
    width_px: int
    class_names: list[str]
    mpp: float | None = None
    pixels: np.ndarray | None = None
