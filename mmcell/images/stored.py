"""One image file as it is stored: its size, and its samples or colours, in whole or in parts.

All readers of pixels use this module, so that a file is read by all of them or refused by all of them.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mmcell.images.colors import interpret_tiff, significant_bits
from mmcell.images.headers import check_jpeg, read_header
from mmcell.images.limits import ImageReadError, check_expansion, check_samples, in_one_line
from mmcell.images.orientation import stored_box, turn
from mmcell.images.tiff_images import as_image_read_error, find_pages, open_tiff
from mmcell.images.tiff_pages import PageReader

# TIFF in little and big endian, then BigTIFF in little and big endian.
_TIFF_BEGINNINGS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_FORMATS = {'JPEG', 'PNG', 'WebP', 'JPEG 2000', 'BMP', 'PNM', 'GIF'}
_LFS_POINTER = b'version https://git-lfs'
# Images are gone through in bands of this many rows, so that memory does not grow with the image.
_ROWS_PER_BAND = 512


def is_tiff(path: str | Path) -> bool:
    """Says whether the first bytes of a file are those of a TIFF.

    The name is not looked at, because microscopes and scanners write TIFFs with suffixes of their own.

    Raises:
        ImageReadError: The path is no file, or the file cannot be opened.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ImageReadError(f'{path}: is not a file')
    try:
        with open(path, 'rb') as file:
            return file.read(4) in _TIFF_BEGINNINGS
    except OSError as error:
        raise ImageReadError(f'{path}: cannot be read: {error.strerror}') from error


