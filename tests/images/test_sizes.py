"""The size that a header states is that of the image that is read."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmcell.images.image_file import open_image, read_image
from mmcell.images.limits import ImageReadError

COLORS = np.arange(30 * 50 * 3, dtype=np.uint8).reshape(30, 50, 3)


def write_tiff(path, pixels=COLORS, **kwargs):
    tifffile.imwrite(path, pixels, **{'photometric': 'rgb', **kwargs})


def write_turned_jpeg(path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLORS).save(path, exif=exif)


@pytest.mark.parametrize('name, write', [
    ('a.tif', write_tiff),
    ('a.tif', lambda path: write_tiff(path, COLORS[:, :, 0], photometric='minisblack')),
    ('a.tif', lambda path: write_tiff(path, np.moveaxis(COLORS, 2, 0), planarconfig='separate')),
    ('a.tif', lambda path: write_tiff(path, COLORS.repeat(2, axis=0), tile=(16, 16), compression='zlib')),
    ('a.tif', lambda path: write_tiff(path, extratags=[(274, 'H', 1, 6, True)])),
    ('a.svs', lambda path: write_tiff(path, bigtiff=True)),
    *((f'a.{suffix}', lambda path: cv2.imwrite(str(path), COLORS.repeat(4, 0).repeat(4, 1)))
      for suffix in ('png', 'jpg', 'bmp', 'webp', 'ppm', 'jp2')),
    ('a.png', lambda path: cv2.imwrite(str(path), COLORS[:, :, 0].astype(np.uint16))),
    ('a.jpg', write_turned_jpeg),
])
def test_the_stated_size_is_that_of_the_image_that_is_read(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    with open_image(path) as image:
        assert (image.height, image.width) == read_image(path).shape[:2]


@pytest.mark.parametrize('content', [b'', b'no image', b'II*\0', b'II*\0\xff\xff\xff\xff', b'\x89PNG\r\n\x1a\n'])
def test_files_without_a_size_are_refused(tmp_path, content):
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(ImageReadError, match=r'a\.tif: '):
        read_image(tmp_path / 'a.tif')
    with pytest.raises(FileNotFoundError, match=r'b\.tif'):
        read_image(tmp_path / 'b.tif')
