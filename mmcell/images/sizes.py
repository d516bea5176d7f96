"""The size of an image file, without its pixels."""

from pathlib import Path

from mmcell.images.stored import open_stored


def read_stated_size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) in px of the upright image in a file, from the header only.

    It is the size of the image that :func:`mmcell.images.pixels.read_image` returns.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file is not an image, its header is damaged, or it holds several images.
    """
    with open_stored(path) as stored:
        return stored.height, stored.width
