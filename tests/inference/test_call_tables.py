"""Tables over all images of a call."""

import csv

import pytest

from mmcell.errors import MmcellError
from mmcell.inference.call_tables import refuse_foreign_tables, write_call_tables

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


@pytest.fixture
def with_regions(tmp_path):
    """An image with two regions that overlap, and a cell in both."""
    write_table(tmp_path / 'r_cells.csv', ['image', 'cell', 'class', 'region', 'area_px'],
                ['r.tif', 1, 'long', 'a', 30], ['r.tif', 2, 'long', 'a; b', 40], ['r.tif', 3, 'round', 'b', 20])
    return [('r', dict(image='r.tif', mpp=1., width_px=1000, height_px=2000, regions={'a': 2e5, 'b': 4e5, 'c': 1.},
                       regions_px=5e5))]


def test_a_cell_counts_in_all_its_regions_and_once_in_the_image(tmp_path, with_regions):
    assert [path.name for path in write_call_tables(tmp_path, with_regions, NAMES)] == [
        'cells.csv', 'images.csv', 'regions.csv']
    image, = rows_of(tmp_path / 'images.csv')
    assert (image['cells'], image['area_mm2'], image['cells_per_mm2'], image['cells_of_long']) == ('3', '0.5', '6', '2')
    regions = rows_of(tmp_path / 'regions.csv')
    assert [(row['region'], row['area_px'], row['cells'], row['cells_per_mm2'], row['cells_of_round'])
            for row in regions] == [('a', '200000', '2', '10', '0'), ('b', '400000', '2', '5', '1'),
                                    ('c', '1', '0', '0', '0')]


def names_of_tables(folder):
    return sorted(path.name for path in folder.iterdir() if path.stem in ('cells', 'images', 'regions'))


def test_no_table_of_an_earlier_call_contradicts_the_new_ones(tmp_path, images, with_regions):
    pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    every = [f'{name}.{suffix}' for name in ('cells', 'images', 'regions') for suffix in ('csv', 'parquet')]
    write_call_tables(tmp_path, with_regions, NAMES, with_parquet=True)
    assert names_of_tables(tmp_path) == every
    refuse_foreign_tables(tmp_path, True, True)
    write_call_tables(tmp_path, images, NAMES, with_parquet=True)
    assert names_of_tables(tmp_path) == every[:4]
    write_call_tables(tmp_path, images, NAMES)
    assert names_of_tables(tmp_path) == ['cells.csv', 'images.csv']
    # A call that fails leaves the earlier tables as they were.
    write_call_tables(tmp_path, with_regions, NAMES, with_parquet=True)
    with pytest.raises(FileNotFoundError):
        write_call_tables(tmp_path, [*images, ('none', images[0][1])], NAMES)
    assert names_of_tables(tmp_path) == every and rows_of(tmp_path / 'images.csv')[0]['image'] == 'r.tif'


def write_foreign_parquet(path):
    pyarrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    from pyarrow import parquet
    parquet.write_table(pyarrow.table({'image': ['x'], 'cell': [1], 'class': ['y']}), path)


FOREIGN = {
    'other columns': lambda path: write_table(path, ['image', 'cells'], ['x', 1]),
    'no column': lambda path: path.touch(),
    'bytes': lambda path: path.write_bytes(b'\xff\0' * 100_000),
    'folder': lambda path: path.mkdir(),
    'link to nothing': lambda path: path.symlink_to('nowhere'),
    'parquet': write_foreign_parquet}


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
@pytest.mark.parametrize('kind', FOREIGN)
def test_what_mmcell_has_not_written_is_never_removed_and_refused_where_it_would_be_overwritten(
        tmp_path, images, kind, suffix):
    path = tmp_path / f'regions.{suffix}'
    FOREIGN[kind](path)
    with pytest.raises(MmcellError, match=rf'regions.{suffix}, which is not a table of an earlier call'):
        refuse_foreign_tables(tmp_path, has_regions=True, with_parquet=True)
    refuse_foreign_tables(tmp_path, has_regions=False, with_parquet=True)
    refuse_foreign_tables(tmp_path, has_regions=suffix == 'parquet', with_parquet=False)
    write_call_tables(tmp_path, images, NAMES)
    assert path.is_symlink() or path.exists()
