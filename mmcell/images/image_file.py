"""Image files: each is opened once, checked once, and read as a whole or in parts by one set of rules."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.images.colors import find_percentiles, stretch_between, stretch_contrast, to_label_map, to_uint8
from mmcell.images.encoded_image import EncodedImage
from mmcell.images.limits import ImageReadError, check_samples, errors_about
from mmcell.images.orientation import stored_box, turn
from mmcell.images.pyramid import open_pyramid
from mmcell.images.tiff_file import TiffImage

CHANNEL_ORDERS = ('rgb', 'bgr')
# TIFF in little and big endian, then BigTIFF in little and big endian.
_TIFF_BEGINNINGS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Images are gone through in bands of this many rows, so that memory does not grow with the image.
_ROWS_PER_BAND = 512


@contextmanager
def open_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> Iterator['ImageFile']:
    """Opens an image file, and checks its header; the file is open until the block ends.

    Whether it is a TIFF is seen from its first bytes. Its name is not looked at, because microscopes and scanners write
    TIFFs with suffixes of their own.

    Args:
        path: File of one of the formats and codecs that docs/reference/file_formats.md lists, with any name.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent, for example (1, 99.8), for fluorescence images and 12-bit data: each
            channel is stretched so that these percentiles of the whole image become 0 and 255, also if only a part is
            read. The whole image is gone through once for it. A channel in which both percentiles have the same value
            becomes 0. None: no stretch.

    Yields:
        The image.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file is not an image, is damaged, holds several images, or exceeds
            :class:`mmcell.images.limits.Limits`. Methods of the image raise it, too, if only they notice the damage.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    path = Path(path)
    if not path.is_file():
        if path.exists():
            raise ImageReadError(f'{path}: is not a file')
        raise FileNotFoundError(f'no image file {path}')
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, 'rb'))
            begins_as_tiff = file.read(4) in _TIFF_BEGINNINGS
        except OSError as error:
            raise ImageReadError(f'{path}: cannot be read: {error.strerror}') from error
        with errors_about(f'{path}: '):
            stored = TiffImage(file) if begins_as_tiff else EncodedImage(file)
        yield ImageFile(path, os.fstat(file.fileno()), stored, channel_order == 'bgr', percentiles)


