"""Reads microscopy images as RGB uint8, and instance-id maps as integers, by one set of rules for all commands."""

from pathlib import Path

import numpy as np

from mmcell.images.limits import ImageReadError
from mmcell.images.regions import CHANNEL_ORDERS, open_regions
from mmcell.images.stored import is_tiff, open_stored

__all__ = ['CHANNEL_ORDERS', 'ImageReadError', 'is_tiff', 'read_image', 'read_image_size', 'read_label_map',
           'read_orientation']


def read_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8 with the channels in the order red, green, blue.

    Rules:

    - Grey and palette images become three channels; an alpha channel is left out (not blended; colours that were
      multiplied by it are divided by it); white-is-zero images are inverted; channels may be stored interleaved or as
      planes. Other colour spaces, for example CMYK and CIELAB, are refused. A TIFF that does not say what its samples
      are is taken as grey or RGB, according to their number.
    - uint8 is kept. uint16 is divided by 257, so that 65535 becomes 255; values of fewer bits, for example packed
      12-bit values, are scaled by their own maximum. bool becomes 0 and 255. Values of other types have no known range,
      so that these types need ``percentiles``.
    - The image is turned as the tag Orientation of TIFF or EXIF says.
    - A file with several images (a time series, a stack, two or more than three channels of fluorescence, an animation)
      is refused. From a pyramid or slide, the image at full resolution is read. Only the file itself is read, whatever
      other files its metadata name.

    Args:
        path: File of one of the formats and codecs that docs/reference/file_formats.md lists, with any name.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent, for example (1, 99.8): each channel is stretched so that these
            percentiles become 0 and 255. Meant for fluorescence images and 12-bit data. A channel in which both
            percentiles have the same value becomes 0. None: no stretch.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read, the rules above refuse its content, or it exceeds
            :class:`mmcell.images.limits.Limits`.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    with open_regions(path, channel_order, percentiles) as regions:
        regions.stored.check_size()
        return regions.read(0, 0, regions.width, regions.height)


def read_image_size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) in px of the upright image in a file, of any pixel type.

    The whole image is decoded, not only its header, so that damaged files are noticed.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read.
    """
    with open_stored(path) as stored:
        for _ in stored.read_bands():
            pass
        return stored.height, stored.width


def read_orientation(path: str | Path) -> int:
    """Returns the tag Orientation of an image file, 1 (upright) to 8.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read.
    """
    with open_stored(path) as stored:
        return stored.orientation


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads an instance-id map as (H, W) int32, with 0 for background.

    The file may be any numeric TIFF (or PNG) with one channel: the masks that the challenge publishes are float64. The
    samples are taken as they are stored, whatever the file says about colours, because some programs tag bool masks as
    white-is-zero. The map is turned as the tag Orientation says.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read, has several channels or images, is compressed with loss, or has ids
            that are negative, not whole, not finite or above 2^31 - 1.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no mask file {path}')
    with open_stored(path) as stored:
        stored.check_size()
        samples = stored.read_samples(0, 0, stored.width, stored.height)
        if stored.is_lossy:
            raise ImageReadError(f'{path}: is compressed with a codec that may change values, which makes ids that '
                                 'nobody drew: save the map without compression, or with LZW, deflate or PNG')
    if samples.shape[2] != 1:
        raise ImageReadError(f'{path}: has {samples.shape[2]} channels; an instance-id map has one channel')
    ids = samples[:, :, 0]
    if ids.dtype.kind == 'c':
        raise ImageReadError(f'{path}: has complex values; an instance-id map has whole numbers')
    if ids.dtype.kind == 'f' and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ImageReadError(f'{path}: has ids that are not whole numbers; an instance-id map has 0 for background and '
                             'one positive integer per cell')
    if ids.size and (ids.min() < 0 or ids.max() > np.iinfo(np.int32).max):
        raise ImageReadError(f'{path}: has ids from {ids.min()} to {ids.max()}; ids from 0 to '
                             f'{np.iinfo(np.int32).max} are expected')
    return np.ascontiguousarray(ids, np.int32)