class StoredImage:
    """The image in a file. Rows and columns are those of the upright image, as the tag Orientation wants it.

    Args:
        path: The file, for error messages.
        stored_shape: Height and width in px, as stored.
        orientation: Value of the tag Orientation, 1 to 8.

    Attributes:
        height: Height in px.
        width: Width in px.
        is_lossy: Whether samples that were read may differ from those that were saved.
        bits: Bits of a sample, if they are fewer than those of its type; else None.
    """

    is_lossy = False
    bits: int | None = None

    def __init__(self, path: Path, stored_shape: tuple[int, int], orientation: int) -> None:
        self.path, self.orientation = path, orientation
        self.height, self.width = stored_shape[::-1] if orientation > 4 else stored_shape

    def read_samples(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle inside the image.

        Raises:
            ImageReadError: The file is damaged.
        """
        box = stored_box((x0, y0, x1, y1), self.height, self.width, self.orientation)
        return turn(self._read(*box), self.orientation)

    def read_colors(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as grey (h, w, 1) or RGB (h, w, 3), in the dtype of the file.

        Raises:
            ImageReadError: The file is damaged, or is neither grey, palette, RGB nor RGBA.
        """
        return self._interpret(self.read_samples(x0, y0, x1, y1))

    def read_bands(self) -> Iterator[np.ndarray]:
        """Yields the colours of the whole image in parts of 512 rows."""
        for y0 in range(0, self.height, _ROWS_PER_BAND):
            yield self.read_colors(0, y0, self.width, min(y0 + _ROWS_PER_BAND, self.height))

    def check_size(self) -> None:
        """Raises an ImageReadError if the image is too large to be read as a whole."""
        check_samples(self.path, (self.height, self.width), self.height * self.width * self._n_samples)

    _n_samples = 1

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        raise NotImplementedError

    def _interpret(self, samples: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class TiffImage(StoredImage):
    """An image in a TIFF, which is read tile by tile or strip by strip.

    Args:
        path: The file.
        pages: The page with the image, or the pages with its red, green and blue.
    """

    def __init__(self, path: Path, pages: list[tifffile.TiffPage]) -> None:
        self.readers = [PageReader(page, path) for page in pages]
        self.page = pages[0]
        orientation = self.page.tags.valueof(274, 1)
        super().__init__(path, (self.readers[0].height, self.readers[0].width),
                         orientation if orientation in range(1, 9) else 1)
        self.bits = significant_bits(self.page, self.page.dtype)
        self._n_samples = sum(reader.n_samples for reader in self.readers)

    @property
    def is_lossy(self) -> bool:
        """Whether samples that were read may differ from those that were saved."""
        return any(reader.is_lossy for reader in self.readers)

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        with as_image_read_error(self.path):
            planes = [reader.read(x0, y0, x1, y1) for reader in self.readers]
            return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def _interpret(self, samples: np.ndarray) -> np.ndarray:
        with as_image_read_error(self.path):
            return interpret_tiff(samples, self.page, self.path)


class EncodedImage(StoredImage):
    """An image in a file of another format, which is decoded by OpenCV when it is first read, and then kept.

    Args:
        path: The file.

    Raises:
        ImageReadError: The format is not read, or its header is damaged, states several images, or too large an image.
    """

    def __init__(self, path: Path) -> None:
        if not path.stat().st_size:
            raise ImageReadError(f'{path}: is empty (0 bytes)')
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as encoded:
            n_bytes, is_pointer = len(encoded), encoded[:len(_LFS_POINTER)] == _LFS_POINTER
            try:
                header = read_header(encoded)
            except ValueError as error:
                raise ImageReadError(f'{path}: {error}') from error
        if header is None or header.kind not in _FORMATS:
            raise ImageReadError(f'{path}: is a Git LFS pointer in place of the image: fetch it with: git lfs pull'
                                 if is_pointer else
                                 f'{path}: is not an image that can be read: its first bytes are those of neither TIFF '
                                 f'nor {", ".join(sorted(_FORMATS))}. Save it as TIFF or PNG')
        if header.n_images != 1:
            raise ImageReadError(f'{path}: holds {header.n_images} images (an animation); exactly one image is '
                                 'expected: save each image in its own file')
        if not header.height or not header.width:
            raise ImageReadError(f'{path}: is damaged: it is {header.width} x {header.height} px: save it again')
        if header.kind == 'JPEG' and header.n_channels not in (1, 3):
            raise ImageReadError(f'{path}: is a JPEG with {header.n_channels} channels, for example CMYK: convert it '
                                 'to RGB')
        super().__init__(path, (header.height, header.width), header.orientation)
        self._n_samples = header.n_channels
        self.header = header
        self._samples: np.ndarray | None = None
        self.check_size()
        check_expansion(path, header.height * header.width * header.n_channels * header.sample_bytes, n_bytes)

    @property
    def is_lossy(self) -> bool:
        """Whether samples may differ from those that were saved."""
        return not self.header.is_lossless

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        if self._samples is None:
            self._samples = self._decode()
        return self._samples[y0:y1, x0:x1]

    def _decode(self) -> np.ndarray:
        encoded = np.fromfile(self.path, np.uint8)
        try:
            samples = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            if self.header.kind == 'JPEG' and samples is not None:
                check_jpeg(self.header, encoded.tobytes(), samples)
        except ValueError as error:
            raise ImageReadError(f'{self.path}: {error}') from error
        except cv2.error as error:  # for example, the header claims more pixels than OpenCV allows
            raise ImageReadError(f'{self.path}: cannot be read: {in_one_line(error)}') from error
        if samples is None or samples.shape[:2] != (self.header.height, self.header.width):
            raise ImageReadError(f'{self.path}: is damaged or cut short: OpenCV cannot decode this {self.header.kind}: '
                                 'save it again, or as TIFF or PNG')
        return samples[:, :, None] if samples.ndim == 2 else samples

    def _interpret(self, samples: np.ndarray) -> np.ndarray:
        """Returns grey, or OpenCV's blue, green, red and alpha as RGB."""
        return samples if samples.shape[2] == 1 else samples[:, :, 2::-1]


@contextmanager
def open_stored(path: str | Path) -> Iterator[StoredImage]:
    """Opens an image file, and checks its header.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read as an image, holds several images, or exceeds
            :class:`mmcell.images.limits.Limits`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if is_tiff(path):
        with open_tiff(path) as (tiff, images):
            with as_image_read_error(path):
                image = TiffImage(path, find_pages(tiff, images, path))
            yield image
    else:
        yield EncodedImage(path)
