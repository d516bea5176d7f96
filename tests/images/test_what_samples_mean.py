"""What a file says about its samples is believed where it can be right, and refused where it cannot."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.image_files import change_tag, read_everywhere

from mmcell.images.image_file import read_image, read_label_map
from mmcell.images.limits import ImageReadError

PHOTOMETRIC, COMPRESSION, UNKNOWN_TAG = 262, 259, 65000


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (37, 43, 3)).astype(np.uint8)


def as_rgb(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


@pytest.mark.parametrize('settings', [{}, dict(tile=(16, 16), compression='zlib'), dict(byteorder='<', rowsperstrip=5)])
@pytest.mark.parametrize('kind', ['grey', 'grey, 16 bits', 'rgb', 'rgba'])
def test_without_a_photometric_tag_the_number_of_samples_decides(tmp_path, rgb, kind, settings):
    stored = {'grey': rgb[..., 0], 'grey, 16 bits': rgb[..., 0].astype(np.uint16) * 257, 'rgb': rgb,
              'rgba': np.dstack([rgb, rgb[..., :1]])}[kind]
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='minisblack' if stored.ndim == 2 else 'rgb', **settings)
    change_tag(tmp_path / 'a.tif', PHOTOMETRIC, new_code=UNKNOWN_TAG)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), as_rgb(rgb[..., 0]) if 'grey' in kind else rgb)


def test_without_a_photometric_tag_fax_is_white_is_zero_and_jpeg_of_three_channels_is_refused(tmp_path, rgb):
    Image.fromarray(rgb[..., 0] > 99).save(tmp_path / 'fax.tif', compression='group4')
    with tifffile.TiffFile(tmp_path / 'fax.tif') as tiff:
        assert tiff.pages[0].photometric == 0 or tiff.pages[0].photometric == 1
        inverted = tiff.pages[0].photometric == 1
    change_tag(tmp_path / 'fax.tif', PHOTOMETRIC, new_code=UNKNOWN_TAG)
    expected = (rgb[..., 0] > 99) ^ inverted
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'fax.tif'), as_rgb(expected.astype(np.uint8) * 255))
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', compression='jpeg')
    change_tag(tmp_path / 'a.tif', PHOTOMETRIC, new_code=UNKNOWN_TAG)
    with pytest.raises(ImageReadError, match='3 channels of unknown kind'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('photometric', [4, 5, 6, 8, 9, 10, 32803, 32844, 32845, 34892, 60000])
def test_colour_spaces_that_are_not_rgb_are_refused(tmp_path, rgb, photometric):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb')
    change_tag(tmp_path / 'a.tif', PHOTOMETRIC, photometric)
    with pytest.raises(ImageReadError, match=r'a\.tif: .*(convert it|photometric|PHOTOMETRIC)'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('photometric', [0, 1, 2, 3])
@pytest.mark.parametrize('n_samples', range(1, 7))
def test_numbers_of_samples_that_fit_are_read_and_others_refused(tmp_path, rng, photometric, n_samples):
    stored = rng.integers(0, 256, (9, 11, n_samples)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', stored if n_samples > 1 else stored[:, :, 0], photometric='minisblack',
                     planarconfig='contig' if n_samples > 1 else None)
    change_tag(tmp_path / 'a.tif', PHOTOMETRIC, photometric)
    if (photometric, n_samples) in ((0, 1), (1, 1), (1, 3), (2, 3), (2, 4)):
        expected = stored[:, :, :3] if n_samples > 1 else as_rgb(stored[:, :, 0])
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'),
                                      255 - expected if photometric == 0 else expected)
    else:
        with pytest.raises(ImageReadError, match=f'has {n_samples} channels of kind'):
            read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('extra, expected', [('unassalpha', [100, 50, 0]), ('assocalpha', [200, 100, 0]),
                                             ('unspecified', [100, 50, 0])])
def test_alpha_is_left_out_and_colours_that_were_multiplied_by_it_are_divided(tmp_path, extra, expected):
    stored = np.tile(np.array([100, 50, 0, 127.5], np.float32).round().astype(np.uint8), (6, 5, 1))
    stored[0, 0] = 0
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='rgb', extrasamples=[extra])
    image = read_everywhere(tmp_path / 'a.tif')
    assert np.abs(image[3, 3].astype(int) - expected).max() <= 1 and not image[0, 0].any()


@pytest.mark.parametrize('bits', [1, 2, 3, 4, 6, 10, 12, 14])
def test_packed_values_are_scaled_by_their_own_maximum(tmp_path, rng, bits):
    values = rng.integers(0, 1 << bits, (13, 21)).astype(np.uint8 if bits <= 8 else np.uint16)
    values[0, :2] = 0, (1 << bits) - 1
    tifffile.imwrite(tmp_path / 'a.tif', values.astype(bool) if bits == 1 else values, bitspersample=bits,
                     photometric='minisblack')
    expected = np.floor(values * 255. / ((1 << bits) - 1) + .5).astype(np.uint8)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), as_rgb(expected))
    np.testing.assert_array_equal(read_label_map(tmp_path / 'a.tif'), values)


def test_bytes_with_reversed_bits(tmp_path, rgb):
    reverse = np.array([int(f'{byte:08b}'[::-1], 2) for byte in range(256)], np.uint8)
    for settings in ({}, dict(rowsperstrip=5)):
        tifffile.imwrite(tmp_path / 'a.tif', reverse[rgb], photometric='rgb',
                         extratags=[(UNKNOWN_TAG, 'H', 1, 2, True)], **settings)
        change_tag(tmp_path / 'a.tif', UNKNOWN_TAG, new_code=266)
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), rgb)


@pytest.mark.parametrize('dtype', ['int8', 'int16', 'int32', 'uint32', 'float16', 'float32', 'float64'])
def test_types_without_a_known_range_need_percentiles(tmp_path, rgb, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', (rgb[..., 0] // 3).astype(dtype), tile=(16, 16))
    with pytest.raises(ImageReadError, match=f'type {dtype}.*--percentiles'):
        read_everywhere(tmp_path / 'a.tif')
    tifffile.imwrite(tmp_path / 'b.tif', rgb[..., 0] // 3)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif', percentiles=(1, 99)),
                                  read_everywhere(tmp_path / 'b.tif', percentiles=(1, 99)))


def test_complex_values_are_refused(tmp_path, rgb):
    tifffile.imwrite(tmp_path / 'a.tif', rgb[..., 0].astype(np.complex64))
    for settings in ({}, dict(percentiles=(1, 99))):
        with pytest.raises(ImageReadError, match='complex values'):
            read_everywhere(tmp_path / 'a.tif', **settings)
    with pytest.raises(ImageReadError, match='complex values'):
        read_label_map(tmp_path / 'a.tif')


def test_nan_is_dark_and_infinity_is_as_bright_as_the_brightest_value(tmp_path):
    values = np.linspace(0, 100, 40, dtype=np.float32).reshape(5, 8)
    values[0, 0], values[1, 0], values[2, 0] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / 'a.tif', values)
    image = read_everywhere(tmp_path / 'a.tif', percentiles=(0, 100))
    assert image[:3, 0, 0].tolist() == [0, 255, 0] and len(np.unique(image)) > 30


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_percentiles_equal_those_of_numpy(tmp_path, rng, dtype):
    pixels = rng.gamma(2, 20, (41, 53, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', tile=(16, 16))
    for percentiles in rng.uniform(0, 100, (20, 2)).round(2):
        values = pixels.astype(np.float32)
        low, high = np.percentile(values, sorted(percentiles), axis=(0, 1))
        stretched = np.clip((values - low) / np.where(high > low, high - low, np.inf) * 255 + .5, 0, 255)
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif', percentiles=tuple(sorted(percentiles))),
                                      stretched.astype(np.uint8))


@pytest.mark.parametrize('settings', [
    dict(compression='lzw', predictor=2), dict(compression='zlib', predictor=2, byteorder='>'),
    dict(compression='zstd', bigtiff=True, tile=(16, 16)), dict(compression='packbits'), dict(compression='lzma'),
    dict(compression='png'), dict(compression='jpeg2000', tile=(32, 32)), dict(compression='lerc'),
    dict(compression='jpegxl'), dict(compression='webp')], ids=str)
def test_codecs_without_loss(tmp_path, rgb, settings):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', **settings)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), rgb)


@pytest.mark.parametrize('code', [1, 32773, 34887])
def test_a_predictor_where_programs_disagree_on_it_is_refused(tmp_path, rgb, code):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', compression='lzw', predictor=2)
    change_tag(tmp_path / 'a.tif', COMPRESSION, code)
    with pytest.raises(ImageReadError, match='has a predictor with a compression for which'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('tag', [266, 284])  # FillOrder, PlanarConfiguration
@pytest.mark.parametrize('value', [0, 3, 190])
def test_tags_with_values_that_mean_nothing_are_refused(tmp_path, rgb, tag, value):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', compression='zlib',
                     extratags=[(UNKNOWN_TAG, 'H', 1, 1, True)])
    change_tag(tmp_path / 'a.tif', UNKNOWN_TAG, new_code=266)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), rgb)
    change_tag(tmp_path / 'a.tif', tag, value)
    with pytest.raises(ImageReadError, match=f'tag .* is {value}, but can be only 1 or 2'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('code', [6, 33003, 34892, 34934, 65000, 60000])
def test_codecs_whose_colours_or_sizes_cannot_be_checked_are_refused(tmp_path, rgb, code):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', compression='jpeg')
    change_tag(tmp_path / 'a.tif', COMPRESSION, code)
    with pytest.raises(ImageReadError, match='is compressed with .* save it without compression'):
        read_everywhere(tmp_path / 'a.tif')


def test_a_codec_that_is_not_installed_is_named_with_what_to_install(tmp_path, rgb, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', rgb, photometric='rgb', compression='zstd')
    monkeypatch.setattr(tifffile.TIFF, 'DECOMPRESSORS', type('Codecs', (), {'__getitem__': lambda self, code: 1 / 0})())

    def fail(self, code):
        raise KeyError(f"{code!r} requires the 'imagecodecs' package")

    monkeypatch.setattr(type(tifffile.TIFF.DECOMPRESSORS), '__getitem__', fail)
    with pytest.raises(ImageReadError, match='pip install imagecodecs'):
        read_everywhere(tmp_path / 'a.tif')


def test_interleaved_jpeg_ycbcr_is_converted_and_other_ycbcr_refused(tmp_path):
    uniform = np.tile(np.array([200, 100, 50], np.uint8), (32, 48, 1))
    Image.fromarray(uniform).save(tmp_path / 'a.tif', compression='jpeg')
    assert np.abs(read_everywhere(tmp_path / 'a.tif').astype(int) - [200, 100, 50]).max() <= 3
    Image.new('YCbCr', (48, 32), (100, 120, 140)).save(tmp_path / 'b.tif')
    with pytest.raises(ImageReadError, match='kind YCBCR'):
        read_everywhere(tmp_path / 'b.tif')
    tifffile.imwrite(tmp_path / 'c.tif', np.full((3, 32, 48), 99, np.uint8), photometric='rgb', planarconfig='separate',
                     compression='jpeg')
    change_tag(tmp_path / 'c.tif', PHOTOMETRIC, 6)
    with pytest.raises(ImageReadError, match='kind YCBCR'):
        read_everywhere(tmp_path / 'c.tif')


def test_a_palette_must_have_a_colour_for_each_pixel(tmp_path, rgb):
    tifffile.imwrite(tmp_path / 'a.tif', rgb[..., 0], photometric='minisblack')
    change_tag(tmp_path / 'a.tif', PHOTOMETRIC, 3)
    with pytest.raises(ImageReadError, match='PALETTE'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('settings', [
    dict(compression='jpeg'), dict(compression='webp', compressionargs={'level': 50}),
    dict(compression='jpeg2000', compressionargs={'level': 30}),
    dict(compression='lerc', compressionargs={'level': 5})], ids=str)
def test_an_id_map_with_lossy_compression_is_refused(tmp_path, settings):
    ids = np.zeros((40, 50), np.uint8)
    ids[5:20, 5:20] = 7
    tifffile.imwrite(tmp_path / 'a.tif', np.dstack([ids] * 3) if settings['compression'] == 'webp' else ids, **settings)
    with pytest.raises(ImageReadError, match=r'a\.tif: (is compressed with a codec that may|has [34] channels)'):
        read_label_map(tmp_path / 'a.tif')


@pytest.mark.parametrize('compression', ['lerc', 'png', 'zstd', 'lzw'])
def test_an_id_map_with_lossless_compression_is_read(tmp_path, compression):
    ids = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    tifffile.imwrite(tmp_path / 'a.tif', ids, compression=compression)
    np.testing.assert_array_equal(read_label_map(tmp_path / 'a.tif'), ids)


def test_an_id_map_in_a_jpeg_is_refused_whatever_its_name(tmp_path):
    Image.fromarray(np.full((40, 50), 7, np.uint8)).save(tmp_path / 'class1.jpg')
    (tmp_path / 'class1.jpg').rename(tmp_path / 'class1.tif')
    with pytest.raises(ImageReadError, match='may change values'):
        read_label_map(tmp_path / 'class1.tif')
    assert (read_image(tmp_path / 'class1.tif') == 7).all()
