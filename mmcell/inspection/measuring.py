"""What is measured once on each image, so that no detector of defects reads an image again."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.images.limits import ImageReadError


@dataclass(frozen=True)
class ImageTask:
    """One image with its M cells. It can be pickled.

    Attributes:
        path: The image file.
        channel_order: 'rgb' or 'bgr', as the annotation file says.
        size: Height and width in px, as the annotation file says.
        rles: M masks as compressed COCO RLEs.
        class_index: (M,) int64, the class of each cell.
        is_crowd: (M,) bool, whether it is a region that is not annotated cell by cell.
    """

    path: Path
    channel_order: str
    size: tuple[int, int]
    rles: list[dict]
    class_index: np.ndarray
    is_crowd: np.ndarray

    @property
    def key(self) -> tuple:
        """Equal for equal images with equal cells, in whichever annotation file they stand."""
        cells = sha256(repr([self.size, self.class_index.tolist(), self.is_crowd.tolist()]).encode())
        for rle in self.rles:
            cells.update(rle['counts'].encode() + b' ')
        return str(self.path.resolve()), self.channel_order, cells.digest()


@dataclass(frozen=True)
class ImageMeasures:
    """What was measured on one image.

    Attributes:
        pixel_hash: The hash of the size and the pixels; equal only for images with equal pixels.
    """

    pixel_hash: str


def measure_image(task: ImageTask) -> ImageMeasures | MmcellError | OSError:
    """Returns what is measured on one image, or why it cannot be used."""
    try:
        image = read_image(task.path, task.channel_order)
        if image.shape[:2] != task.size:
            raise ImageReadError(f'{task.path}: has {image.shape[1]} x {image.shape[0]} px (width x height), but its '
                                 f'annotations {task.size[1]} x {task.size[0]} px')
    except (MmcellError, OSError) as error:
        return error
    return ImageMeasures(sha256(repr(image.shape).encode() + image.tobytes()).hexdigest())
