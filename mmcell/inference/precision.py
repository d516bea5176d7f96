"""Chooses the precision in which many image files are predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells, select_cells
from mmcell.images.image_file import open_image
from mmcell.images.limits import ImageReadError
from mmcell.inference.image_jobs import ImageJob
from mmcell.inference.prediction_plan import PredictionPlan, default_tile_px
from mmcell.models.precision import Precision, choose_precision


def with_precision(job: ImageJob, is_wanted: bool | None, paths: Sequence[Path]) -> tuple[ImageJob, Precision]:
    """Chooses the precision of a job, and sets it in its detector.

    With several processes, all must call this function together, and all get the same precision.

    Args:
        job: The job, whose detector is changed.
        is_wanted: Whether mixed precision is wanted; None: the automatic choice of
            :func:`mmcell.models.precision.choose_precision`, which compares the cells that the job keeps in the middle
            of the first images. These are the same images if an interrupted run is resumed.
        paths: The image files.

    Returns:
        The job, whose settings name the precision unless it is float32, so that outputs in another precision are not
        reused; and the precision.

    Raises:
        MmcellError: Mixed precision is wanted, but not possible with this model or on this device.
    """
    samples = (partial(_predict, job, pixels) for pixels in _read_middles(job, paths))
    precision = choose_precision(job.predictor.model, is_wanted, samples)
    settings = job.settings if precision.dtype is None else {**job.settings, 'precision': precision.name}
    return replace(job, settings=settings), precision


def _read_middles(job: ImageJob, paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yields the pixels (h, w, 3) uint8 of a tile in the middle of each image.

    Files in which they cannot be read are passed over: they are reported when their turn comes.
    """
    side = job.predictor.tile_px or default_tile_px(job.predictor.n_views)
    for path in paths:
        try:
            with open_image(path, job.channel_order, job.percentiles) as image:
                x0, y0 = max((image.width - side) // 2, 0), max((image.height - side) // 2, 0)
                pixels = image.read(x0, y0, min(x0 + side, image.width), min(y0 + side, image.height))
        except (ImageReadError, OSError):
            continue
        yield pixels


def _predict(job: ImageJob, pixels: np.ndarray) -> Cells:
    """Returns the cells that a job keeps in an image (h, w, 3) uint8."""
    cells = job.predictor.predict(pixels, PredictionPlan('whole'), job.min_score).cells
    return select_cells(cells, **job.filters)
