"""The prediction of one image file, from its pixels to the files of its cells."""

import errno
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.structures import InstanceData

from mmcell.errors import MmcellError
from mmcell.images import read_image
from mmcell.inference.cells import Cells
from mmcell.inference.filters import select_cells
from mmcell.inference.resolution import read_mpp
from mmcell.inference.writers import ImageInfo, output_paths, writing_cells


@dataclass(frozen=True)
class ImageJob:
    """How images are read, which cells are kept, and what is written of them.

    Attributes:
        predict: gives the ``pred_instances`` of an image (H, W, 3) uint8 RGB.
        class_names: of the labels.
        formats: keys of ``mmcell.inference.writers.FORMATS``.
        folder: of the files.
        channel_order: 'rgb' or 'bgr', of the image files.
        percentiles: (low, high) of the contrast stretch, None for none.
        mpp: micrometres a pixel of every image; None for what each file says.
        filters: arguments of :func:`select_cells`.
    """

    predict: Callable[[np.ndarray], InstanceData]
    class_names: list[str]
    formats: Sequence[str]
    folder: Path
    channel_order: str
    percentiles: tuple[float, float] | None
    mpp: float | None
    filters: dict

    def is_done(self, name: str) -> bool:
        """Whether all files of an image called ``name`` are there."""
        return all(path.exists() for path in output_paths(self.formats, self.folder, name, len(self.class_names)))

    def run(self, path: Path, name: str) -> int:
        """Predicts an image and writes its files; gives the number of cells.

        Raises:
            ImageReadError: the image cannot be read; and whatever prediction and writing raise.
        """
        pixels = read_image(path, self.channel_order, self.percentiles)
        height_px, width_px = pixels.shape[:2]
        mpp = self.mpp if self.mpp is not None else read_mpp(path)
        image = ImageInfo(path, height_px, width_px, self.class_names, mpp, pixels)
        cells = select_cells(Cells.from_instances(self.predict(pixels), height_px, width_px), **self.filters)
        with writing_cells(self.formats, self.folder, name, image) as write:
            write(cells)
        return len(cells)

    def try_to_run(self, path: Path, name: str) -> int | str:
        """The number of cells as :meth:`run`, or what went wrong, so that the other images are done.

        An error that is not about the image or its file is printed with its traceback on standard error.

        Raises:
            OSError: the disk is full.
        """
        try:
            return self.run(path, name)
        except (MmcellError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return str(error) if str(path) in str(error) else f'{path}: {error}'
        except Exception as error:
            traceback.print_exc()
            return f'{path}: {type(error).__name__}: {error}'
