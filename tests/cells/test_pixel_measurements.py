"""Measurements from pixels are those of scikit-image for each cell by itself, however the image is divided."""

import numpy as np
import pytest
import skimage.measure
from scipy.spatial.distance import cdist
from support.cells import cells_from_label_map
from support.synthetic_data import discs

from mmcell.cells import pixel_measurements
from mmcell.cells.cells import Cells
from mmcell.cells.pixel_measurements import count_neighbours, measure_shapes, measure_values

SHAPE = (90, 120)


@pytest.fixture
def cells():
    """Six cells, of which two overlap, one is a single pixel and one is a line."""
    label_map = discs(SHAPE, [(1, 12, 12, 8), (2, 70, 45, 12), (3, 89, 119, 9)])
    label_map[40, 60] = 4
    label_map[5, 70:80] = 5
    other = discs(SHAPE, [(1, 75, 50, 12)])
    return Cells.concatenate([cells_from_label_map(label_map), cells_from_label_map(other)])


def bitmap_of(cells, cell):
    bitmap = np.zeros(SHAPE[::-1], np.uint8)
    bitmap.ravel()[cells.masks.take(np.array([cell])).positions] = 1
    return bitmap.T


@pytest.mark.parametrize('block_px', [16, 50, 1024])
def test_values_are_those_of_each_cell_by_itself(cells, rng, monkeypatch, block_px):
    monkeypatch.setattr(pixel_measurements, 'BLOCK_PX', block_px)
    image = rng.integers(0, 4000, (*SHAPE, 3)).astype(np.uint16)
    rects = []

    def read(x0, y0, x1, y1):
        rects.append((x0, y0, x1, y1))
        return image[y0:y1, x0:x1]

    shapes, values = measure_shapes(cells, .5), measure_values(cells, read, 'rgb')
    assert len(rects) == {16: 6, 50: 5, 1024: 1}[block_px]
    for cell in range(len(cells)):
        region, = skimage.measure.regionprops(bitmap_of(cells, cell), image)
        assert shapes['perimeter_px'][cell] == pytest.approx(region.perimeter)
        assert shapes['perimeter_um'][cell] == pytest.approx(region.perimeter / 2)
        assert shapes['solidity'][cell] == pytest.approx(region.solidity)
        for channel, name in enumerate('rgb'):
            assert values[f'mean_{name}'][cell] == pytest.approx(region.intensity_mean[channel])
            assert values[f'sd_{name}'][cell] == pytest.approx(region.intensity_std[channel])
    assert (shapes['perimeter_px'][3], shapes['solidity'][3]) == (0, 1)  # the single pixel
    grey = measure_values(cells, lambda *rect: read(*rect)[:, :, :1], ['grey'])
    np.testing.assert_array_equal(grey['mean_grey'], values['mean_r'])
    assert list(grey) == ['mean_grey', 'sd_grey'] and 'perimeter_um' not in measure_shapes(cells)


def test_no_cells_have_all_columns():
    none = Cells.empty(*SHAPE)
    assert list(measure_shapes(none, 1.)) == ['perimeter_px', 'solidity', 'perimeter_um']
    assert [len(value) for value in measure_values(none, None, ['grey']).values()] == [0, 0]
    assert count_neighbours(np.zeros((0, 2)), 5.).tolist() == []


def test_neighbours_are_counted_without_the_cell_itself(rng):
    centroids = np.round(rng.random((60, 2)) * 40)
    expected = (cdist(centroids, centroids) <= 8).sum(axis=1) - 1
    assert count_neighbours(centroids, 8.).tolist() == expected.tolist()
