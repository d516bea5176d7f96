"""Image files that say something else than they hold, and one way to read them that compares all readers."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.transform import downscale_local_mean

from mmcell.images.image_file import open_image, read_image
from mmcell.images.limits import ImageReadError

# How tifffile.imwrite lays out the samples of an RGB image, by a name for it.
TIFF_LAYOUTS = {
    'tiles': dict(tile=(16, 32), compression='zlib', predictor=True),
    'BigTIFF with big-endian samples': dict(tile=(16, 16), bigtiff=True, byteorder='>'),
    'JPEG tiles': dict(tile=(16, 16), compression='jpeg'),
    'strips': dict(rowsperstrip=7, compression='lzw'),
    'one plain strip': dict(),
    'big-endian plain strips': dict(rowsperstrip=7, byteorder='>'),
    'planes in tiles': dict(tile=(16, 16), planarconfig='separate', compression='zlib'),
    'planes in strips': dict(rowsperstrip=9, planarconfig='separate'),
}


def read_everywhere(path: Path, **settings) -> np.ndarray:
    """Reads an image as a whole and in rectangles, which must agree; an error must be the same single line in both."""
    try:
        whole = read_image(path, **settings)
    except ImageReadError as error:
        with pytest.raises(ImageReadError) as same, open_image(path, **settings) as opened:
            opened.read(0, 0, opened.width, opened.height)
        assert str(same.value) == str(error)
        assert str(path) in str(error) and '\n' not in str(error) and len(str(error)) < 700
        raise
    with open_image(path, **settings) as opened:
        height, width = opened.height, opened.width
        assert (height, width) == whole.shape[:2]
        opened.check_pixels()
        for x0, y0, x1, y1 in ((0, 0, width, height), (width // 3, height // 4, width, height - 1), (1, 0, 2, height)):
            np.testing.assert_array_equal(opened.read(x0, y0, x1, y1), whole[y0:y1, x0:x1])
    return whole


def change_tag(path: Path, code: int, value: int | None = None, new_code: int | None = None, page: int = 0) -> None:
    """Gives a tag of a little-endian TIFF one SHORT or LONG value, or another code, and changes nothing else."""
    with tifffile.TiffFile(path) as tiff:
        begin = tiff.pages[page].tags[code].offset
    content = bytearray(path.read_bytes())
    if value is not None:
        struct.pack_into('<HII', content, begin + 2, 3 if value < 1 << 16 else 4, 1, value)
    if new_code is not None:
        struct.pack_into('<H', content, begin, new_code)
    path.write_bytes(content)


def write_pyramid(path, image, factors=(2, 4), **options):
    """Writes an image and smaller copies as a tiled TIFF with SubIFDs; returns the copies."""
    levels = [downscale_local_mean(image, (factor, factor, 1)).astype(np.uint8) for factor in factors]
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, subifds=len(levels), tile=(64, 64), photometric='rgb', **options)
        for level in levels:
            writer.write(level, subfiletype=1, tile=(64, 64), photometric='rgb')
    return levels
