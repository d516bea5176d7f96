"""Chooses the precision in which many image files are predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells, select_cells
from mmcell.errors import MmcellError
from mmcell.images.image_file import open_image
from mmcell.inference.image_jobs import ImageJob
from mmcell.inference.prediction_plan import STREAMED_PX, PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.models.precision import Precision, choose_precision

# Tiles of images that are reduced for the prediction may be too large to be read only for this choice.
_MAX_SIDE_PX = int(STREAMED_PX ** .5)


def with_precision(job: ImageJob, is_wanted: bool | None, paths: Sequence[Path]) -> tuple[ImageJob, Precision]:
    """Chooses the precision of a job, and sets it in its detector.

    With several processes, all must call this function together, and all get the same precision.

    Args:
        job: The job, whose detector is changed.
        is_wanted: Whether mixed precision is wanted; None: the automatic choice of
            :func:`mmcell.models.precision.choose_precision`, which compares the cells that the job keeps in the middle
            of the first images, at the scale at which they are predicted. These are the same images if an interrupted
            run is resumed.
        paths: The image files.

    Returns:
        The job, whose settings name the precision unless it is float32, so that outputs in another precision are not
        reused; and the precision.

    Raises:
        MmcellError: Mixed precision is wanted, but not possible with this model or on this device.
    """
    samples = (partial(_predict, job, *middle) for middle in _read_middles(job, paths))
    precision = choose_precision(job.predictor.model, is_wanted, samples)
    settings = job.settings if precision.dtype is None else {**job.settings, 'precision': precision.name}
    return replace(job, settings=settings), precision


def _read_middles(job: ImageJob, paths: Sequence[Path]) -> Iterator[tuple[Predictor, np.ndarray]]:
    """Yields the predictor of each image, and the pixels (h, w, 3) uint8 of a tile in its middle.

    The predictor brings the pixels to the scale at which the whole image is predicted. Files in which they cannot be
    read, or whose scale is impossible, are passed over: they are reported when their turn comes.
    """
    for path in paths:
        try:
            with open_image(path, job.channel_order, job.percentiles) as image:
                predictor = job.predictor_for(image)
                side = min(predictor.tile_side_px, _MAX_SIDE_PX)
                x0, y0 = max((image.width - side) // 2, 0), max((image.height - side) // 2, 0)
                pixels = image.read(x0, y0, min(x0 + side, image.width), min(y0 + side, image.height))
        except (MmcellError, OSError):
            continue
        yield predictor, pixels


def _predict(job: ImageJob, predictor: Predictor, pixels: np.ndarray) -> Cells:
    """Returns the cells that a job keeps in an image (h, w, 3) uint8."""
    cells = predictor.predict(pixels, PredictionPlan('whole'), job.min_score).cells
    return select_cells(cells, **job.filters)
