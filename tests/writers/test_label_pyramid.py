"""Label maps with smaller copies, read back with other programs' libraries and with our own reader."""

from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import tiffslide
import zarr
from support.cells import cells_from_label_map
from support.synthetic_data import discs

from mmcell.cells.cells import Cells
from mmcell.images.image_file import open_image
from mmcell.writers import label_pyramid
from mmcell.writers.base import ImageInfo
from mmcell.writers.label_pyramid import level_shapes
from mmcell.writers.writing import writing_cells

# Sides that are smaller than a tile, a tile, one pixel more, odd in every level, and of one pixel.
SHAPES = [(60, 80), (512, 512), (513, 512), (1025, 700), (1301, 1503), (1, 1100)]
OME = '{http://www.openmicroscopy.org/Schemas/OME/2016-06}'


def make_cells(shape, seed=0):
    """Cells at random places, one of which is in the last pixel."""
    rng = np.random.default_rng(seed)
    places = [(number, *rng.integers(0, shape), rng.integers(1, 30)) for number in range(1, 40)]
    label_map = discs(shape, places)
    label_map[-1, -1] = 40
    return cells_from_label_map(label_map)


def write(folder, cells, shape, n_parts=3, numbers=None, formats=('labels', 'label-pyramid'), **attributes):
    """Writes cells by several calls; returns the map of the format ``labels``, and the path of the pyramid."""
    numbers = np.arange(1, len(cells) + 1) if numbers is None else numbers
    with writing_cells(formats, folder, 'a', ImageInfo(folder / 'a.svs', *shape, ['cell'], **attributes)) as add:
        for part in np.array_split(np.arange(len(cells)), n_parts):
            add(cells.take(part), numbers[part])
    return tifffile.imread(folder / 'a_labels.tif'), folder / 'a_labels.ome.tif'


@pytest.fixture(params=['in memory', 'on disk'])
def place(request, monkeypatch):
    if request.param == 'on disk':
        monkeypatch.setattr(label_pyramid, 'MAX_PIXELS_IN_MEMORY', 0)
    return request.param


@pytest.mark.parametrize('shape', SHAPES)
def test_every_level_takes_every_second_pixel_of_the_level_above(tmp_path, place, shape):
    label_map, path = write(tmp_path, make_cells(shape), shape)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome and tiff.is_bigtiff == (place == 'on disk') and len(tiff.series) == 1
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == level_shapes(shape)
        assert max(levels[-1].shape) <= 512 and all(max(level.shape) > 512 for level in levels[:-1])
        for number, level in enumerate(levels):
            page = level.keyframe
            assert (page.tile, page.compression, level.dtype) == ((512, 512), 8, np.uint16)
            assert np.array_equal(level.asarray(), label_map[::2 ** number, ::2 ** number])
        # The smaller levels are no pages of their own.
        assert len(tiff.pages) == 1 and len(tiff.pages[0].subifds or ()) == len(levels) - 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ['a_labels.csv', 'a_labels.ome.tif', 'a_labels.tif']


def test_other_readers_find_the_same_levels(tmp_path, place):
    shape = 1301, 1503
    label_map, path = write(tmp_path, make_cells(shape), shape, mpp=.2527)
    with tifffile.TiffFile(path) as tiff:
        levels = zarr.open(tiff.aszarr(), mode='r')
        assert len(levels) == 3
        for number in range(3):
            assert np.array_equal(levels[str(number)][:], label_map[::2 ** number, ::2 ** number])
    with tiffslide.TiffSlide(path) as slide:
        assert slide.level_dimensions == ((1503, 1301), (752, 651), (376, 326))
        assert [slide.properties[f'tiffslide.mpp-{axis}'] for axis in 'xy'] == pytest.approx([.2527, .2527])
        part = slide.read_region((200, 400), 1, (300, 200), as_array=True)
        assert np.array_equal(part.squeeze(), label_map[::2, ::2][200:400, 100:400])
    with open_image(path) as image:
        assert (image.height, image.width) == shape and image.mpp == pytest.approx(.2527)
        assert np.array_equal(image.read_label_map(), label_map)


@pytest.mark.parametrize('greatest, dtype', [(65_535, np.uint16), (65_536, np.int32), (2 ** 31 - 1, np.int32)])
def test_numbers_that_need_32_bits_are_signed(tmp_path, place, greatest, dtype):
    cells = make_cells((700, 600))
    numbers = np.arange(greatest - len(cells) + 1, greatest + 1)
    label_map, path = write(tmp_path, cells, (700, 600), numbers=numbers)
    levels = tifffile.TiffFile(path).series[0].levels
    assert {level.dtype for level in levels} == {np.dtype(dtype)}
    assert label_map.max() == greatest and np.array_equal(levels[0].asarray(), label_map)
    assert np.array_equal(levels[1].asarray(), label_map[::2, ::2])


@pytest.mark.parametrize('mpp', [None, .25])
def test_the_metadata_states_the_size_of_pixels_if_it_is_known(tmp_path, mpp):
    _, path = write(tmp_path, make_cells((600, 800)), (600, 800), mpp=mpp)
    pixels = ElementTree.fromstring(tifffile.TiffFile(path).ome_metadata).find(f'{OME}Image/{OME}Pixels')
    assert (pixels.get('SizeX'), pixels.get('SizeY'), pixels.get('Type')) == ('800', '600', 'uint16')
    for axis in 'XY':
        assert pixels.get(f'PhysicalSize{axis}') == (None if mpp is None else '0.25')
        assert pixels.get(f'PhysicalSize{axis}Unit') == (None if mpp is None else 'µm')


@pytest.mark.parametrize('shape', [(60, 80), (1025, 700)])
def test_an_image_without_cells_is_black_in_every_level(tmp_path, place, shape):
    _, path = write(tmp_path, Cells.empty(*shape), shape)
    with tifffile.TiffFile(path) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == level_shapes(shape)
        assert not any(level.asarray().any() for level in tiff.series[0].levels)


def test_of_overlapping_cells_the_same_one_is_seen_as_in_the_label_map(tmp_path, place):
    shape = 700, 700
    both = Cells.concatenate([make_cells(shape, seed) for seed in (1, 2)])
    label_map, path = write(tmp_path, both, shape, n_parts=2)
    assert np.count_nonzero(label_map) < both.masks.areas_px.sum()
    assert np.array_equal(tifffile.imread(path), label_map)


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize('moment', ['painted', 'written'])
def test_nothing_is_left_after_an_error(tmp_path, place, monkeypatch, error, moment):
    shape = 1025, 700

    def fail_after_one_tile(level, smaller, dtype):
        yield np.zeros((512, 512), dtype)
        raise error

    monkeypatch.setattr(label_pyramid, '_iterate_tiles', fail_after_one_tile)
    with (pytest.raises(error),
          writing_cells(['label-pyramid'], tmp_path, 'a', ImageInfo(tmp_path / 'a.svs', *shape, ['cell'])) as add):
        add(make_cells(shape))
        # The map that is painted has no name.
        assert len(list(tmp_path.iterdir())) == 0
        if moment == 'painted':
            raise error
    assert list(tmp_path.iterdir()) == []


def test_equal_cells_make_equal_files(tmp_path, place):
    shape = 1025, 700
    first, second = (write(tmp_path / name, make_cells(shape), shape, mpp=.5)[1].read_bytes() for name in 'ab')
    assert first == second


def test_level_shapes():
    assert level_shapes((512, 1)) == [(512, 1)]
    assert level_shapes((1025, 600)) == [(1025, 600), (513, 300), (257, 150)]
    assert level_shapes((100_000, 90_000))[-1] == (391, 352)
