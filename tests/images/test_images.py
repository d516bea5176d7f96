import cv2
import numpy as np
import pytest
import tifffile

from mmcell.images.image_file import open_image, read_image, read_label_map
from mmcell.images.limits import ImageReadError

COLORS = np.array([[[200, 100, 50], [10, 20, 30]]], np.uint8)


def with_alpha(colors, alpha=128):
    return np.concatenate([colors, np.full((*colors.shape[:2], 1), alpha, colors.dtype)], axis=2)


@pytest.mark.parametrize('pixels, options, expected', [
    (COLORS, dict(photometric='rgb'), COLORS),
    (with_alpha(COLORS), dict(photometric='rgb', extrasamples=['unassalpha'], compression='lzw'), COLORS),
    (np.moveaxis(COLORS, -1, 0), dict(photometric='rgb', planarconfig='separate'), COLORS),
    (COLORS.astype(np.uint16) * 257, dict(photometric='rgb'), COLORS),
    (with_alpha(COLORS)[:, :, 2:], dict(photometric='minisblack', extrasamples=['unassalpha'], planarconfig='contig'),
     np.repeat(COLORS[:, :, 2:], 3, 2)),
    (COLORS[:, :, 0], dict(photometric='minisblack'), np.repeat(COLORS[:, :, :1], 3, 2)),
    (COLORS[:, :, 0], dict(photometric='miniswhite'), np.repeat(255 - COLORS[:, :, :1], 3, 2)),
    (COLORS[:, :, 0] > 100, dict(photometric='minisblack'), np.array([[[255] * 3, [0] * 3]])),
    (COLORS[None, :, :, 0], dict(photometric='minisblack', metadata={'axes': 'ZYX'}),
     np.repeat(COLORS[:, :, :1], 3, 2)),
])
def test_tiff_variants_become_rgb_uint8(tmp_path, pixels, options, expected):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, pixels, **options)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(read_image(path, 'bgr'), expected[:, :, ::-1])


@pytest.mark.parametrize('shape, options', [
    ((8, 8, 4), dict(photometric='separated')),
    ((8, 8, 3), dict(photometric='cielab')),
    ((2, 8, 8), dict(photometric='minisblack', planarconfig='separate')),
    ((2, 8, 8), dict(photometric='minisblack', metadata={'axes': 'CYX'})),
    ((4, 8, 8), dict(photometric='minisblack', metadata={'axes': 'CYX'})),
])
def test_channels_that_are_not_colours_are_refused(tmp_path, shape, options):
    tifffile.imwrite(tmp_path / 'i.tif', np.zeros(shape, np.uint8), **options)
    with pytest.raises(ImageReadError, match='expected'):
        read_image(tmp_path / 'i.tif')


def test_a_pyramid_is_read_at_full_resolution(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / 'p.tif') as tiff:
        tiff.write(pixels, subifds=1, tile=(16, 16), photometric='rgb')
        tiff.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16), photometric='rgb')
    np.testing.assert_array_equal(read_image(tmp_path / 'p.tif'), pixels)


def test_the_size_of_an_image_of_any_pixel_type_is_read(tmp_path):
    tifffile.imwrite(tmp_path / 'i.tif', np.zeros((4, 5), np.float32))
    with open_image(tmp_path / 'i.tif') as image:
        image.check_pixels()
        assert (image.height, image.width) == (4, 5)


def test_palette_indices_become_colours(tmp_path):
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 7] = np.array([200, 100, 50]) * 256
    tifffile.imwrite(tmp_path / 'p.tif', np.array([[7, 0]], np.uint8), photometric='palette', colormap=palette)
    np.testing.assert_array_equal(read_image(tmp_path / 'p.tif'), [[[200, 100, 50], [0, 0, 0]]])


@pytest.mark.parametrize('pixels', [COLORS, with_alpha(COLORS), COLORS[:, :, 0]])
def test_png_is_read_in_rgb(tmp_path, pixels):
    swapped = pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    assert cv2.imwrite(str(tmp_path / 'i.png'), swapped)
    expected = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else COLORS
    np.testing.assert_array_equal(read_image(tmp_path / 'i.png'), expected)


