"""Microscopy images to RGB uint8, and instance-id maps to integers: one set of rules for the whole program."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

CHANNEL_ORDERS = ('rgb', 'bgr')
_TIFF_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf8'}


class ImageReadError(ValueError):
    """A file is not an image of the kind expected; the message names the file, what was found and what to do."""


def read_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8 in the order red, green, blue.

    Rules:

    - Grey and palette images become three channels; an alpha channel is left out (not blended); white-is-zero
      images are inverted; channels may be stored interleaved or as planes.
    - uint8 is kept. uint16 is divided by 257, so that 65535 becomes 255. bool becomes 0 and 255. Other types
      have no natural range and need ``percentiles``.
    - A file with several images (time, depth, more than four channels) is refused; of a pyramid the full
      resolution is read.

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
    channels_last = _read_channels_last(path)
    image = _to_uint8(channels_last, path) if percentiles is None else _stretch_contrast(channels_last, *percentiles)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if channel_order == 'bgr':
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def _read_channels_last(path: Path) -> np.ndarray:
    """(H, W, 1 or 3) in the file's own dtype and the order that the file claims, alpha left out."""
    pixels = _read_file(path)
    n_channels = pixels.shape[2]
    if n_channels > 4:
        raise ImageReadError(f'{path}: has {n_channels} channels; grey, RGB or RGBA expected')
    # Two channels are grey and alpha, four are RGB and alpha.
    return pixels[:, :, :n_channels - 1] if n_channels in (2, 4) else pixels


def _read_file(path: Path) -> np.ndarray:
    """(H, W, C) in the file's own dtype and the order that the file claims."""
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    return _read_tiff(path) if path.suffix.lower() in _TIFF_SUFFIXES else _read_with_opencv(path)


def _read_with_opencv(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if pixels is None:
        raise ImageReadError(f'{path}: is not an image that can be read (by its name not a TIFF; tried OpenCV)')
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]


def _read_tiff(path: Path) -> np.ndarray:
    """(H, W, C) of the one image in a TIFF file, colours as the file claims them."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.series) > 1:
                raise ImageReadError(f'{path}: holds {len(tiff.series)} images; one expected')
            series = tiff.series[0]
            page = series.keyframe
            pixels = _axes_to_channels_last(series.asarray(), series.axes, path)
            photometric, palette = page.photometric, page.colormap
            n_bits = page.bitspersample
    except ImageReadError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds of error on a damaged file
        raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error
    if photometric == tifffile.PHOTOMETRIC.PALETTE and palette is not None:
        # Palette entries are 16-bit; those of 8-bit images are usually, but not always, stored times 256 or 257.
        pixels = np.moveaxis(palette, 0, -1)[pixels[:, :, 0]]
        pixels = (pixels >> 8).astype(np.uint8) if palette.max() > 255 else pixels.astype(np.uint8)
    elif photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        pixels = ~pixels if pixels.dtype == bool else pixels.dtype.type((1 << n_bits) - 1) - pixels
    return pixels


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


def _to_uint8(pixels: np.ndarray, path: Path) -> np.ndarray:
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
    floor, ceiling = np.percentile(pixels, [low, high], axis=(0, 1))
    span = np.where(ceiling > floor, ceiling - floor, np.inf)
    return np.clip((pixels - floor) / span * 255 + .5, 0, 255).astype(np.uint8)


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads an instance-id map as (H, W) int32, 0 = background.

    Any numeric TIFF (or PNG) of one channel is taken: the published masks of the task are float64.

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read, has several channels or images, or has ids that are negative, not whole,
            not finite or above 2^31 - 1.
    """
    path = Path(path)
    pixels = _read_file(path)
    if pixels.shape[2] != 1:
        raise ImageReadError(f'{path}: has {pixels.shape[2]} channels; an instance-id map has one')
    ids = pixels[:, :, 0]
    if ids.dtype.kind == 'f' and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ImageReadError(f'{path}: has ids that are not whole numbers; an instance-id map has 0 for background '
                             'and one positive integer for each cell')
    if ids.size and (ids.min() < 0 or ids.max() > np.iinfo(np.int32).max):
        raise ImageReadError(f'{path}: has ids from {ids.min()} to {ids.max()}; 0 to {np.iinfo(np.int32).max} expected')
    return ids.astype(np.int32)
