"""GeoJSON as QuPath writes it, and as it comes back from predictions; regions, points and damaged files."""

import gzip
import json
import tracemalloc
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from support.cells import cells_from_label_map
from support.synthetic_data import discs

from mmcell.layouts import geojson_files, qupath
from mmcell.layouts.base import LayoutError, LayoutOptions, Source
from mmcell.layouts.class_tables import UNCLASSIFIED, WITHOUT_CLASS
from mmcell.writers.base import ImageInfo
from mmcell.writers.writing import writing_cells

HEIGHT, WIDTH = 100, 120


def square(x, y, size):
    return {'type': 'Polygon', 'coordinates': [[[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]]}


def feature(geometry, **properties):
    return {'type': 'Feature', 'id': '0f1a2b3c-0000-4000-8000-000000000000', 'geometry': geometry,
            'properties': properties}


def read_file(path):
    return qupath.read_cells(Source(path, (path,)), SimpleNamespace(height=HEIGHT, width=WIDTH), LayoutOptions())


def read(tmp_path, content):
    path = tmp_path / 'a.geojson'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_file(path)


def areas(found):
    return {name: cells.areas_px.tolist() for name, cells in found.cells.items()}


@pytest.mark.parametrize('wrap', [
    lambda features: {'type': 'FeatureCollection', 'features': features}, lambda features: features,
    lambda features: features[0], lambda features: {'type': 'GeometryCollection', 'geometries': [square(5, 6, 4)]}])
def test_every_form_of_the_whole_is_read(tmp_path, wrap):
    assert areas(read(tmp_path, wrap([feature(square(5, 6, 4), objectType='detection')]))) == {'cell': [16]}


@pytest.mark.parametrize('classification, name', [
    ({'name': 'Tumor', 'color': [200, 0, 0]}, 'Tumor'),
    ({'name': 'Tumor: Positive', 'colorRGB': -377282}, 'Tumor: Positive'),
    ({'names': ['Tumor', 'Positive'], 'color': [1, 2, 3]}, 'Tumor: Positive'), ({'names': []}, 'cell'), (None, 'cell'),
    ('Stroma', 'Stroma'), (3, 'class3'), (['Tumor', 'Negative'], 'Tumor: Negative'), ({'name': None}, 'cell')])
def test_classifications_of_all_versions(tmp_path, classification, name):
    assert areas(read(tmp_path, [feature(square(5, 6, 4), classification=classification)])) == {name: [16]}


def test_a_mixture_has_unclassified_cells_with_a_remark(tmp_path):
    found = read(tmp_path, [feature(square(5, 6, 4), classification={'name': 'b'}), feature(square(20, 6, 3))])
    assert areas(found) == {'b': [16], UNCLASSIFIED: [9]}
    assert found.remarks == {WITHOUT_CLASS: ('a.geojson: #2',)}


def test_a_cell_has_its_outline_and_not_that_of_its_nucleus(tmp_path):
    cell = feature(square(5, 6, 8), objectType='cell') | {'nucleusGeometry': square(7, 8, 3)}
    assert areas(read(tmp_path, [cell])) == {'cell': [64]}


def test_children_stand_in_the_properties_and_their_parent_is_a_region(tmp_path):
    child = feature(square(5, 6, 4), objectType='detection', classification={'name': 'b'})
    parent = feature(square(0, 0, 50), objectType='annotation', childObjects=[child])
    found = read(tmp_path, [parent])
    assert areas(found) == {'b': [16]} and found.remarks == {qupath.REGION: ('a.geojson: #1',)}


@pytest.mark.parametrize('region, n_inside, is_region', [
    ({}, 2, True), ({}, 1, False), ({'isLocked': True}, 1, True), ({'isLocked': True}, 0, False),
    ({'isLocked': True, 'classification': {'name': 'b'}}, 1, False), ({'objectType': 'detection'}, 2, False),
    ({'classification': {'name': 'Region*'}}, 0, True)])
def test_a_region_around_cells_is_no_cell(tmp_path, region, n_inside, is_region):
    cells = [feature(square(5 + 10 * place, 6, 4), classification={'name': 'b'}) for place in range(n_inside)]
    found = read(tmp_path, [feature(square(0, 0, 60), **{'objectType': 'annotation', **region}), *cells])
    assert sum(map(len, areas(found).values())) == n_inside + (not is_region)
    assert found.remarks.get(qupath.REGION) == (('a.geojson: #1',) if is_region else None)


def test_equal_and_touching_annotations_are_all_cells(tmp_path):
    same = [feature(square(5, 6, 4), objectType='annotation')] * 12
    assert areas(read(tmp_path, same)) == {'cell': [16] * 12}


@pytest.mark.parametrize('properties, extra', [
    ({'objectType': 'tile'}, {}), ({'object_type': 'tmaCore'}, {}), ({'type': 'tile'}, {}),
    ({}, {'id': 'PathTileObject'})])
def test_tiles_and_cores_are_left_out(tmp_path, properties, extra):
    found = read(tmp_path, [feature(square(5, 6, 40), **properties) | extra])
    assert found.cells == {} and found.remarks == {qupath.NO_CELL: ('a.geojson: #1',)}


@pytest.mark.parametrize('kind, coordinates', [
    ('Point', [1, 2]), ('MultiPoint', [[1, 2]]), ('LineString', [[1, 2], [3, 4]]),
    ('MultiLineString', [[[1, 2], [3, 4]]])])
def test_points_and_lines_are_left_out(tmp_path, kind, coordinates):
    found = read(tmp_path, [feature({'type': kind, 'coordinates': coordinates})])
    assert found.cells == {} and found.remarks == {qupath.NO_AREA: ('a.geojson: #1',)}


@pytest.mark.parametrize('geometry', [
    None, {}, [], 'x', {'type': ['Polygon'], 'coordinates': []}, {'type': 'Polygon', 'coordinates': {}},
    {'type': 'Polygon', 'coordinates': []}, {'type': 'MultiPolygon', 'coordinates': [[]]}, {'type': 'Circle'},
    {'type': 'Polygon', 'coordinates': [[[1, 2], [3, 4]]]}, {'type': 'Polygon', 'coordinates': [[[1, 2], [3], [4, 5]]]},
    {'type': 'Polygon', 'coordinates': [['ab', 'cd', 'ef']]},
    {'type': 'Polygon', 'coordinates': [[[1, 1e300], [2, 2], [3, 1]]]},
    {'type': 'Polygon', 'coordinates': [[[1, float('nan')], [2, 2], [3, 1]]]}])
def test_geometries_that_cannot_be_read_are_named(tmp_path, geometry):
    found = read(tmp_path, [feature(geometry), feature(square(5, 6, 4))])
    assert areas(found) == {'cell': [16]} and found.remarks == {qupath.NO_OUTLINE: ('a.geojson: #1',)}


def test_holes_pieces_and_collections(tmp_path):
    hole = {'type': 'Polygon', 'coordinates': square(5, 5, 10)['coordinates'] + square(7, 7, 2)['coordinates']}
    pieces = {'type': 'MultiPolygon', 'coordinates': [square(30, 5, 3)['coordinates'], square(40, 5, 2)['coordinates']]}
    inner = {'type': 'GeometryCollection', 'geometries': [square(60, 5, 4), {'type': 'Point', 'coordinates': [1, 2]}]}
    collection = {'type': 'GeometryCollection', 'geometries': [square(50, 5, 3), inner]}
    assert areas(read(tmp_path, [feature(part) for part in (hole, pieces, collection)])) == {'cell': [96, 13, 25]}


@pytest.mark.parametrize('content', ['[3]', '"text"', '{"type": "FeatureCollection"}', '{"a": 1}', '{', 'x', '[{}]'])
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(LayoutError):
        read(tmp_path, content)


def test_compressed_files_are_read_within_limits(tmp_path, monkeypatch):
    content = json.dumps([feature(square(5, 6, 4))]).encode()
    packed, zipped = tmp_path / 'a.geojson.gz', tmp_path / 'a.geojson.zip'
    packed.write_bytes(gzip.compress(content))
    with zipfile.ZipFile(zipped, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.geojson', content)
    for path in (packed, zipped):
        assert areas(read_file(path)) == {'cell': [16]}
    monkeypatch.setattr(geojson_files, '_MAX_BYTES', len(content) - 1)
    for path in (packed, zipped):
        with pytest.raises(LayoutError, match='unfolds to more'):
            read_file(path)
    monkeypatch.undo()
    packed.write_bytes(gzip.compress(content)[:-12])
    with pytest.raises(LayoutError, match='cannot be unpacked'):
        read_file(packed)


@pytest.mark.parametrize('name', ['a.geojson', 'a.geojson.gz', 'a.geojson.zip'])
@pytest.mark.parametrize('content', ['[' + '[],' * 19_999 + '[]]', '[' + '{"":0},' * 19_999 + '{}]',
                                     json.dumps([feature(square(5, 6, 4))] * 1000)], ids=['lists', 'objects', 'cells'])
def test_a_file_that_would_fill_the_memory_ends_in_one_line(tmp_path, monkeypatch, name, content):
    path = tmp_path / name
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('a.geojson', content)
    else:
        path.write_bytes(gzip.compress(content.encode()) if path.suffix == '.gz' else content.encode())
    # A buffer of 1 MB is more than such a small file needs to be read.
    monkeypatch.setattr(geojson_files, '_CHUNK_BYTES', 2 ** 12)
    tracemalloc.start()
    value = geojson_files.read_geojson(path)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) >= 1000
    # What reading takes is at most what was expected, and at least half of it.
    monkeypatch.setattr(geojson_files, 'find_free_memory', lambda: most_bytes)
    with pytest.raises(LayoutError, match='of memory to read, but .* are free: export parts') as refused:
        read_file(path)
    assert '\n' not in str(refused.value)
    monkeypatch.setattr(geojson_files, 'find_free_memory', lambda: 2 * most_bytes)
    assert geojson_files.read_geojson(path) == value


def test_what_predictions_write_comes_back_bit_for_bit(tmp_path):
    names = ['class1', 'ß/class two', 'Tumor: Positive']
    label_map = discs((HEIGHT, WIDTH), [(1, 20, 20, 9), (3, 60, 70, 15), (4, 99, 0, 5)])
    label_map[18:22, 18:22] = 0
    label_map[50, 20] = 2
    label_map[80:84, 30:36] = label_map[84:88, 36:40] = 5
    labels = [0, 1, 1, 2, 0]
    cells = cells_from_label_map(label_map, labels=labels)
    image = ImageInfo(tmp_path / 'a.tif', HEIGHT, WIDTH, names)
    with writing_cells(['geojson', 'geojson-gz'], tmp_path, 'a', image) as add:
        add(cells)
    rles = cells.masks.to_rles()
    for file_name in ('a.geojson', 'a.geojson.gz'):
        found = read_file(tmp_path / file_name)
        assert found.remarks == {}
        for label, name in enumerate(names):
            assert found.cells[name].rles == [rles[place] for place in np.flatnonzero(np.equal(labels, label))]
