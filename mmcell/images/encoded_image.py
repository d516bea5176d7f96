"""The image in an open file of another format than TIFF, which OpenCV decodes as a whole."""

import mmap
import os
from collections.abc import Sequence
from typing import BinaryIO

import cv2
import numpy as np

from mmcell.errors import in_one_line
from mmcell.images.headers import check_jpeg, read_header
from mmcell.images.limits import ONE_IMAGE, ImageReadError, check_expansion, check_samples

_FORMATS = {'JPEG', 'PNG', 'WebP', 'JPEG 2000', 'BMP', 'PNM', 'GIF'}
_LFS_POINTER = b'version https://git-lfs'


class EncodedImage:
    """The image in an open file, an image that :class:`mmcell.images.image_file.ImageFile` reads.

    It is decoded when it is first read, and then kept.

    Args:
        file: The open file.

    Attributes:
        height: Height in px, as stored.
        width: Width in px, as stored.
        n_channels: Number of stored channels.
        orientation: Value of the EXIF tag Orientation, 1 to 8.
        is_lossy: Whether samples may differ from those that were saved.

    Raises:
        ImageReadError: The format is not read, or its header is damaged, states several images, or too large an image.
    """

    reads_parts = False
    # Neither is read from these formats.
    bits = mpp = None

    def __init__(self, file: BinaryIO) -> None:
        n_bytes = os.fstat(file.fileno()).st_size
        if not n_bytes:
            raise ImageReadError('is empty (0 bytes)')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as encoded:
            is_pointer = encoded[:len(_LFS_POINTER)] == _LFS_POINTER
            header = read_header(encoded)
        if header is None or header.kind not in _FORMATS:
            raise ImageReadError('is a Git LFS pointer in place of the image: fetch it with: git lfs pull'
                                 if is_pointer else
                                 'is not an image that can be read: its first bytes are those of neither TIFF nor '
                                 f'{", ".join(sorted(_FORMATS))}. Save it as TIFF or PNG')
        if header.n_images != 1:
            raise ImageReadError(f'holds {header.n_images} images (an animation); {ONE_IMAGE}')
        if not header.height or not header.width:
            raise ImageReadError(f'is damaged: it is {header.width} x {header.height} px: save it again')
        if header.kind == 'JPEG' and header.n_channels not in (1, 3):
            raise ImageReadError(f'is a JPEG with {header.n_channels} channels, for example CMYK: convert it to RGB')
        check_samples(header.height, header.width, header.n_channels)
        check_expansion(header.height * header.width * header.n_channels * header.sample_bytes, n_bytes)
        self.height, self.width, self.n_channels = header.height, header.width, header.n_channels
        self.orientation, self.is_lossy = header.orientation, not header.is_lossless
        self._file, self._header = file, header
        self._samples: np.ndarray | None = None

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle.

        Raises:
            ImageReadError: The file is damaged.
        """
        if self._samples is None:
            self._samples = self._decode()
        return self._samples[y0:y1, x0:x1]

    def _decode(self) -> np.ndarray:
        self._file.seek(0)
        encoded = np.fromfile(self._file, np.uint8)
        try:
            samples = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        except cv2.error as error:  # for example, the header claims more pixels than OpenCV allows
            raise ImageReadError(f'cannot be read: {in_one_line(error)}') from error
        if samples is not None and self._header.kind == 'JPEG':
            check_jpeg(self._header, encoded.tobytes(), samples)
        if samples is None or samples.shape[:2] != (self.height, self.width):
            raise ImageReadError(f'is damaged or cut short: OpenCV cannot decode this {self._header.kind}: save it '
                                 'again, or as TIFF or PNG')
        return samples[:, :, None] if samples.ndim == 2 else samples

    def expect(self, rects_xyxy: Sequence[tuple[int, int, int, int]]) -> None:
        """Does nothing: the image is kept as a whole when it was first read."""

    @staticmethod
    def interpret(samples: np.ndarray) -> np.ndarray:
        """Returns stored samples as grey (H, W, 1), or OpenCV's blue, green, red and alpha as RGB (H, W, 3)."""
        return samples if samples.shape[2] == 1 else samples[:, :, 2::-1]
