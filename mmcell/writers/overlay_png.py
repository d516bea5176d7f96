"""Draws cells on their image, as a PNG file."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import centroids_of
from mmcell.errors import MmcellError
from mmcell.visualization.cell_panels import class_legend
from mmcell.visualization.colors import colors_on
from mmcell.visualization.overlay import draw_instances
from mmcell.visualization.panels import Panel, lay_out, write_in_places
from mmcell.writers.base import ImageInfo, WriteCells

# Images are enlarged up to this size, so that outlines do not hide small cells, and more so if cells have numbers.
_MAX_PICTURE_PX = 64_000_000
_NUMBER_PX = 11


@contextmanager
def writing_overlay_png(paths: list[Path], image: ImageInfo, has_numbers: bool = False) -> Iterator[WriteCells]:
    """Writes the image as the model was shown it, with cells outlined in the colours of their classes, and a legend.

    On a dark image, the colours are brighter. With ``has_numbers``, the number of each cell is written at its centroid,
    and the inside of cells is not tinted.

    Raises:
        MmcellError: The image is too large to be held in memory as a whole.
    """
    if image.pixels is None:
        raise MmcellError(f'{image.path}: is too large for a picture: leave overlay and numbers out of --formats')
    rles: list[dict] = []
    labels: list[int] = []
    texts: list[str] = []
    centroids_px = [np.zeros((0, 2))]

    def write(cells: Cells, numbers: np.ndarray) -> None:
        rles.extend(cells.masks.to_rles())
        labels.extend(cells.labels.tolist())
        texts.extend(map(str, numbers.tolist()))
        centroids_px.append(centroids_of(cells))

    yield write
    colors = colors_on(image.pixels, len(image.class_names))
    max_scale, fill, width_px = (3, 0., 2) if has_numbers else (2, .15, 1)
    largest = math.isqrt(_MAX_PICTURE_PX // (image.height_px * image.width_px))
    scale = min(max(largest, 1), max_scale)
    picture = draw_instances(image.pixels, rles, [colors[label] for label in labels], scale, fill, width_px=width_px)
    if has_numbers:
        picture = write_in_places(picture, texts, np.concatenate(centroids_px) * scale, _NUMBER_PX)
    picture = lay_out([Panel(f'{len(rles)} cells', picture)], class_legend(image.class_names, colors=colors))
    _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
    paths[0].write_bytes(encoded.tobytes())
