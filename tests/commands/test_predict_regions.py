"""tools/predict.py --roi: cells in regions, and what is read of large images."""

import gzip
import json

import pytest
from support.predict_command import (
    THREE_CELLS,
    TILES,
    rows_of,
    write_image,
)

from mmcell.images.image_file import ImageFile
from mmcell.inference import prediction_plan

read_rect = ImageFile.read


ROI = [(dict(name='left'), [[0, 0], [20, 0], [20, 30], [0, 30], [0, 0]]),
       (dict(classification=dict(name='Tumor')), [[28, -5], [60, -5], [60, 4.2], [28, 4.2], [28, -5]])]


def write_roi(path, shapes=ROI):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(type='FeatureCollection', features=[
        dict(type='Feature', properties=properties, geometry=dict(type='Polygon', coordinates=[ring]))
        for properties, ring in shapes])))
    return path


def test_only_cells_in_regions_are_kept_and_counted(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, (0, 20, 24, 5, 255))
    status, output = command(image, '--formats', 'csv', 'geojson', '--mpp', .5, '--roi', write_roi(tmp_path / 'r.json'))
    assert status == 0 and '3 cells in 1 images' in output.out
    # The blue square reaches 3 px beyond its region, and is whole.
    assert [(row['class'], row['region'], row['area_px']) for row in rows_of(tmp_path / 'out' / 'a_cells.csv')] == [
        ('blue', 'Tumor', '64'), ('red', 'left', '16'), ('green', 'left', '36')]
    assert len(json.loads((tmp_path / 'out' / 'a.geojson').read_text())['features']) == 3
    left, tumor = rows_of(tmp_path / 'out' / 'regions.csv')
    # Regions end at the borders of the image.
    assert (left['region'], left['area_px'], left['area_mm2'], left['cells'], left['cells_of_red']) == (
        'left', '600', '0.00015', '2', '1')
    assert (tumor['region'], tumor['area_px'], tumor['cells'], tumor['share_of_blue']) == ('Tumor', '50.4', '1', '1')
    packed = tmp_path / 'roi' / 'a.geojson.gz'
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress((tmp_path / 'r.json').read_bytes()))
    for roi in (packed, packed.parent):
        assert command(image, '--formats', 'csv', '--mpp', .5, '--roi', roi)[0] == 0
        assert rows_of(tmp_path / 'out' / 'regions.csv') == [left, tumor]
    whole, = rows_of(tmp_path / 'out' / 'images.csv')
    assert float(whole['area_mm2']) == pytest.approx((600 + 50.4) / 4e6) and whole['cells'] == '3'
    assert command(image, '--formats', 'csv')[0] == 0 and not (tmp_path / 'out' / 'regions.csv').exists()


@pytest.mark.parametrize('is_streamed', [False, True])
def test_cells_count_in_all_regions_and_neighbours_outside_of_them_count(tmp_path, command, monkeypatch, is_streamed):
    # Cells of 4 px in a row, 40 px apart. A region has the first two, another one the second; the third is in none.
    image = write_image(tmp_path / 'a.tif', *((0, 10, 10 + 40 * place, 4, 255) for place in range(8)), shape=(64, 320),
                        tile=(16, 16))
    if is_streamed:
        monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    roi = write_roi(tmp_path / 'r.json', [
        (dict(name=name), [[x0, 0], [x1, 0], [x1, 20], [x0, 20], [x0, 0]]) for name, x0, x1 in (
            ('all', 0, 60), ('a; b', 40, 60))])
    flags = '--formats', 'csv', '--mpp', .5, '--neighbours-within', 41, *TILES
    assert command(image, *flags)[0] == 0
    every = rows_of(tmp_path / 'out' / 'a_cells.csv')
    column = 'neighbours_within_41_um'
    assert [row[column] for row in every] == ['2', '3', '4', '4', '4', '4', '3', '2']
    assert command(image, *flags, '--roi', roi)[0] == 0
    rows = rows_of(tmp_path / 'out' / 'a_cells.csv')
    assert [(row['region'], row[column]) for row in rows] == [('all', '2'), ('all; a, b', '3')]
    assert [(row['region'], row['cells']) for row in rows_of(tmp_path / 'out' / 'regions.csv')] == [
        ('all', '2'), ('a, b', '1')]
    whole, = rows_of(tmp_path / 'out' / 'images.csv')
    assert whole['cells'] == '2' and float(whole['area_mm2']) == pytest.approx(60 * 20 * .25e-6)


def test_a_large_image_is_read_only_near_its_regions(tmp_path, command, monkeypatch):
    cells = [(channel, 40 + 200 * row, 40 + 200 * column, 20, 255 - 20 * channel)
             for channel, row, column in ((0, 0, 0), (1, 0, 4), (2, 2, 2), (0, 4, 4), (1, 4, 0))]
    image = write_image(tmp_path / 'images' / 'a.tif', *cells, shape=(1000, 1000), tile=(64, 64))
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    read = []
    monkeypatch.setattr(ImageFile, 'read', lambda self, *rect: read.append(rect) or read_rect(self, *rect))
    roi = write_roi(tmp_path / 'roi' / 'a.geojson', [
        ({}, [[430, 430], [455, 430], [455, 455], [430, 455]]), ({}, [[845, 0], [860, 0], [860, 100], [845, 100]])])
    found = {}
    for flags in ([], ['--roi', roi.parent]):
        read.clear()
        assert command(image, '--formats', 'csv', '--tile', 128, '--overlap', 32, *flags)[0] == 0
        found[bool(flags)] = rows_of(tmp_path / 'out' / 'a_cells.csv'), len(read)
    (all_cells, n_all), (kept, n_read) = found[False], found[True]
    assert len(all_cells) == 5 and [(row['class'], row['region']) for row in kept] == [
        ('green', 'region 2'), ('blue', 'region 1')]
    assert all(any(row['area_px'] == other['area_px'] and row['centroid_x_px'] == other['centroid_x_px']
                   for other in all_cells) for row in kept)
    assert n_read < n_all / 4


def test_wrong_regions_are_refused(tmp_path, command):
    images = [write_image(tmp_path / 'images' / name, *THREE_CELLS) for name in ('a.tif', 'b.tif')]
    roi = write_roi(tmp_path / 'roi' / 'a.geojson')
    for arguments, message in (([*images, '--roi', roi], 'is one file, but there are 2 images'),
                               ([*images, '--roi', roi.parent], 'has no file b.geojson or b.geojson.gz for'),
                               ([images[0], '--roi', tmp_path / 'nowhere'], 'no such file or folder'),
                               ([images[0], '--roi', write_roi(tmp_path / 'empty.json', [])], 'has no polygon')):
        status, output = command(*arguments)
        assert status == 1 and message in output.err
    for key, name in (('geojson', 'a.geojson'), ('geojson-gz', 'a.geojson.gz')):
        drawn = write_roi(tmp_path / 'out' / name)
        status, output = command(images[0], '--formats', key, '--roi', drawn)
        assert status == 1 and 'would be overwritten by an output' in output.err
    assert command(images[0], '--formats', 'csv', '--roi', roi)[0] == 0
    write_roi(roi, ROI[:1])
    assert 'done before' not in command(images[0], '--formats', 'csv', '--roi', roi, '--resume')[1].out
