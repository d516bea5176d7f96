"""Turns stored samples into grey values or RGB, and these into uint8; or into a label map."""

from collections.abc import Iterable

import numpy as np
import tifffile

from mmcell.images.limits import ImageReadError

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_CCITT, _JPEG = (2, 3, 4), 7
# Values of the tag ExtraSamples.
_ASSOCIATED_ALPHA, _ALPHA = 1, 2
_MAX_ID = np.iinfo(np.int32).max


def interpret_tiff(samples: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Turns stored samples of a TIFF page into grey values or RGB.

    Args:
        samples: (H, W, C) array of any dtype, a whole page or a rectangle of it.
        page: The page, whose tags say what the samples mean.

    Returns:
        Grey (H, W, 1) or RGB (H, W, 3), in the dtype of the samples; palette colours as uint8.

    Raises:
        ImageReadError: The page is neither grey, palette, RGB nor RGBA, or has a number of channels that does not fit.
    """
    kind, n_samples = _find_photometric(page, samples.shape[2]), samples.shape[2]
    if kind == _PHOTOMETRIC.PALETTE and page.colormap is not None and n_samples == 1:
        return _look_up(samples[:, :, 0], page.colormap)
    # tifffile converts the interleaved YCbCr of JPEG to RGB when it decodes.
    is_jpeg_ycbcr = (kind == _PHOTOMETRIC.YCBCR and n_samples == 3 and page.compression == _JPEG
                     and page.planarconfig == 1)
    if (kind == _PHOTOMETRIC.RGB and n_samples in (3, 4)) or is_jpeg_ycbcr:
        return _without_alpha(samples, page) if n_samples == 4 else samples
    # A second channel is left out only if the file calls it alpha. An extra sample of unspecified kind (0) may be a
    # second stain, so that the image is refused below.
    if kind in (_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE) and n_samples == 2 and page.extrasamples and (
            page.extrasamples[0] in (_ASSOCIATED_ALPHA, _ALPHA)):
        if kind == _PHOTOMETRIC.MINISWHITE:
            samples = np.stack([_invert(samples[:, :, 0], page), samples[:, :, 1]], axis=2)
        return _without_alpha(samples, page)
    if kind == _PHOTOMETRIC.MINISWHITE and n_samples == 1:
        return _invert(samples, page)
    # Microscopes often tag RGB as grey with three samples.
    if kind == _PHOTOMETRIC.MINISBLACK and n_samples in (1, 3):
        return samples
    name = 'of unknown kind' if kind is None else f'of kind {getattr(kind, "name", kind)}'
    raise ImageReadError(f'has {n_samples} channels {name}; expected is an image in grey, palette colours, RGB or '
                         'RGBA: convert it')


def _find_photometric(page: tifffile.TiffPage, n_samples: int) -> int | None:
    """Returns what the samples mean; for files that do not say it, what libtiff takes them for, or None."""
    # tifffile takes samples of unknown kind for white-is-zero.
    if 262 in page.tags:
        return page.photometric
    if n_samples == 1:
        return _PHOTOMETRIC.MINISWHITE if page.compression in _CCITT else _PHOTOMETRIC.MINISBLACK
    return _PHOTOMETRIC.RGB if n_samples in (3, 4) and page.compression != _JPEG else None


def _look_up(indices: np.ndarray, colormap: np.ndarray) -> np.ndarray:
    if indices.dtype.kind not in 'bu' or colormap.ndim != 2 or colormap.shape[0] != 3:
        raise ImageReadError('is damaged: its palette does not fit its pixels')
    indices = indices.astype(np.intp)
    if indices.size and indices.max() >= colormap.shape[1]:
        raise ImageReadError(f'has the palette index {indices.max()}, but a palette of {colormap.shape[1]} colours')
    # Palette entries are 16-bit numbers, but a few programs write 8-bit numbers into them.
    return (colormap.T >> 8 if colormap.max() > 255 else colormap.T).astype(np.uint8)[indices]


def _without_alpha(samples: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Leaves out the last channel, and divides by it if the file says that the colours were multiplied by it."""
    colors = samples[:, :, :-1]
    if not page.extrasamples or page.extrasamples[0] != _ASSOCIATED_ALPHA or samples.dtype.kind != 'u':
        return colors
    alpha, largest = samples[:, :, -1:], _largest(page, samples.dtype)
    if (alpha == largest).all():
        return colors
    straight = np.divide(colors * float(largest), alpha, out=np.zeros(colors.shape), where=alpha > 0)
    return np.minimum(np.rint(straight), largest).astype(samples.dtype)


def _invert(samples: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    return samples ^ samples.dtype.type(_largest(page, samples.dtype)) if samples.dtype.kind in 'bu' else -samples


def _largest(page: tifffile.TiffPage, dtype: np.dtype) -> int:
    """Returns the largest value that an unsigned sample can have."""
    return 1 if dtype.kind == 'b' else (1 << significant_bits(page, dtype)) - 1


def significant_bits(page: tifffile.TiffPage, dtype: np.dtype) -> int:
    """Returns the number of bits of a stored sample: 12 for packed 12-bit data, which are unpacked to uint16."""
    bits = page.bitspersample
    return bits if isinstance(bits, int) and dtype.kind == 'u' and bits <= 8 * dtype.itemsize else 8 * dtype.itemsize


def to_uint8(pixels: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Converts pixels to uint8 by the rules of :func:`mmcell.images.image_file.read_image`.

    Args:
        pixels: (H, W, C) array.
        bits: Number of bits of uint8 and uint16 values, if they have fewer than their type.

    Raises:
        ImageReadError: The dtype is neither uint8, uint16 nor bool, so that its range of values is not known.
    """
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageReadError(f'has pixels of type {pixels.dtype}, whose darkest and brightest value are not known; '
                             'uint8, uint16 or bool is expected. Stretch the contrast with --percentiles 1 99.8, or in '
                             'a config with percentiles=(1, 99.8)')
    if bits is not None and bits < 8 * pixels.dtype.itemsize:
        largest = (1 << bits) - 1
        return ((pixels.astype(np.uint32) * 510 + largest) // (2 * largest)).astype(np.uint8)
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def stretch_contrast(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scales each channel linearly so that two of its percentiles become 0 and 255.

    Args:
        pixels: (H, W, C) real numbers of any type. NaN counts as 0, infinity as the largest or smallest finite value.
        low: Percentile that becomes 0, from 0 to 100.
        high: Percentile that becomes 255, from 0 to 100.

    Returns:
        (H, W, C) uint8.
    """
    pixels = pixels.astype(np.float32)
    finite = pixels[np.isfinite(pixels)]
    if finite.size < pixels.size:
        pixels = np.nan_to_num(pixels, posinf=finite.max(initial=0), neginf=finite.min(initial=0))
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


def find_percentiles(bands: Iterable[np.ndarray], percentiles: tuple[float, float]) -> np.ndarray:
    """Computes two percentiles of each channel, (2, C) float64, from a histogram of uint8 or uint16 pixels.

    The values equal numpy.percentile's of the whole image in float32.

    Args:
        bands: Parts (h, W, C) that make up the image together.
        percentiles: Two numbers from 0 to 100.
    """
    # The four pixels 3, 0, 5, 5 have the counts [1, 0, 0, 1, 0, 2] and n_up_to [1, 1, 1, 2, 2, 4]. The 40th percentile
    # has the rank (4 - 1) * .4 = 1.2 and lies between the pixels of rank 1 and 2, the first values with n_up_to above 1
    # and 2, which are 3 and 5: 3 + .2 * (5 - 3).
    counts = 0
    for colors in bands:
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=1 << 16)
                                    for channel in np.moveaxis(colors, 2, 0)])
    n_up_to = np.cumsum(counts, axis=1)
    ranks = (n_up_to[0, -1] - 1) * (np.array(percentiles) / 100)
    below, above = (np.stack([np.searchsorted(channel, whole_ranks, side='right') for channel in n_up_to], axis=1)
                    for whole_ranks in (np.floor(ranks), np.ceil(ranks)))
    # NumPy interpolates from the nearer end, which matters for the last bit.
    share, span = (ranks % 1)[:, None], above - below
    return np.where(share < .5, below + span * share, above - span * (1 - share))


