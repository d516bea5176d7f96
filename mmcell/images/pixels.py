"""Microscopy images to RGB uint8, and instance-id maps to integers: one set of rules for the whole program."""

import math
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mmcell.errors import MmcellError

# A header is believed up to so many samples; what it claims would be allocated before anything is decoded.
MAX_SAMPLES = 2_000_000_000
CHANNEL_ORDERS = ('rgb', 'bgr')
# Little and big endian, TIFF and BigTIFF.
_TIFF_BEGINNINGS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class ImageReadError(MmcellError):
    """A file is not an image of the kind expected; the message names the file, what was found and what to do."""


def is_tiff(path: str | Path) -> bool:
    """Whether a file begins as TIFFs do, whatever its name: microscopes and scanners have suffixes of their own.

    Raises:
        ImageReadError: it cannot be opened.
    """
    try:
        with open(path, 'rb') as file:
            return file.read(4) in _TIFF_BEGINNINGS
    except OSError as error:
        raise ImageReadError(f'{path}: cannot be read: {error.strerror}') from error


def read_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8 in the order red, green, blue.

    Rules:

    - Grey and palette images become three channels; an alpha channel is left out (not blended); white-is-zero
      images are inverted; channels may be stored interleaved or as planes. CMYK, CIELAB and the like are refused.
    - uint8 is kept. uint16 is divided by 257, so that 65535 becomes 255. bool becomes 0 and 255. Other types
      have no natural range and need ``percentiles``.
    - A file with several images (time, depth, two or more than three channels of fluorescence) is refused; of a
      pyramid the full resolution is read.

    Args:
        path: TIFF (any codec that imagecodecs has), or anything that OpenCV reads.
        channel_order: 'bgr' for files that say RGB but hold blue first.
        percentiles: (low, high) in percent, for example (1, 99.8): each channel is stretched so that these
            percentiles become 0 and 255. For fluorescence and 12-bit data. A flat channel becomes 0.

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read, or is none of the above.
        ValueError: channel_order is neither 'rgb' nor 'bgr'.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    path = Path(path)
    colors = _read_colors(path)
    image = to_uint8(colors, path) if percentiles is None else _stretch_contrast(colors, *percentiles)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if channel_order == 'bgr':
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def read_image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in px of an image of any pixel type; it is decoded whole, so that damage shows.

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read.
    """
    return _read_colors(Path(path)).shape[:2]


def _read_colors(path: Path) -> np.ndarray:
    """(H, W, 1 or 3) in the file's own dtype, grey or colours in the order that the file claims, without alpha."""
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if is_tiff(path):
        return _read_tiff(path, interpret=True)
    samples = _read_with_opencv(path)
    if samples.shape[2] == 1:
        return samples
    return samples[:, :, 2::-1]


def _read_with_opencv(path: Path) -> np.ndarray:
    """Stored samples (H, W, C); three or four of them in OpenCV's order: blue, green, red, alpha."""
    encoded = np.fromfile(path, np.uint8)
    if encoded.size == 0:
        raise ImageReadError(f'{path}: is empty')
    try:
        samples = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # a header that claims more than OpenCV's limit of pixels
        raise ImageReadError(f'{path}: cannot be read: {error}') from error
    if samples is None:
        raise ImageReadError(f'{path}: is not an image that can be read (no TIFF by its first bytes; tried OpenCV)')
    return samples[:, :, None] if samples.ndim == 2 else samples


