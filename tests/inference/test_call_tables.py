"""Tables over all images of a call."""

import csv

import pytest

from mmcell.inference.call_tables import write_call_tables

NAMES = ['round', 'long']


def write_table(path, header, *rows):
    with open(path, 'w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def images(tmp_path):
    """Three images: one with a scale, one without, one without cells."""
    write_table(tmp_path / 'a_cells.csv', ['image', 'cell', 'class', 'area_px', 'area_um2'],
                ['a.tif', 1, 'long', 30, 7.5], ['a.tif', 2, 'long', 40, 10], ['a.tif', 3, 'round', 20, 5])
    write_table(tmp_path / 'b_cells.csv', ['image', 'cell', 'class', 'area_px', 'mean_grey'],
                ['b, "c".tif', 1, 'round', 9, 1.5])
    write_table(tmp_path / 'c_cells.csv', ['image', 'cell', 'class', 'area_px'])
    size = dict(width_px=1000, height_px=2000)
    return [('a', dict(image='a.tif', mpp=.5, **size)), ('b', dict(image='b, "c".tif', mpp=None, **size)),
            ('c', dict(image='c.tif', mpp=1., **size))]


def rows_of(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_all_cells_are_in_one_table_and_all_images_in_another(tmp_path, images):
    assert write_call_tables(tmp_path, images, NAMES) == [tmp_path / 'cells.csv', tmp_path / 'images.csv']
    cells = rows_of(tmp_path / 'cells.csv')
    assert list(cells[0]) == ['image', 'cell', 'class', 'area_px', 'area_um2', 'mean_grey']
    assert [(row['image'], row['cell'], row['area_um2'], row['mean_grey']) for row in cells] == [
        ('a.tif', '1', '7.5', ''), ('a.tif', '2', '10', ''), ('a.tif', '3', '5', ''), ('b, "c".tif', '1', '', '1.5')]
    first, second, third = rows_of(tmp_path / 'images.csv')
    assert first == dict(image='a.tif', width_px='1000', height_px='2000', mpp='0.5', area_mm2='0.5', cells='3',
                         cells_per_mm2='6', cells_of_round='1', share_of_round='0.333333', cells_of_long='2',
                         share_of_long='0.666667')
    assert (second['mpp'], second['area_mm2'], second['cells_per_mm2'], second['cells']) == ('', '', '', '1')
    assert (third['cells'], third['cells_per_mm2'], third['share_of_round']) == ('0', '0', '')


def test_parquet_has_the_same_values_as_numbers(tmp_path, images):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')
    assert [path.name for path in write_call_tables(tmp_path, images, NAMES, True)] == [
        'cells.csv', 'images.csv', 'cells.parquet', 'images.parquet']
    cells = parquet.read_table(tmp_path / 'cells.parquet').to_pylist()
    assert cells[1] == dict(image='a.tif', cell=2, **{'class': 'long'}, area_px=40, area_um2=10., mean_grey=None)
    summary = parquet.read_table(tmp_path / 'images.parquet').to_pylist()
    assert [row['cells_of_long'] for row in summary] == [2, 0, 0] and summary[1]['mpp'] is None


def test_the_tables_of_images_without_any_cell_are_written(tmp_path, images):
    pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    write_call_tables(tmp_path, images[2:], NAMES, True)
    assert rows_of(tmp_path / 'cells.csv') == [] and len(rows_of(tmp_path / 'images.csv')) == 1