@pytest.mark.parametrize('dtype', [np.uint16, np.float32, np.int32])
def test_percentiles_stretch_each_channel(tmp_path, dtype):
    ramp = np.arange(101, dtype=dtype)[None, :] * 7 + 1000
    pixels = np.stack([ramp, ramp * 2, np.full_like(ramp, 5)], axis=-1)
    tifffile.imwrite(tmp_path / 'i.tif', pixels, photometric='rgb')
    image = read_image(tmp_path / 'i.tif', percentiles=(10, 90))
    np.testing.assert_array_equal(image[0, [0, 10, 50, 90, 100], 0], [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(image[0, :, 1], image[0, :, 0])
    assert (image[0, :, 2] == 0).all()


@pytest.mark.parametrize('pixels, options, message', [
    (np.zeros((4, 5), np.float32), {}, 'percentiles'),
    (np.zeros((5, 6, 7), np.uint8), dict(photometric='minisblack', metadata={'axes': 'ZYX'}),
     'holds 5 images of 7 x 6 px: a stack'),
    (np.zeros((6, 8, 8), np.uint8), dict(photometric='minisblack', metadata={'axes': 'CYX'}), '6 channels'),
])
def test_types_without_a_range_stacks_and_many_channels_are_refused(tmp_path, pixels, options, message):
    tifffile.imwrite(tmp_path / 'i.tif', pixels, **options)
    with pytest.raises(ImageReadError, match=message) as error:
        read_image(tmp_path / 'i.tif')
    assert str(tmp_path / 'i.tif') in str(error.value)


@pytest.mark.parametrize('name', ['i.tif', 'i.png'])
@pytest.mark.parametrize('content', [b'', b'not an image'])
def test_the_error_for_a_damaged_file_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageReadError, match=name):
        read_image(tmp_path / name)


def test_a_truncated_tiff_is_refused(tmp_path):
    path = tmp_path / 'i.tif'
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), compression='lzw')
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ImageReadError, match='i.tif'):
        read_image(path)


def test_missing_files_and_unknown_channel_orders_are_refused():
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_image('nowhere.tif')
    with pytest.raises(ValueError, match="'gbr'"):
        read_image('nowhere.tif', 'gbr')


@pytest.mark.parametrize('dtype', [np.float64, np.float32, np.uint8, np.uint16, np.int32])
def test_label_maps_keep_their_ids(tmp_path, dtype):
    ids = np.array([[0, 3], [161, 0]])
    tifffile.imwrite(tmp_path / 'm.tif', ids.astype(dtype))
    label_map = read_label_map(tmp_path / 'm.tif')
    assert label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, ids)


@pytest.mark.parametrize('ids, options', [
    (np.array([[False, True]]), {}),
    (np.array([[0, 1]], np.uint8), dict(photometric='miniswhite')),
    (np.array([[0, 1]], np.int16), dict(photometric='miniswhite')),
    (np.array([[0, 1]], np.uint8), dict(photometric='palette', colormap=np.full((3, 256), 65535, np.uint16))),
])
def test_ids_are_the_stored_samples_whatever_the_file_says_about_colours(tmp_path, ids, options):
    tifffile.imwrite(tmp_path / 'm.tif', ids, **options)
    assert read_label_map(tmp_path / 'm.tif').tolist() == [[0, 1]]


@pytest.mark.parametrize('ids, message', [
    (np.array([[.5, 1]]), 'whole'),
    (np.array([[np.nan, 1]]), 'whole'),
    (np.array([[np.inf, 1]]), 'whole'),
    (np.array([[-1., 1]]), 'from -1'),
    (np.array([[2. ** 40, 1]]), 'ids from'),
    (np.zeros((3, 4, 3), np.uint8), '3 channels'),
])
def test_a_file_that_is_not_an_instance_id_map_is_refused(tmp_path, ids, message):
    tifffile.imwrite(tmp_path / 'm.tif', ids)
    with pytest.raises(ImageReadError, match=message):
        read_label_map(tmp_path / 'm.tif')


def test_a_tiff_is_recognised_by_its_content_not_by_its_name(tmp_path):
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for name, options in (('a.lsm', {}), ('b.png', dict(byteorder='>')), ('c', dict(bigtiff=True))):
        tifffile.imwrite(tmp_path / name, image, photometric='rgb', **options)
        np.testing.assert_array_equal(read_image(tmp_path / name), image)
    tifffile.imwrite(tmp_path / 'stack.lsm', np.stack([image] * 3), photometric='rgb')
    with pytest.raises(ImageReadError, match=r'stack\.lsm: holds 3 images'):
        read_image(tmp_path / 'stack.lsm')
    cv2.imwrite(str(tmp_path / 'd.png'), image[:, :, ::-1])
    (tmp_path / 'd.png').rename(tmp_path / 'd.tif')
    np.testing.assert_array_equal(read_image(tmp_path / 'd.tif'), image)
    (tmp_path / 'e.tif').touch()
    with pytest.raises(ImageReadError, match='is empty'):
        read_image(tmp_path / 'e.tif')
