"""Smaller copies in slides and other pyramids, read through tiffslide."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.image_files import write_pyramid

from mmcell.images.image_file import open_image
from mmcell.images.limits import ImageReadError
from mmcell.images.pyramid import Pyramid, open_pyramid


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (400, 560, 3)).astype(np.uint8)


@pytest.mark.parametrize(('factor', 'level'), [(1., 0), (1.9, 0), (2., 1), (3.9, 1), (4., 2), (100., 2)])
def test_the_smallest_level_that_is_large_enough_is_read(tmp_path, image, factor, level):
    pytest.importorskip('tiffslide', reason='tiffslide is not installed')
    levels = [image, *write_pyramid(tmp_path / 'a.tif', image)]
    for order in ('rgb', 'bgr'):
        with open_image(tmp_path / 'a.tif', order) as file, file.level_for(factor) as chosen:
            assert chosen.size == levels[level].shape[:2]
            height, width = chosen.size
            chosen.expect([[0, 0, 10, 10]])
            expected = levels[level][:, :, ::1 if order == 'rgb' else -1]
            for rect in ((0, 0, width, height), (10, 20, 75, 90), (width - 9, height - 3, width, height)):
                np.testing.assert_array_equal(chosen.read(*rect), expected[rect[1]:rect[3], rect[0]:rect[2]])


def test_levels_of_odd_sizes_are_read_at_their_place(tmp_path, rng):
    pytest.importorskip('tiffslide', reason='tiffslide is not installed')
    image = rng.integers(0, 256, (1003, 1301, 3)).astype(np.uint8)
    level = write_pyramid(tmp_path / 'a.tif', image[:1000, :1300], (4,))[0]
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(image, subifds=1, tile=(64, 64), photometric='rgb')
        writer.write(level, subfiletype=1, tile=(64, 64), photometric='rgb')
    with open_image(tmp_path / 'a.tif') as file, file.level_for(5.) as chosen:
        assert chosen.size == (250, 325)
        for x0, y0 in ((0, 0), (96, 32), (224, 128), (300, 249), (17, 113)):
            np.testing.assert_array_equal(chosen.read(x0, y0, x0 + 20, y0 + 1), level[y0:y0 + 1, x0:x0 + 20])


@pytest.mark.parametrize('image', [np.zeros((400, 560), np.uint8), np.zeros((400, 560, 3), np.uint16)])
def test_other_than_8_bit_colours_are_read_themselves(tmp_path, image):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        kind = 'rgb' if image.ndim == 3 else 'minisblack'
        writer.write(image, subifds=1, tile=(64, 64), photometric=kind)
        writer.write(image[::2, ::2], subfiletype=1, tile=(64, 64), photometric=kind)
    with open_image(tmp_path / 'a.tif') as file, file.level_for(4.) as chosen:
        assert chosen.size == (400, 560)


def test_an_image_without_levels_is_read_itself(tmp_path, image):
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb')
    with open_image(tmp_path / 'a.tif') as file, file.level_for(8.) as chosen:
        assert chosen.size == (400, 560)
        np.testing.assert_array_equal(chosen.read(0, 0, 560, 400), image)


@pytest.mark.parametrize('options', [dict(percentiles=(1, 99)), {}])
def test_stretched_and_turned_images_are_read_themselves(tmp_path, image, options):
    write_pyramid(tmp_path / 'a.tif', image, extratags=() if options else [(274, 'H', 1, 3, True)])
    with open_image(tmp_path / 'a.tif', **options) as file, file.level_for(4.) as chosen:
        assert chosen.size == (400, 560)


def test_without_the_package_the_full_resolution_is_read(tmp_path, image, monkeypatch):
    write_pyramid(tmp_path / 'a.tif', image)
    for name in ('tiffslide', 'openslide'):
        monkeypatch.setitem(sys.modules, name, None)
    with open_pyramid(tmp_path / 'a.tif', (400, 560)) as pyramid:
        assert pyramid is None


def test_openslide_takes_the_place_of_tiffslide(tmp_path, image, monkeypatch):
    small, closed = image[::2, ::2], []

    class OpenSlide:
        level_dimensions, level_downsamples = ((560, 400), (280, 200)), (1., 2.)

        def __init__(self, path):
            self.path = path

        def read_region(self, corner, level, size):
            x, y = (place // 2 for place in corner)
            alpha = np.full((*size[::-1], 1), 255, np.uint8)
            return Image.fromarray(np.concatenate([small[y:y + size[1], x:x + size[0]], alpha], axis=2))

        def close(self):
            closed.append(self.path)

    monkeypatch.setitem(sys.modules, 'tiffslide', None)
    monkeypatch.setitem(sys.modules, 'openslide', SimpleNamespace(OpenSlide=OpenSlide))
    with open_pyramid(tmp_path / 'a.svs', (400, 560)) as pyramid:
        assert pyramid.coarsest(3.) == 1
        np.testing.assert_array_equal(pyramid.read(1, 20, 10, 60, 50), small[10:50, 20:60])
    assert closed == [str(tmp_path / 'a.svs')]
    with open_pyramid(tmp_path / 'a.svs', (800, 560)) as pyramid:
        assert pyramid is None


@pytest.mark.parametrize('region', [np.zeros((9, 9), np.uint8), np.zeros((8, 9, 3), np.uint8),
                                    np.zeros((9, 9, 3), np.uint16), None])
def test_a_damaged_level_is_an_error(region):
    def read_region(*_):
        if region is None:
            raise OSError('no more data')
        return region

    pyramid = Pyramid(SimpleNamespace(level_dimensions=((80, 80), (40, 40)), level_downsamples=(1., 2.),
                                      read_region=read_region))
    with pytest.raises(ImageReadError, match='level 1 cannot be read'):
        pyramid.read(1, 0, 0, 9, 9)