def _read_tiff(path: Path, interpret: bool) -> np.ndarray:
    """The one image in a TIFF file: samples (H, W, C) as they are stored, or interpreted as grey or RGB."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.series) > 1:
                raise ImageReadError(f'{path}: holds {len(tiff.series)} images; one expected')
            series = tiff.series[0]
            if math.prod(series.shape) > MAX_SAMPLES:
                raise ImageReadError(f'{path}: claims to hold {math.prod(series.shape):.2g} samples {series.shape}; at '
                                     f'most {MAX_SAMPLES:.0e} are read at once')
            samples = _axes_to_channels_last(series.asarray(), series.axes, path)
            return interpret_tiff(samples, series.keyframe, path) if interpret else samples
    except ImageReadError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds of error on a damaged file
        raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error


def interpret_tiff(samples: np.ndarray, page: tifffile.TiffPage, path: Path) -> np.ndarray:
    """Grey (H, W, 1) or RGB (H, W, 3) of stored samples (H, W, C), of a whole page or a part of it.

    Raises:
        ImageReadError: another kind of image, or number of channels.
    """
    kind, n_samples = page.photometric, samples.shape[2]
    photometric = tifffile.PHOTOMETRIC
    if kind == photometric.PALETTE and page.colormap is not None and n_samples == 1:
        # Palette entries are 16-bit; a few writers store 8-bit ones as they are.
        colors = np.moveaxis(page.colormap, 0, -1)[samples[:, :, 0]]
        return (colors >> 8 if page.colormap.max() > 255 else colors).astype(np.uint8)
    # tifffile gives JPEG's YCbCr as RGB.
    is_rgb = kind == photometric.RGB or (kind == photometric.YCBCR and page.compression == tifffile.COMPRESSION.JPEG)
    if is_rgb and n_samples in (3, 4):
        return samples[:, :, :3]
    is_grey = kind in (photometric.MINISBLACK, photometric.MINISWHITE)
    # An extra sample of unspecified kind (0) may be a second stain; only one that is called alpha goes.
    if is_grey and n_samples == 2 and any(page.extrasamples):
        samples = samples[:, :, :1]
    if not is_grey or samples.shape[2] not in (1, 3):
        name = getattr(kind, 'name', kind)
        raise ImageReadError(f'{path}: has {n_samples} channels of kind {name}; grey, palette, RGB or RGBA expected')
    if kind == photometric.MINISWHITE:
        largest = True if samples.dtype == bool else (1 << page.bitspersample) - 1
        return samples ^ samples.dtype.type(largest) if samples.dtype.kind in 'bu' else -samples
    return samples


def _axes_to_channels_last(pixels: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """Brings tifffile's axes (Y, X, S = samples, C = channels, others of length one) to (H, W, C)."""
    kept = [i for i, axis in enumerate(axes) if axis in 'YX' or pixels.shape[i] > 1]
    found = ''.join(axes[i] for i in kept)
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    channel_axes = [i for i, axis in enumerate(found) if axis not in 'YX']
    is_channel = all(found[i] in 'SC' for i in channel_axes)
    if sorted(axis for axis in found if axis in 'YX') != ['X', 'Y'] or len(channel_axes) > 1 or not is_channel:
        raise ImageReadError(f'{path}: has axes {axes} of shape {pixels.shape}; one image of height, width and at '
                             'most one channel axis expected (split stacks and time series into files)')
    if not channel_axes:
        return pixels[:, :, None]
    return np.moveaxis(pixels, channel_axes[0], -1)


def to_uint8(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Pixels of an image as uint8 by the rules of :func:`read_image`; the path is for the error.

    Raises:
        ImageReadError: the type has no natural range.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    raise ImageReadError(f'{path}: has pixels of type {pixels.dtype}, which has no natural range; uint8, uint16 or '
                         'bool expected. Set percentiles, for example (1, 99.8), to stretch the contrast')


def _stretch_contrast(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Each channel scaled linearly so that its low and high percentiles become 0 and 255, (H, W, C) uint8."""
    pixels = np.nan_to_num(pixels.astype(np.float32))
    return stretch_between(pixels, *np.percentile(pixels, [low, high], axis=(0, 1)))


def stretch_between(pixels: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """Each channel scaled linearly so that its floor and ceiling (C,) become 0 and 255, (H, W, C) uint8.

    What lies beyond is cut off; a channel whose ceiling is not above its floor becomes 0.
    """
    span = np.where(ceiling > floor, ceiling - floor, np.inf)
    return np.clip((pixels - floor) / span * 255 + .5, 0, 255).astype(np.uint8)


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads an instance-id map as (H, W) int32, 0 = background.

    Any numeric TIFF (or PNG) of one channel is taken: the published masks of the task are float64. The samples are
    taken as they are stored, whatever the file says about colours (writers call bool masks white-is-zero).

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read, has several channels or images, or has ids that are negative, not whole,
            not finite or above 2^31 - 1.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no mask file {path}')
    samples = _read_tiff(path, interpret=False) if is_tiff(path) else _read_with_opencv(path)
    if samples.shape[2] != 1:
        raise ImageReadError(f'{path}: has {samples.shape[2]} channels; an instance-id map has one')
    ids = samples[:, :, 0]
    if ids.dtype.kind == 'f' and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ImageReadError(f'{path}: has ids that are not whole numbers; an instance-id map has 0 for background '
                             'and one positive integer for each cell')
    if ids.size and (ids.min() < 0 or ids.max() > np.iinfo(np.int32).max):
        raise ImageReadError(f'{path}: has ids from {ids.min()} to {ids.max()}; 0 to {np.iinfo(np.int32).max} expected')
    return ids.astype(np.int32)
