"""Reads microscopy images as RGB uint8, and instance-id maps as integers, by one set of rules for all commands."""

import math
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mmcell.errors import MmcellError
from mmcell.masks.instance_ids import to_label_map

# Images with more samples are refused by their header: memory for all samples that a header claims is allocated before
# anything is decoded, so that a damaged header could exhaust the memory.
MAX_SAMPLES = 2_000_000_000
CHANNEL_ORDERS = ('rgb', 'bgr')
# TIFF in little and big endian, then BigTIFF in little and big endian.
_TIFF_BEGINNINGS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class ImageReadError(MmcellError):
    """A file is not an image of the expected kind; the message names the file, what was found, and what to do."""


def is_tiff(path: str | Path) -> bool:
    """Says whether the first bytes of a file are those of a TIFF.

    The name is not looked at, because microscopes and scanners write TIFFs with suffixes of their own.

    Raises:
        ImageReadError: The file cannot be opened.
    """
    try:
        with open(path, 'rb') as file:
            return file.read(4) in _TIFF_BEGINNINGS
    except OSError as error:
        raise ImageReadError(f'{path}: cannot be read: {error.strerror}') from error


def read_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8 with the channels in the order red, green, blue.

    Rules:

    - Grey and palette images become three channels; an alpha channel is left out (not blended); white-is-zero
      images are inverted; channels may be stored interleaved or as planes. Other colour spaces, for example CMYK and
      CIELAB, are refused.
    - uint8 is kept. uint16 is divided by 257, so that 65535 becomes 255. bool becomes 0 and 255. Values of other types
      have no known range, so that these types need ``percentiles``.
    - A file with several images (a time series, a stack, two or more than three channels of fluorescence) is refused.
      From a pyramid, the image at full resolution is read.

    Args:
        path: TIFF file with any codec that imagecodecs has, or file in any format that OpenCV reads.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent, for example (1, 99.8): each channel is stretched so that these
            percentiles become 0 and 255. Meant for fluorescence images and 12-bit data. A channel in which both
            percentiles have the same value becomes 0. None: no stretch.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read, or the rules above refuse its content.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    path = Path(path)
    colors = _read_colors(path)
    image = to_uint8(colors, path) if percentiles is None else stretch_contrast(colors, *percentiles)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if channel_order == 'bgr':
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def read_image_size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) in px of an image of any pixel type.

    The whole image is decoded, not only its header, so that damaged files are noticed.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read.
    """
    return _read_colors(Path(path)).shape[:2]


def _read_colors(path: Path) -> np.ndarray:
    """Reads an image as (H, W, 1) grey or (H, W, 3) colours in the order that the file claims, in the file's dtype.

    An alpha channel is left out.
    """
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if is_tiff(path):
        return _read_tiff(path, interpret=True)
    samples = _read_with_opencv(path)
    if samples.shape[2] == 1:
        return samples
    return samples[:, :, 2::-1]


def _read_with_opencv(path: Path) -> np.ndarray:
    """Reads the stored samples (H, W, C); three or four channels are in OpenCV's order: blue, green, red, alpha."""
    encoded = np.fromfile(path, np.uint8)
    if encoded.size == 0:
        raise ImageReadError(f'{path}: is empty (0 bytes)')
    try:
        samples = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # for example, the header claims more pixels than OpenCV allows
        raise ImageReadError(f'{path}: cannot be read: {error}') from error
    if samples is None:
        raise ImageReadError(f'{path}: is not an image that can be read: its first bytes are not those of a TIFF, and '
                             'OpenCV cannot decode it either. Save it as TIFF or PNG')
    return samples[:, :, None] if samples.ndim == 2 else samples


