"""The size of an image file, without its pixels."""

from pathlib import Path

import tifffile
from PIL import Image

from mmcell.images.pixels import ImageReadError, is_tiff, read_image_size


def read_stated_size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) in px that :func:`mmcell.images.pixels.read_image` would give, from the header only.

    Formats whose header Pillow does not know are decoded.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if is_tiff(path):
        try:
            with tifffile.TiffFile(path) as tiff:
                sides = dict(zip(tiff.series[0].axes, tiff.series[0].shape, strict=True))
                return sides['Y'], sides['X']
        except Exception as error:  # tifffile raises many kinds of error on a damaged file
            raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return read_image_size(path)
