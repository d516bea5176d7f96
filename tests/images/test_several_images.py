"""From a file with several images, the one that is meant is read, or the file is refused; no other file is read."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.image_files import read_everywhere

from mmcell.images.image_file import read_image
from mmcell.images.limits import ImageReadError

OME = ('<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
       'UUID="{uuid}">'
       '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="40" SizeY="32" '
       'SizeC="{c}" SizeZ="{z}" SizeT="{t}">{planes}</Pixels></Image></OME>')
PLANE = '<TiffData {axis}="{i}" IFD="{ifd}" PlaneCount="1"><UUID FileName="{name}">{name}</UUID></TiffData>'


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)


def write_pages(path, *pages):
    """Writes pages, each given as (pixels, options), without metadata of tifffile."""
    with tifffile.TiffWriter(path) as tiff:
        for pixels, options in pages:
            tiff.write(pixels, photometric='rgb' if pixels.ndim == 3 else 'minisblack', metadata=None, **options)


@pytest.mark.parametrize('rest', [
    [(slice(None, None, 2), dict(subfiletype=1))], [(slice(None, None, 2), {}), (slice(None, None, 4), {})],
    [(slice(None, 9), dict(subfiletype=1))], [(slice(None), dict(subfiletype=4))],
    [(slice(None, None, 3), {}), (slice(None, 5), dict(subfiletype=9))]],
    ids=['a flagged level', 'levels without flags', 'a thumbnail', 'a mask', 'a level and a macro'])
def test_levels_thumbnails_and_masks_are_passed_over(tmp_path, image, rest):
    write_pages(tmp_path / 'a.tif', (image, {}), *(
        (image[part, part] if options != dict(subfiletype=4) else image[..., 0] > 9, options)
        for part, options in rest))
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), image)


def test_a_flagged_thumbnail_before_the_image(tmp_path, image):
    write_pages(tmp_path / 'a.tif', (image[::4, ::4], dict(subfiletype=1)), (image, {}))
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), image)


@pytest.mark.parametrize('shapes, message', [
    ([(32, 40), (32, 40)], 'holds 2 images of 40 x 32 px'), ([(32, 40), (9, 40)], 'holds 2 images; exactly one'),
    ([(8, 10), (32, 40)], 'holds 2 images; exactly one'), ([(32, 40)] * 3, 'holds 3 images of 40 x 32 px'),
    ([(32, 40), (16, 20), (7, 9)], 'holds 2 images; exactly one')])
def test_several_images_are_refused(tmp_path, image, shapes, message):
    write_pages(tmp_path / 'a.tif', *((image[:height, :width], {}) for height, width in shapes))
    with pytest.raises(ImageReadError, match=f'{message}.*save each image in its own file'):
        read_everywhere(tmp_path / 'a.tif')


def test_an_image_below_another_one_that_is_not_a_smaller_copy_is_refused(tmp_path, image):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as tiff:
        tiff.write(image[::4, ::4], photometric='rgb', subfiletype=1, subifds=1, metadata=None)
        tiff.write(image, photometric='rgb', metadata=None)
    with pytest.raises(ImageReadError, match='holds 2 images'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('options', [dict(imagej=True), dict(ome=True, photometric='minisblack'),
                                     dict(photometric='minisblack')], ids=['ImageJ', 'OME', 'tifffile'])
@pytest.mark.parametrize('axis', 'CZT')
def test_three_pages_are_rgb_if_they_are_called_channels(tmp_path, image, options, axis):
    tifffile.imwrite(tmp_path / 'a.tif', np.moveaxis(image, -1, 0).copy(), metadata={'axes': f'{axis}YX'}, **options)
    if axis == 'C':
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), image)
    else:
        with pytest.raises(ImageReadError, match='holds 3 images'):
            read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('axis', 'CZT')
@pytest.mark.parametrize('present', [(0, 1, 2), (1,)], ids=['all', 'one'])
def test_a_file_of_a_set_gives_its_own_plane_and_never_opens_the_others(tmp_path, axis, present):
    sizes = {'c': 1, 'z': 1, 't': 1, axis.lower(): 3}
    planes = ''.join(PLANE.format(axis=f'First{axis}', i=i, ifd=0, name=f'../{tmp_path.name}/p{i}.ome.tif')
                     for i in range(3))
    for i in present:
        tifffile.imwrite(tmp_path / f'p{i}.ome.tif', np.full((32, 40), 10 * (i + 1), np.uint8), metadata=None,
                         description=OME.format(uuid=f'p{i}', planes=planes, **sizes))
    for i in present:
        assert (read_everywhere(tmp_path / f'p{i}.ome.tif') == 10 * (i + 1)).all()


def test_three_pages_whose_planes_belong_to_another_file_or_another_order_are_refused(tmp_path, image):
    for name, order in (('other.ome.tif', (0, 1, 2)), ('a.ome.tif', (2, 1, 0))):
        planes = ''.join(PLANE.format(axis='FirstC', i=i, ifd=ifd, name=name) for i, ifd in enumerate(order))
        with tifffile.TiffWriter(tmp_path / 'a.ome.tif', ome=False) as tiff:
            for i in range(3):
                tiff.write(image[..., i], metadata=None, photometric='minisblack',
                           description=OME.format(uuid='a', planes=planes, c=3, z=1, t=1) if i == 0 else None)
        with pytest.raises(ImageReadError, match='holds 3 images'):
            read_everywhere(tmp_path / 'a.ome.tif')


@pytest.mark.parametrize('description', [
    'ImageJ=1.53t\nimages=4\nslices=4\n', 'ImageJ=1.53t\nimages=4\nchannels=2\nframes=2\nhyperstack=true\n',
    '{"shape": [4, 32, 40], "axes": "ZYX"}'])
def test_one_page_that_stands_for_a_stack_is_refused_unless_the_file_is_too_small_for_it(tmp_path, rng, description):
    plane = rng.integers(0, 256, (32, 40)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'copied.tif', plane, metadata=None, description=description)
    np.testing.assert_array_equal(read_everywhere(tmp_path / 'copied.tif')[..., 0], plane)
    with open(tmp_path / 'copied.tif', 'ab') as file:
        file.write(bytes(3 * plane.size))
    with pytest.raises(ImageReadError, match='holds a stack of 4 planes'):
        read_everywhere(tmp_path / 'copied.tif')


def test_a_volume_in_one_page_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((16, 32, 48), np.uint8), volumetric=True, tile=(16, 16, 16),
                     photometric='minisblack')
    with pytest.raises(ImageReadError, match='holds a volume of 16 slices'):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_animations_are_refused(tmp_path, image, suffix):
    frames = [Image.fromarray(image), Image.fromarray(image[::-1].copy())]
    frames[0].save(tmp_path / f'one.{suffix}')
    assert read_everywhere(tmp_path / f'one.{suffix}').shape == image.shape
    frames[0].save(tmp_path / f'two.{suffix}', save_all=True, append_images=frames[1:])
    with pytest.raises(ImageReadError, match='holds 2 images'):
        read_everywhere(tmp_path / f'two.{suffix}')


def test_a_kind_of_file_that_is_not_read_is_named_with_those_that_are(tmp_path, image):
    Image.fromarray(image).resize((32, 32)).save(tmp_path / 'a.ico')
    with pytest.raises(ImageReadError, match=r'a\.ico: is not an image.*JPEG 2000, PNG.*Save it as TIFF'):
        read_everywhere(tmp_path / 'a.ico')
    (tmp_path / 'b.tif').write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n')
    with pytest.raises(ImageReadError, match=r'b\.tif: is a Git LFS pointer.*git lfs pull'):
        read_image(tmp_path / 'b.tif')
    with pytest.raises(ImageReadError, match=re.escape(f'{tmp_path}: is not a file')):
        read_image(tmp_path)
