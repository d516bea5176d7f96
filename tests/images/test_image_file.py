"""One object is one open image file: size, scale, orientation, fingerprint, and pixels in whole or in parts."""

import cv2
import numpy as np
import pytest
import tifffile

from mmcell.images.image_file import file_fingerprint, open_image
from mmcell.images.limits import LIMITS, ImageReadError

SCALE = dict(resolution=(40_000, 40_000), resolutionunit='CENTIMETER')


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (61, 75, 3)).astype(np.uint8)


@pytest.fixture
def path(tmp_path, pixels):
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', tile=(16, 32), compression='zlib', **SCALE)
    return tmp_path / 'a.tif'


def test_an_open_tiff_describes_itself(path):
    with open_image(str(path)) as image:
        assert (image.path, image.height, image.width, image.orientation) == (path, 61, 75, 1)
        assert image.reads_parts and image.mpp == pytest.approx(.25)
        assert image.fingerprint == file_fingerprint(path, path.stat())


def test_an_open_png_describes_itself(tmp_path, pixels):
    cv2.imwrite(str(tmp_path / 'a.png'), pixels)
    with open_image(tmp_path / 'a.png') as image:
        assert (image.height, image.width, image.orientation) == (61, 75, 1)
        assert not image.reads_parts and image.mpp is None
        np.testing.assert_array_equal(image.read(), pixels[:, :, ::-1])


def test_pixels_are_read_in_whole_and_in_parts(path, pixels):
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), pixels)
        np.testing.assert_array_equal(image.read(10, 20), pixels[20:, 10:])
        np.testing.assert_array_equal(image.read(3, 5, 40, 6), pixels[5:6, 3:40])
    with open_image(path, 'bgr') as image:
        np.testing.assert_array_equal(image.read(3, 5, 40, 33), pixels[5:33, 3:40, ::-1])


def test_a_fingerprint_is_that_of_the_file_that_a_link_leads_to(tmp_path, path):
    link = tmp_path / 'link.tif'
    link.symlink_to(path)
    with open_image(link) as image:
        status = path.stat()
        assert image.fingerprint == {'image': str(path.resolve()), 'n_bytes': status.st_size,
                                     'mtime_ns': status.st_mtime_ns}


def test_pixels_that_are_damaged_are_noticed_without_being_kept(path):
    with open_image(path) as image:
        image.check_pixels()
    with tifffile.TiffFile(path) as tiff:
        begin = tiff.pages[0].dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[begin + 2:begin + 40] = bytes(38)
    path.write_bytes(content)
    with open_image(path) as image:
        assert image.read(0, 0, 16, 16).shape == (16, 16, 3)
        with pytest.raises(ImageReadError, match=r'a\.tif: cannot be read as TIFF'):
            image.check_pixels()


def test_only_a_whole_image_may_be_too_large(path, monkeypatch):
    monkeypatch.setattr(LIMITS, 'samples_in_memory', 1000)
    with open_image(path) as image:
        assert image.read(1, 1, 17, 17).shape == (16, 16, 3)
        with pytest.raises(ImageReadError, match='too many to be read at once'):
            image.read()


def test_an_id_map_is_read_from_the_file_that_is_open(tmp_path, rng):
    ids = rng.integers(0, 9, (20, 30)).astype(np.float64)
    tifffile.imwrite(tmp_path / 'class1.tif', ids, extratags=[(274, 'H', 1, 3, True)])
    with open_image(tmp_path / 'class1.tif') as mask:
        label_map = mask.read_label_map()
        assert mask.orientation == 3 and label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, ids[::-1, ::-1])
