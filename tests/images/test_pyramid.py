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
        level_dimensions, level_downsamples, properties = ((560, 400), (280, 200)), (1., 2.), {}

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
                                      read_region=read_region), (80, 80))
    with pytest.raises(ImageReadError, match='level 1 cannot be read'):
        pyramid.read(1, 0, 0, 9, 9)


def test_levels_of_an_aperio_slide_lie_among_its_thumbnail_label_and_macro_image(tmp_path, image):
    pytest.importorskip('tiffslide', reason='tiffslide is not installed')
    header = 'Aperio Image Library v12.0.5\r\n560x400 [0,0 560x400] (64x64)'
    tiled = dict(photometric='rgb', tile=(64, 64), metadata=None)
    with tifffile.TiffWriter(tmp_path / 'a.svs') as tiff:
        tiff.write(image, description=f'{header} |AppMag = 40|MPP = 0.2500', **tiled)
        tiff.write(image[::8, ::8], description=f'{header} -> 70x50 - |AppMag = 40', photometric='rgb', metadata=None)
        tiff.write(image[::4, ::4], description=f'{header} -> 140x100 |AppMag = 40', **tiled)
        tiff.write(image[:90, :80], description='Aperio Image Library v12.0.5\r\nlabel 80x90', photometric='rgb',
                   subfiletype=1, metadata=None)
        tiff.write(image[:30, :70], description='Aperio Image Library v12.0.5\r\nmacro 70x30', photometric='rgb',
                   subfiletype=9, metadata=None)
    with open_image(tmp_path / 'a.svs') as file, file.level_for(5.) as level:
        assert file.mpp == .25 and level.size == (100, 140)
        np.testing.assert_array_equal(level.read(0, 0, 140, 100), image[::4, ::4])
        np.testing.assert_array_equal(level.read(33, 17, 64, 80), image[::4, ::4][17:80, 33:64])


def write_leica_slide(path, image, n_regions=1):
    """Writes a slide of 1600x1200 px with an overview, and one or more regions with a copy of a quarter of the size."""
    def described(name, first_page, side_nm, corner_nm, *sizes):
        dimensions = ''.join(f'<dimension sizeX="{x}" sizeY="{y}" r="{i}" ifd="{first_page + i}"/>'
                             for i, (x, y) in enumerate(sizes))
        return (f'<image name="{name}"><creationDate>2020-01-01T00:00:00Z</creationDate><device model="a" version="1"/>'
                f'<pixels sizeX="{sizes[0][0]}" sizeY="{sizes[0][1]}">{dimensions}</pixels>'
                f'<view sizeX="{side_nm[0]}" sizeY="{side_nm[1]}" offsetX="{corner_nm[0]}" offsetY="{corner_nm[1]}"/>'
                '<scanSettings><objectiveSettings><objective>40</objective></objectiveSettings><illuminationSettings>'
                '<numericalAperture>0.65</numericalAperture><illuminationSource>brightfield</illuminationSource>'
                '</illuminationSettings></scanSettings></image>')

    regions = [described(f'region {i}', 1 + 2 * i, (140_000, 100_000), (50_000, 60_000 + 110_000 * i), (560, 400),
                         (140, 100))
               for i in range(n_regions)]
    xml = ('<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
           '<collection name="glass" sizeX="400000" sizeY="300000">'
           + described('overview', 0, (400_000, 300_000), (0, 0), (80, 60)) + ''.join(regions) + '</collection></scn>')
    tiled = dict(photometric='rgb', tile=(64, 64), metadata=None)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(image[:60, :80], description=xml, **tiled)
        for _ in regions:
            tiff.write(image, **tiled)
            tiff.write(image[::4, ::4], **tiled)


def test_the_scanned_region_of_a_leica_slide_is_read_with_its_levels_and_scale(tmp_path, image):
    pytest.importorskip('tiffslide', reason='tiffslide is not installed')
    write_leica_slide(tmp_path / 'a.scn', image)
    with open_image(tmp_path / 'a.scn') as file, file.level_for(5.) as level:
        assert (file.height, file.width, file.mpp) == (400, 560, .25)
        np.testing.assert_array_equal(file.read(), image)
        assert level.size == (100, 140)
        np.testing.assert_array_equal(level.read(0, 0, 140, 100), image[::4, ::4])
        np.testing.assert_array_equal(level.read(33, 17, 64, 80), image[::4, ::4][17:80, 33:64])


def test_a_leica_slide_with_two_regions_is_refused(tmp_path, image):
    write_leica_slide(tmp_path / 'a.scn', image, 2)
    with pytest.raises(ImageReadError, match='holds 2 scanned regions; exactly one is expected: save each'):
        open_image(tmp_path / 'a.scn').__enter__()


@pytest.mark.parametrize(('old', 'new'), [
    ('</collection>', ''), ('sizeX="560"', 'sizeX="0"'), ('sizeX="560"', 'sizeX="xxx"'), ('<view', '<vieW'),
    ('sizeX="560"', 'sizeX="561"')])
def test_a_damaged_description_of_a_leica_slide_is_an_error(tmp_path, image, old, new):
    write_leica_slide(tmp_path / 'a.scn', image)
    content = (tmp_path / 'a.scn').read_bytes()
    spoiled = content.replace(old.encode(), new.encode().ljust(len(old)))
    assert spoiled != content and len(spoiled) == len(content)
    (tmp_path / 'a.scn').write_bytes(spoiled)
    with pytest.raises(ImageReadError, match='damaged description|the size of its scanned region'):
        open_image(tmp_path / 'a.scn').__enter__()
