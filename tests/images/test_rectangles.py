"""Rectangles of a TIFF equal the same rectangles of the whole image that read_image returns."""

import numpy as np
import pytest
import tifffile
from support.image_files import TIFF_LAYOUTS

from mmcell.images.image_file import open_image, read_image
from mmcell.images.limits import LIMITS, ImageReadError
from mmcell.images.tiff_pages import PageReader

RECTANGLES = [(0, 0, 1, 1), (0, 0, 75, 61), (14, 17, 40, 33), (70, 60, 75, 61), (16, 16, 32, 32)]


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (61, 75, 3)).astype(np.uint8)


def assert_same(path, whole=None, **settings):
    whole = read_image(path, **settings) if whole is None else whole
    with open_image(path, **settings) as opened:
        assert (opened.height, opened.width) == whole.shape[:2]
        for x0, y0, x1, y1 in RECTANGLES:
            assert np.array_equal(opened.read(x0, y0, x1, y1), whole[y0:y1, x0:x1])


@pytest.mark.parametrize('layout', TIFF_LAYOUTS)
def test_rgb(tmp_path, image, layout):
    settings = TIFF_LAYOUTS[layout]
    stored = np.moveaxis(image, -1, 0) if 'planarconfig' in settings else image
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='rgb', **settings)
    assert_same(tmp_path / 'a.tif')


@pytest.mark.parametrize('kind', ['alpha', 'grey', 'white is zero', 'palette', '16 bits', 'bgr'])
def test_colours_and_types(tmp_path, image, rng, kind):
    settings = dict(tile=(16, 16), compression='zlib')
    path = tmp_path / 'a.tif'
    if kind == 'alpha':
        tifffile.imwrite(path, np.dstack([image, image[..., :1]]), photometric='rgb', extrasamples=['unassalpha'],
                         **settings)
    elif kind == 'palette':
        colormap = rng.integers(0, 1 << 16, (3, 256)).astype(np.uint16)
        tifffile.imwrite(path, image[..., 0], photometric='palette', colormap=colormap, **settings)
    elif kind == '16 bits':
        tifffile.imwrite(path, rng.integers(0, 1 << 16, (61, 75)).astype(np.uint16), **settings)
    elif kind == 'bgr':
        tifffile.imwrite(path, image, photometric='rgb', **settings)
    else:
        tifffile.imwrite(path, image[..., 0], photometric='miniswhite' if kind == 'white is zero' else 'minisblack',
                         **settings)
    assert_same(path, channel_order='bgr' if kind == 'bgr' else 'rgb')


@pytest.mark.parametrize('percentiles', [(0, 100), (1, 99.8), (13.7, 50)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_percentiles_are_those_of_the_whole_image(tmp_path, rng, percentiles, dtype):
    pixels = (rng.gamma(2, 12, (61, 75, 3)) * [1, 2, 0]).astype(dtype)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', tile=(16, 16))
    assert_same(tmp_path / 'a.tif', percentiles=percentiles)


@pytest.mark.parametrize('dtype', [np.float32, np.int16, np.uint32])
def test_percentiles_of_other_types_are_those_of_the_whole_image(tmp_path, rng, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', (rng.gamma(2, 900, (61, 75)) - 700 * (dtype != np.uint32)).astype(dtype),
                     tile=(16, 16))
    assert_same(tmp_path / 'a.tif', percentiles=(1, 99))


@pytest.mark.parametrize('as_pages', [False, True])
def test_a_pyramid_is_read_at_full_resolution(tmp_path, image, as_pages):
    with tifffile.TiffWriter(tmp_path / 'a.tif', bigtiff=True) as tiff:
        tiff.write(image, photometric='rgb', tile=(16, 16), **({} if as_pages else dict(subifds=1)))
        tiff.write(image[::2, ::2], photometric='rgb', tile=(16, 16), subfiletype=1)
    with tifffile.TiffFile(tmp_path / 'a.tif') as tiff:
        assert len(tiff.series[0].levels) == 2
    assert_same(tmp_path / 'a.tif')


def test_from_a_slide_the_series_called_baseline_is_read(tmp_path, image):
    with tifffile.TiffWriter(tmp_path / 'a.svs', bigtiff=True) as tiff:
        tiff.write(image, photometric='rgb', tile=(16, 16), description='Aperio Image Library v1', metadata=None)
        tiff.write(image[::4, ::4], photometric='rgb', description='Aperio thumbnail', metadata=None)
        tiff.write(image[::2, ::2], photometric='rgb', tile=(16, 16), description='Aperio level', metadata=None)
    assert_same(tmp_path / 'a.svs', image)


def test_a_tiff_with_each_channel_on_its_own_page(tmp_path, image):
    tifffile.imwrite(tmp_path / 'channels.tif', np.moveaxis(image, -1, 0), photometric='minisblack',
                     metadata={'axes': 'CYX'})
    assert_same(tmp_path / 'channels.tif', image)


def test_a_missing_tile_is_background(tmp_path, image):
    tiles = iter([image[:16, :16], None, None, image[16:32, 16:32]])
    tifffile.imwrite(tmp_path / 'a.tif', tiles, shape=(32, 32, 3), dtype=np.uint8, photometric='rgb', tile=(16, 16),
                     compression='zlib')
    with open_image(tmp_path / 'a.tif') as opened:
        pixels = opened.read(0, 0, 32, 32)
    assert np.array_equal(pixels[:16, :16], image[:16, :16]) and not pixels[:16, 16:].any()


def test_the_error_for_a_file_that_cannot_be_read_names_the_file(tmp_path, image):
    with pytest.raises(FileNotFoundError, match='b.tif'), open_image(tmp_path / 'b.tif'):
        pass
    (tmp_path / 'a.tif').write_bytes(b'II*\0')
    with pytest.raises(ImageReadError, match='a.tif'), open_image(tmp_path / 'a.tif'):
        pass
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', tile=(16, 16), compression='lzw')
    whole = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(whole[:-3000])
    with pytest.raises(ImageReadError, match=r'a\.tif: is cut short'), open_image(tmp_path / 'a.tif'):
        pass
    with tifffile.TiffWriter(tmp_path / 'two.tif') as tiff:
        tiff.write(image, photometric='rgb')
        tiff.write(image[:5], photometric='rgb')
    with pytest.raises(ImageReadError, match='holds 2 images'), open_image(tmp_path / 'two.tif'):
        pass


def test_strips_too_large_to_decode_are_refused(tmp_path, image, monkeypatch):
    monkeypatch.setattr(LIMITS, 'segment_bytes', 1000)
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', compression='lzw', rowsperstrip=61)
    with pytest.raises(ImageReadError, match='strips of 75x61 px.*save it in smaller tiles.*LIMITS.segment_bytes'), \
            open_image(tmp_path / 'a.tif'):
        pass


def test_the_number_of_decoded_tiles_that_are_kept_is_limited(tmp_path, image, monkeypatch):
    monkeypatch.setattr('mmcell.images.segment_cache.LATEST_BYTES', 3 * 16 * 16 * 3)
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', tile=(16, 16), compression='zlib')
    with tifffile.TiffFile(tmp_path / 'a.tif') as tiff:
        reader = PageReader(tiff.pages[0])
        assert np.array_equal(reader.read(0, 0, 75, 61), image)
        assert len(reader._cache) == 3