def is_tiff(path: str | Path) -> bool:
    """Returns whether a file begins as a TIFF does, whatever its name is.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        return file.read(4) in _TIFF_BEGINNINGS


def file_fingerprint(path: Path, status: os.stat_result) -> dict:
    """Returns what shows whether an image file was replaced or changed, in JSON's types.

    Args:
        path: The file.
        status: Its status, as ``os.stat`` returns it.

    Returns:
        ``image``: the absolute path, without links; ``n_bytes``: the size in bytes; ``mtime_ns``: the time of the last
        change in nanoseconds.
    """
    return {'image': str(path.resolve()), 'n_bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}


@dataclass(frozen=True)
class Level:
    """An image, or a smaller copy of it.

    Attributes:
        size: Height and width in px.
        read: Reads a rectangle as :meth:`ImageFile.read` does, in px of this level.
        expect: Announces rectangles as :meth:`ImageFile.expect` does.
    """

    size: tuple[int, int]
    read: Callable[[int, int, int, int], np.ndarray]
    expect: Callable[[Sequence[Sequence[int]]], None]


class ImageFile:
    """An open image file, as :func:`open_image` yields it.

    Rows and columns are those of the upright image, as the tag Orientation wants it. Of a pyramid or slide, they are
    those of the full resolution.

    Args:
        path: The file.
        status: Status of the open file.
        stored: The image as it is stored in the file.
        is_bgr: Whether the file holds blue first.
        percentiles: As in :func:`open_image`.

    Attributes:
        path: The file.
        height: Height in px.
        width: Width in px.
        orientation: Value of the tag Orientation of TIFF or EXIF: 1 (stored upright) to 8.
        reads_parts: Whether a part of the image can be read without the rest. It can from a TIFF; files of other
            formats are decoded as a whole when their first pixels are read.
    """

    def __init__(self, path: Path, status: os.stat_result, stored: TiffImage | EncodedImage, is_bgr: bool,
                 percentiles: tuple[float, float] | None) -> None:
        self.path, self._status = path, status
        self.orientation, self.reads_parts = stored.orientation, stored.reads_parts
        self.height, self.width = (stored.width, stored.height) if self.orientation > 4 else (
            stored.height, stored.width)
        self._stored, self._is_bgr, self._percentiles = stored, is_bgr, percentiles
        self._floor_and_ceiling: np.ndarray | None = None
        self._stretched: np.ndarray | None = None

    @property
    def fingerprint(self) -> dict:
        """What shows whether the file was replaced or changed after it was opened; see :func:`file_fingerprint`."""
        return file_fingerprint(self.path, self._status)

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, as a TIFF states them; None if it does not, or if they are not plausible."""
        return self._stored.mpp

    def read(self, x0: int = 0, y0: int = 0, x1: int | None = None, y1: int | None = None) -> np.ndarray:
        """Reads the whole image, or columns x0 to x1 - 1 of rows y0 to y1 - 1, by the rules of :func:`read_image`.

        Args:
            x0: First column, in px.
            y0: First row, in px.
            x1: Column after the last, in px; None for the width of the image.
            y1: Row after the last, in px; None for the height of the image.

        Returns:
            (y1 - y0, x1 - x0, 3) uint8, RGB.

        Raises:
            ImageReadError: The file is damaged, its pixels are of a kind that is not read, or it is too large to be
                read as a whole.
        """
        with errors_about(f'{self.path}: '):
            image = self._read_uint8(x0, y0, self.width if x1 is None else x1, self.height if y1 is None else y1)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return np.ascontiguousarray(image[:, :, ::-1] if self._is_bgr else image)

    @property
    def n_colors(self) -> int:
        """1 for a grey image, 3 for one in colours."""
        with errors_about(f'{self.path}: '):
            return self._read_colors(0, 0, 1, 1).shape[2]

    def read_values(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads columns x0 to x1 - 1 of rows y0 to y1 - 1, with the values that the file holds.

        Returns:
            (y1 - y0, x1 - x0, 1) grey or (y1 - y0, x1 - x0, 3) RGB, in the dtype of the file.

        Raises:
            ImageReadError: As :meth:`read`.
        """
        with errors_about(f'{self.path}: '):
            colors = self._read_colors(x0, y0, x1, y1)
        return colors[:, :, ::-1] if self._is_bgr else colors

    @contextmanager
    def level_for(self, factor: float) -> Iterator['Level']:
        """Yields the smallest copy of the image in its file that is at most by a factor smaller than the image.

        It is the image itself if the factor is below 2, if the image does not have three 8-bit colours, if its contrast
        is stretched, if it is turned, or if there is no smaller copy that can be read (:mod:`mmcell.images.pyramid`).
        """
        own = Level((self.height, self.width), self.read, self.expect)
        if (factor < 2 / 1.01 or self._percentiles is not None or self.orientation != 1 or not self.reads_parts
                or self._stored.n_channels != 3 or self.read_values(0, 0, 1, 1).dtype != np.uint8):
            yield own
            return
        with open_pyramid(self.path, own.size) as pyramid:
            level = 0 if pyramid is None else pyramid.coarsest(factor)
            if level == 0:
                yield own
                return

            def read(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
                with errors_about(f'{self.path}: '):
                    colors = pyramid.read(level, x0, y0, x1, y1)
                return np.ascontiguousarray(colors[:, :, ::-1] if self._is_bgr else colors)

            yield Level(pyramid.sizes[level], read, lambda rects_xyxy: None)

    def expect(self, rects_xyxy: Sequence[Sequence[int]]) -> None:
        """Announces the rectangles that will be read, so that each tile or strip of a TIFF is decoded only once.

        Decoded tiles and strips are kept until the last rectangle that touches them was read, within
        ``mmcell.images.segment_cache.PLANNED_BYTES``.

        Args:
            rects_xyxy: The rectangles in px, in the order in which they will be read. Reading another one ends the
                plan.

        Raises:
            ImageReadError: The whole image is gone through for the contrast stretch, and is damaged.
        """
        if self._percentiles is not None:
            # The contrast is found now, because the whole image has to be read for it, in parts that are not expected.
            self.read(0, 0, 1, 1)
        self._stored.expect([stored_box(rect, self.height, self.width, self.orientation) for rect in rects_xyxy])

    def read_label_map(self) -> np.ndarray:
        """Reads an instance-id map as (H, W) int32, with 0 for background.

        The file may be any numeric TIFF (or PNG) with one channel: the masks that the challenge publishes are float64.
        The samples are taken as they are stored, whatever the file says about colours, because some programs tag bool
        masks as white-is-zero. The map is turned as the tag Orientation says.

        Raises:
            ImageReadError: The file is damaged or too large, has several channels, is compressed with loss, or has ids
                that are negative, not whole, not finite or above 2^31 - 1.
        """
        with errors_about(f'{self.path}: '):
            samples = self._read_samples(0, 0, self.width, self.height)
            if self._stored.is_lossy:
                raise ImageReadError('is compressed with a codec that may change values, which makes ids that nobody '
                                     'drew: save the map without compression, or with LZW, deflate or PNG')
            return to_label_map(samples)

    def check_pixels(self) -> None:
        """Decodes the whole image, of any pixel type, part after part, so that damage in it is noticed.

        Raises:
            ImageReadError: The file is damaged, or is neither grey, palette, RGB nor RGBA.
        """
        with errors_about(f'{self.path}: '):
            for _ in self._read_bands():
                pass

    def _read_samples(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle of the upright image."""
        if (x0, y0, x1, y1) == (0, 0, self.width, self.height):
            check_samples(self.height, self.width, self._stored.n_channels)
        box = stored_box((x0, y0, x1, y1), self.height, self.width, self.orientation)
        return turn(self._stored.read(*box), self.orientation)

    def _read_colors(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as grey (h, w, 1) or RGB (h, w, 3), in the dtype of the file."""
        return self._stored.interpret(self._read_samples(x0, y0, x1, y1))

    def _read_bands(self) -> Iterator[np.ndarray]:
        """Yields the colours of the whole image in parts of 512 rows."""
        for y0 in range(0, self.height, _ROWS_PER_BAND):
            yield self._read_colors(0, y0, self.width, min(y0 + _ROWS_PER_BAND, self.height))

    def _read_uint8(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as grey (h, w, 1) or RGB (h, w, 3) uint8, with the contrast stretched."""
        if self._stretched is not None:
            return self._stretched[y0:y1, x0:x1]
        colors = self._read_colors(x0, y0, x1, y1)
        if colors.dtype.kind == 'c':
            raise ImageReadError('has complex values; real numbers are expected: save real part, magnitude or phase')
        if self._percentiles is None:
            return to_uint8(colors, self._stored.bits)
        is_whole = colors.shape[:2] == (self.height, self.width)
        if colors.dtype not in (bool, np.uint8, np.uint16):
            whole = colors if is_whole else self._read_colors(0, 0, self.width, self.height)
            self._stretched = stretch_contrast(whole, *self._percentiles)
            return self._stretched[y0:y1, x0:x1]
        if self._floor_and_ceiling is None:
            self._floor_and_ceiling = find_percentiles([colors] if is_whole else self._read_bands(), self._percentiles)
        return stretch_between(colors.astype(np.float32), *self._floor_and_ceiling)


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

    Args, and the errors that are raised, are those of :func:`open_image`.
    """
    with open_image(path, channel_order, percentiles) as image:
        return image.read()


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads an instance-id map as (H, W) int32; see :meth:`ImageFile.read_label_map`.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read, or is not an instance-id map.
    """
    with open_image(path) as mask:
        return mask.read_label_map()
