"""Draws cells on their image, as a PNG file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from mmcell.cells.cells import Cells
from mmcell.errors import MmcellError
from mmcell.visualization.cell_panels import CellSet, draw_cell_sets
from mmcell.writers.base import ImageInfo, WriteCells

# Images up to this size are drawn at twice their size, so that the outlines do not hide small cells.
_MAX_ENLARGED_PX = 16_000_000


@contextmanager
def writing_overlay_png(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes the image as the model was shown it, with cells outlined in the colours of their classes, and a legend.

    Raises:
        MmcellError: The image is too large to be held in memory as a whole.
    """
    if image.pixels is None:
        raise MmcellError(f'{image.path}: is too large for an overlay: leave overlay out of --formats')
    rles: list[dict] = []
    labels: list[int] = []

    def write(cells: Cells, numbers: np.ndarray) -> None:
        rles.extend(cells.masks.to_rles())
        labels.extend(cells.labels.tolist())

    yield write
    scale = 2 if image.height_px * image.width_px <= _MAX_ENLARGED_PX else 1
    picture = draw_cell_sets(image.pixels, [CellSet('cells', rles, labels)], image.class_names, scale=scale)
    _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
    paths[0].write_bytes(encoded.tobytes())
