"""Images and masks are turned as the tag Orientation says, by all readers alike."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from support.image_files import read_everywhere

from mmcell.images.image_file import open_image, read_label_map
from mmcell.layouts.class_maps import LayoutError, read_train_image


@pytest.fixture
def image(rng):
    return np.repeat(np.repeat(rng.integers(0, 256, (4, 5, 3)), 8, axis=0), 8, axis=1).astype(np.uint8)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['tif', 'png', 'jpg', 'webp'])
def test_images_are_turned_as_pillow_turns_them(tmp_path, image, suffix, orientation):
    path = tmp_path / f'a.{suffix}'
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(image).save(path, exif=exif, **({'lossless': True} if suffix == 'webp' else {}))
    with Image.open(path) as picture:
        expected = np.array(ImageOps.exif_transpose(picture))
    assert np.abs(read_everywhere(path).astype(int) - expected).max() <= 2
    with open_image(path) as opened:
        assert opened.orientation == orientation


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('settings', [dict(tile=(16, 16), compression='zlib'), dict(rowsperstrip=7, compression='lzw')])
def test_rectangles_of_a_turned_tiff(tmp_path, image, orientation, settings):
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', extratags=[(274, 'H', 1, orientation, True)],
                     **settings)
    with Image.open(tmp_path / 'a.tif') as picture:
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), np.array(ImageOps.exif_transpose(picture)))
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif', percentiles=(1, 99)).shape[:2],
                                  image.shape[:2] if orientation < 5 else image.shape[1::-1])


@pytest.mark.parametrize('value', [0, 9, 300])
def test_an_unknown_orientation_counts_as_upright(tmp_path, image, value):
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', extratags=[(274, 'H', 1, value, True)])
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), image)


def write_folder(folder, of_image, of_mask):
    folder.mkdir()
    ids = np.zeros((30, 40), np.uint16)
    ids[2:9, 3:8] = 5
    grey = np.full((30, 40), 9, np.uint8)
    for name, pixels, orientation in (('image.tif', grey, of_image), ('class1.tif', ids, of_mask)):
        tifffile.imwrite(folder / name, pixels, extratags=[(274, 'H', 1, orientation, True)])
    return ids


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_a_mask_is_turned_like_its_image(tmp_path, orientation):
    ids = write_folder(tmp_path / 'x', orientation, orientation)
    turned = {1: ids, 3: ids[::-1, ::-1], 6: np.rot90(ids, -1)}[orientation]
    np.testing.assert_array_equal(read_label_map(tmp_path / 'x' / 'class1.tif'), turned)
    train = read_train_image(tmp_path / 'x', tmp_path)
    assert (train.height, train.width) == turned.shape and list(train.cells) == ['class1']


@pytest.mark.parametrize('of_image, of_mask', [(3, 1), (1, 2), (2, 4)])
def test_a_mask_with_another_orientation_than_its_image_is_refused(tmp_path, of_image, of_mask):
    write_folder(tmp_path / 'x', of_image, of_mask)
    with pytest.raises(LayoutError, match=rf'class1\.tif: .* Orientation {of_mask}, but image\.tif has {of_image}'):
        read_train_image(tmp_path / 'x', tmp_path)
