"""One object is one open image file: size, scale, orientation, fingerprint, and pixels in whole or in parts."""

import cv2
import numpy as np
import pytest
import tifffile
from support.opened_files import recording_opens

from mmcell.images.image_file import file_fingerprint, open_image
from mmcell.images.limits import LIMITS, ImageReadError

PER_CM = dict(resolution=(20_000, 20_000), resolutionunit='CENTIMETER')
PER_INCH = dict(resolution=(50_800, 50_800), resolutionunit='INCH')


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (61, 75, 3)).astype(np.uint8)


@pytest.fixture
def path(tmp_path, pixels):
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', tile=(16, 32), compression='zlib', **PER_CM)
    return tmp_path / 'a.tif'


def test_an_open_tiff_describes_itself(path):
    with open_image(str(path)) as image:
        assert (image.path, image.height, image.width, image.orientation) == (path, 61, 75, 1)
        assert image.reads_parts and image.mpp == pytest.approx(.5)
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


def test_a_file_that_is_replaced_while_it_is_open_stays_the_file_that_was_opened(tmp_path, path, pixels):
    tifffile.imwrite(tmp_path / 'new.tif', pixels[::-1], photometric='rgb')
    status = path.stat()
    with open_image(path) as image:
        (tmp_path / 'new.tif').replace(path)
        assert image.fingerprint == file_fingerprint(path, status) != file_fingerprint(path, path.stat())
        np.testing.assert_array_equal(image.read(), pixels)


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


@pytest.mark.parametrize('options, mpp', [
    ({}, None),
    (PER_CM, .5),
    (PER_INCH, .5),
    (dict(resolution=(300, 300), resolutionunit='INCH'), None),  # written by an image editor
    (dict(resolution=(20_000, 10_000), resolutionunit='CENTIMETER'), None),  # not square
    (dict(resolution=(20_000, 20_000), resolutionunit='NONE'), None),
    (dict(imagej=True, resolution=(4, 4), metadata={'unit': 'um'}), .25),
    (dict(imagej=True, resolution=(4, 4), metadata={'unit': 'micron'}), .25),
    (dict(imagej=True, resolution=(4, 4), metadata={'unit': '\\u00B5m'}), .25),
    (dict(imagej=True, resolution=(4, 4), metadata={'unit': 'pixel'}), None),
    (dict(ome=True, metadata={'axes': 'YX', 'PhysicalSizeX': .3, 'PhysicalSizeY': .3}, **PER_CM), .3),
    (dict(ome=True, metadata={'axes': 'YX', 'PhysicalSizeX': 300, 'PhysicalSizeXUnit': 'nm', 'PhysicalSizeY': .3}), .3),
    (dict(ome=True, metadata={'axes': 'YX'}, **PER_CM), .5),
    (dict(description='Aperio Image Library v11\n46x32 |AppMag = 40|MPP = 0.2525|Left = 3', metadata=None), .2525),
    (dict(description='MPP = ...', metadata=None), None),
])
def test_micrometres_per_pixel_are_read_from_a_tiff(tmp_path, options, mpp):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8), **options)
    with open_image(path) as image:
        assert image.mpp == (mpp if mpp is None else pytest.approx(mpp))


def test_opening_an_image_opens_its_file_once_and_closes_it(path):
    with recording_opens() as n_opens:
        with open_image(path) as image:
            image.check_pixels()
            image.read(0, 0, 9, 9)
            assert image.mpp and image.fingerprint
            image.read()
        with open_image(path) as closed:
            assert n_opens[path] == 2
    with pytest.raises(ImageReadError, match='closed file'):
        closed.read()
    assert closed.mpp == pytest.approx(.5)
