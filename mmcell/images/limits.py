"""Limits for image files that other people made, so that opening one takes bounded time and memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from mmcell.errors import MmcellError


class ImageReadError(MmcellError):
    """A file is not an image of the expected kind; the message names the file, what was found, and what to do.

    The modules that :mod:`mmcell.images.image_file` uses raise it with the predicate of a sentence ("is cut short"), to
    which :class:`mmcell.images.image_file.ImageFile` adds the file.
    """


@dataclass
class Limits:
    """Limits that hold in this process for every image file. Assign to an attribute of ``LIMITS`` to change one.

    Attributes:
        pages: Greatest number of images (pages, levels of a pyramid) that the header of a TIFF may list.
        header_bytes: Greatest size of all headers of a TIFF together: descriptions, and the positions of tiles.
        xml_bytes: Greatest size of an OME-XML description that is read.
        segment_bytes: Greatest size of one decoded tile or compressed strip, which is always decoded as a whole.
        samples_in_memory: Greatest number of samples (pixels times channels) of images that are read as a whole.
            Images that are read in parts may be larger.
        free_bytes: Images that are not larger than this when decoded are read however small their files are.
        expansion: Larger images may have at most this many decoded bytes per byte of the file. An empty image reaches
            1,032 with deflate, and about 6,000 with Zstandard.
        scans: Greatest number of scans of a progressive JPEG.
    """

    pages: int = 1000
    header_bytes: int = 64 * 2**20
    xml_bytes: int = 16 * 2**20
    segment_bytes: int = 2**30
    samples_in_memory: int = 2_000_000_000
    free_bytes: int = 64 * 2**20
    expansion: int = 10_000
    scans: int = 100


LIMITS = Limits()
ONE_IMAGE = 'exactly one image is expected: save each image in its own file'


@contextmanager
def errors_about(subject: str) -> Iterator[None]:
    """Puts words before the message of an ImageReadError that is raised in the block: 'strip 3' and a space."""
    try:
        yield
    except ImageReadError as error:
        raise ImageReadError(f'{subject}{error}') from error


def refuse(limit: str, found: str, way_out: str) -> NoReturn:
    """Raises the error for a file that exceeds a limit.

    Args:
        limit: Name of an attribute of :class:`Limits`.
        found: What the file has, as the predicate of a sentence.
        way_out: What the user can do without changing the limit.

    Raises:
        ImageReadError: Always.
    """
    raise ImageReadError(f'{found}; the limit is {getattr(LIMITS, limit):,}: {way_out}; to raise the limit in Python, '
                         f'set mmcell.images.limits.LIMITS.{limit}')


def check_expansion(decoded_bytes: int, file_bytes: int) -> None:
    """Checks that a file does not claim far more pixels than its size allows.

    Raises:
        ImageReadError: The decoded image would be too large.
    """
    if decoded_bytes > max(LIMITS.free_bytes, LIMITS.expansion * file_bytes):
        refuse('expansion', f'would unfold from {file_bytes:,} to {decoded_bytes:,} bytes, which is '
               f'{decoded_bytes / file_bytes:,.0f} bytes per byte', 'its header is probably damaged; if not, save it '
               'with a weaker compression')


def check_samples(height: int, width: int, n_channels: int) -> None:
    """Checks that an image of this height and width in px may be read as a whole.

    Raises:
        ImageReadError: The image is too large.
    """
    n_samples = height * width * n_channels
    if n_samples > LIMITS.samples_in_memory:
        refuse('samples_in_memory', f'has {n_samples:,} samples ({width} x {height} px) according to its header, which '
               'are too many to be read at once', 'cut it into smaller images')