def _read_tiff(path: Path, interpret: bool) -> np.ndarray:
    """Reads the only image in a TIFF file: samples (H, W, C) as they are stored, or interpreted as grey or RGB."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.series) > 1:
                raise ImageReadError(f'{path}: holds {len(tiff.series)} images; exactly one image is expected: save '
                                     'each image in its own file')
            series = tiff.series[0]
            if math.prod(series.shape) > MAX_SAMPLES:
                raise ImageReadError(f'{path}: has {math.prod(series.shape):.2g} samples {series.shape} according to '
                                     f'its header; at most {MAX_SAMPLES:.0e} can be read at once: cut it into smaller '
                                     'images')
            samples = _axes_to_channels_last(series.asarray(), series.axes, path)
            return interpret_tiff(samples, series.keyframe, path) if interpret else samples
    except ImageReadError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds of error on a damaged file
        raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error


def interpret_tiff(samples: np.ndarray, page: tifffile.TiffPage, path: Path) -> np.ndarray:
    """Turns stored samples of a TIFF page into grey values or RGB.

    Args:
        samples: (H, W, C) array of any dtype, a whole page or a rectangle of it.
        page: The page, whose tags say what the samples mean.
        path: The file, for the error message.

    Returns:
        Grey (H, W, 1) or RGB (H, W, 3), in the dtype of the samples; palette colours as uint8.

    Raises:
        ImageReadError: The page is neither grey, palette, RGB nor RGBA, or has a number of channels that does not fit.
    """
    kind, n_samples = page.photometric, samples.shape[2]
    photometric = tifffile.PHOTOMETRIC
    if kind == photometric.PALETTE and page.colormap is not None and n_samples == 1:
        # Palette entries are 16-bit numbers, but a few programs write 8-bit numbers into them.
        colors = np.moveaxis(page.colormap, 0, -1)[samples[:, :, 0]]
        return (colors >> 8 if page.colormap.max() > 255 else colors).astype(np.uint8)
    # tifffile converts the YCbCr of JPEG to RGB when it decodes.
    is_rgb = kind == photometric.RGB or (kind == photometric.YCBCR and page.compression == tifffile.COMPRESSION.JPEG)
    if is_rgb and n_samples in (3, 4):
        return samples[:, :, :3]
    is_grey = kind in (photometric.MINISBLACK, photometric.MINISWHITE)
    # A second channel is left out only if the file calls it alpha. An extra sample of unspecified kind (0) may be a
    # second stain, so that the image is refused below.
    if is_grey and n_samples == 2 and any(page.extrasamples):
        samples = samples[:, :, :1]
    if not is_grey or samples.shape[2] not in (1, 3):
        name = getattr(kind, 'name', kind)
        raise ImageReadError(f'{path}: has {n_samples} channels of kind {name}; expected is an image in grey, palette '
                             'colours, RGB or RGBA: convert it')
    if kind == photometric.MINISWHITE:
        largest = True if samples.dtype == bool else (1 << page.bitspersample) - 1
        return samples ^ samples.dtype.type(largest) if samples.dtype.kind in 'bu' else -samples
    return samples


def _axes_to_channels_last(pixels: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """Brings an array with the axes that tifffile names to (H, W, C).

    Y is the height, X the width, S (samples) or C (channels) the channels. Other axes must have length one: axes 'ZYXS'
    of shape (1, 20, 30, 3) become (20, 30, 3), axes 'CYX' of shape (3, 20, 30) become (20, 30, 3).
    """
    kept = [i for i, axis in enumerate(axes) if axis in 'YX' or pixels.shape[i] > 1]
    kept_axes = ''.join(axes[i] for i in kept)
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    channel_axes = [i for i, axis in enumerate(kept_axes) if axis not in 'YX']
    is_channel = all(kept_axes[i] in 'SC' for i in channel_axes)
    if sorted(axis for axis in kept_axes if axis in 'YX') != ['X', 'Y'] or len(channel_axes) > 1 or not is_channel:
        raise ImageReadError(f'{path}: has axes {axes} of shape {pixels.shape}; expected is one image with height, '
                             'width and at most one channel axis: save each image of a stack or time series in its own '
                             'file')
    if not channel_axes:
        return pixels[:, :, None]
    return np.moveaxis(pixels, channel_axes[0], -1)


def to_uint8(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Converts pixels to uint8 by the rules of :func:`read_image`.

    Args:
        pixels: (H, W, C) array.
        path: The file, for the error message.

    Raises:
        ImageReadError: The dtype is neither uint8, uint16 nor bool, so that its range of values is not known.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    raise ImageReadError(f'{path}: has pixels of type {pixels.dtype}, whose darkest and brightest value are not known; '
                         'uint8, uint16 or bool is expected. Stretch the contrast with --percentiles 1 99.8, or in a '
                         'config with percentiles=(1, 99.8)')


def stretch_contrast(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scales each channel linearly so that two of its percentiles become 0 and 255.

    Args:
        pixels: (H, W, C) numbers of any type; NaN counts as 0.
        low: Percentile that becomes 0, from 0 to 100.
        high: Percentile that becomes 255, from 0 to 100.

    Returns:
        (H, W, C) uint8.
    """
    pixels = np.nan_to_num(pixels.astype(np.float32))
    return stretch_between(pixels, *np.percentile(pixels, [low, high], axis=(0, 1)))


def stretch_between(pixels: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """Scales each channel linearly so that two given values become 0 and 255.

    Args:
        pixels: (H, W, C) float32.
        floor: (C,) values that become 0; smaller values become 0, too.
        ceiling: (C,) values that become 255; larger values become 255, too. A channel whose ceiling is not above its
            floor becomes 0.

    Returns:
        (H, W, C) uint8.
    """
    span = np.where(ceiling > floor, ceiling - floor, np.inf)
    return np.clip((pixels - floor) / span * 255 + .5, 0, 255).astype(np.uint8)


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads an instance-id map as (H, W) int32, with 0 for background.

    The file may be any numeric TIFF (or PNG) with one channel: the masks that the challenge publishes are float64. The
    samples are taken as they are stored, whatever the file says about colours, because some programs tag bool masks as
    white-is-zero.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read, has several channels or images, or has ids that are negative, not
            whole, not finite or above 2^31 - 1.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no mask file {path}')
    samples = _read_tiff(path, interpret=False) if is_tiff(path) else _read_with_opencv(path)
    try:
        return to_label_map(samples)
    except ValueError as error:
        raise ImageReadError(f'{path}: {error}') from error