def to_label_map(samples: np.ndarray) -> np.ndarray:
    """Turns the samples (H, W, C) of a mask file, of any dtype, into a label map (H, W) int32, 0 for background.

    Raises:
        ImageReadError: The array has several channels, or values that are not instance ids: values that are not whole,
            not finite, negative or above 2^31 - 1, or floating-point values so large that neighbouring whole numbers
            become equal.
    """
    if samples.shape[2] != 1:
        raise ImageReadError(f'has {samples.shape[2]} channels; an instance-id map has one channel: save the ids as '
                             'grey values, not as colours')
    ids = samples[:, :, 0]
    if ids.dtype.kind not in 'biuf':
        kind = 'complex values' if ids.dtype.kind == 'c' else f'values of type {ids.dtype}'
        raise ImageReadError(f'has {kind}; an instance-id map has whole numbers')
    if ids.dtype.kind == 'f' and not (np.isfinite(ids).all() and (ids == np.floor(ids)).all()):
        raise ImageReadError('has ids that are not whole numbers; an instance-id map has 0 for background and one '
                             'positive integer per cell')
    lowest, highest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if lowest < 0 or highest > _MAX_ID:
        raise ImageReadError(f'has ids from {lowest} to {highest}; ids from 0 to {_MAX_ID} are expected: write 0 for '
                             'background, and give the cells new numbers')
    # A float32 has 23 bits after the leading one: from 2^24 on, 16777217 would become 16777216.
    if ids.dtype.kind == 'f' and highest > 2 << np.finfo(ids.dtype).nmant:
        raise ImageReadError(f'has ids up to {highest}, but {ids.dtype} is exact only up to '
                             f'{2 << np.finfo(ids.dtype).nmant}, so that different cells may have got the same id: '
                             'save the ids as uint32')
    return np.ascontiguousarray(ids, np.int32)
