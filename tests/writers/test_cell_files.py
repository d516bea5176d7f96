"""Each output format is read back with an independent library."""

import csv
import gzip
import json
import zipfile

import cv2
import geojson
import numpy as np
import pycocotools.coco
import pytest
import roifile
import shapely
import skimage.measure
import tifffile
from support.cells import cells_from_label_map, rasterise
from support.synthetic_data import discs

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import centroids_of
from mmcell.datasets import CellDataset
from mmcell.errors import MmcellError, escape
from mmcell.visualization.panels import write_in_places
from mmcell.writers import label_tiff
from mmcell.writers.base import ImageInfo
from mmcell.writers.formats import EDITABLE_FORMATS, FORMATS, PICTURE_FORMATS, output_paths
from mmcell.writers.writing import writing_cells

NAMES = ['epithelial', 'ß/class two']
SHAPE = (60, 80)


@pytest.fixture
def label_map():
    """Six cells: a disc, a ring, two pieces, two pieces that touch at a corner, one pixel, a disc cut by the border."""
    label_map = discs(SHAPE, [(1, 12, 12, 8), (2, 15, 45, 12), (6, 59, 79, 9)])
    label_map[(np.mgrid[:60, :80][0] - 15) ** 2 + (np.mgrid[:60, :80][1] - 45) ** 2 <= 16] = 0
    label_map[40:45, 5:9] = label_map[48:52, 5:9] = 3
    label_map[40:44, 30:34] = label_map[44:47, 34:36] = 4
    label_map[55, 40] = 5
    return label_map


@pytest.fixture
def cells(label_map):
    return cells_from_label_map(label_map, labels=[0, 1, 0, 1, 1, 0])


def write(folder, cells, *formats, mpp=None, pixels=None, n_parts=1, name='cell', **attributes):
    """Writes cells in several formats by ``n_parts`` calls; returns the paths of the files."""
    image = ImageInfo(folder / 'images' / 'cell.tif', *SHAPE, NAMES, mpp, pixels, **attributes)
    with writing_cells(formats, folder, name, image) as add:
        for part in np.array_split(np.arange(len(cells)), n_parts):
            add(cells.take(part))
    return output_paths(formats, folder, name, len(NAMES))


@pytest.mark.parametrize('class_name, name_in_roi', [
    ('Ki-67⁺ / α', 'Ki-67⁺ _ α'), ('"a, b"; c', '"a, b"; c'), ('𝛼-cell', '𝛼-cell'), ('cell 😀🧬', 'cell 😀🧬'),
    ('two\nlines\0', r'two\nlines\x00'), ('\ud83d', r'\ud83d'), ('😀' * 99, '😀' * 48)])
def test_names_of_imagej_rois_are_whole_whatever_characters_they_have(tmp_path, class_name, name_in_roi):
    cells = cells_from_label_map(discs(SHAPE, [(1, 12, 12, 8), (2, 40, 40, 8)]), labels=[0, 0])
    image = ImageInfo(tmp_path / 'cell.tif', *SHAPE, [class_name])
    with writing_cells(['rois'], tmp_path, 'cell', image) as add:
        add(cells)
    rois = roifile.roiread(tmp_path / 'cell_rois.zip')
    assert [roi.name for roi in rois] == [f'0000{number}-{name_in_roi}' for number in (1, 2)]
    is_whole = name_in_roi == escape(class_name)
    stated = '' if is_whole else f'class: {escape(class_name)}\n'
    assert [roi.props for roi in rois] == [f'{stated}score: {score:.6g}\n' for score in cells.scores]
    with zipfile.ZipFile(tmp_path / 'cell_rois.zip') as archive:
        assert archive.namelist() == [f'{roi.name}.roi' for roi in rois]


@pytest.mark.parametrize('n_parts', [1, 3])
def test_label_tiff(tmp_path, label_map, cells, n_parts):
    path, table = write(tmp_path, cells, 'labels', mpp=.25, n_parts=n_parts)
    for read in (tifffile.imread, lambda path: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)):
        assert read(path).dtype == np.uint16
        assert np.array_equal(read(path), label_map)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].resolution == (40_000, 40_000) and tiff.pages[0].resolutionunit == 3  # 3: per centimetre
    rows = list(csv.DictReader(table.open(encoding='utf-8')))
    assert [(row['label'], row['class']) for row in rows[:2]] == [('1', NAMES[0]), ('2', NAMES[1])]
    assert [float(row['score']) for row in rows] == pytest.approx(cells.scores)


def test_label_tiff_of_many_cells_is_uint32(tmp_path, label_map, cells, monkeypatch):
    monkeypatch.setattr(label_tiff, 'MAX_UINT16', 5)
    path, _ = write(tmp_path, cells, 'labels')
    assert tifffile.imread(path).dtype == np.uint32
    assert np.array_equal(tifffile.imread(path), label_map)


def test_a_large_label_map_is_painted_on_the_disk(tmp_path, label_map, cells, monkeypatch):
    monkeypatch.setattr(label_tiff, 'MAX_PIXELS_IN_MEMORY', 60 * 80 - 1)
    path, _ = write(tmp_path, cells, 'labels', mpp=.5, n_parts=2)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff and tiff.pages[0].resolution == (20_000, 20_000)
    assert np.array_equal(tifffile.imread(path), label_map)


@pytest.mark.parametrize('limit_px, is_on_disk', [(2 * 60 * 80, False), (2 * 60 * 80 - 1, True)])
def test_the_limit_of_pixels_is_shared_by_the_maps_of_all_classes(tmp_path, label_map, cells, monkeypatch, limit_px,
                                                                  is_on_disk):
    monkeypatch.setattr(label_tiff, 'MAX_PIXELS_IN_MEMORY', limit_px)
    paths = write(tmp_path, cells, 'class-labels')
    for path, values in zip(paths, ([1, 3, 6], [2, 4, 5]), strict=True):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff == is_on_disk
        assert np.array_equal(tifffile.imread(path), np.where(np.isin(label_map, values), label_map, 0))


@pytest.mark.parametrize('scores, radii', [((.6, .9), (10, 10)), ((.9, .9), (10, 8))],
                         ids=['the higher score', 'of equal scores the smaller cell'])
def test_where_cells_of_one_call_overlap_one_is_seen(tmp_path, scores, radii):
    below, above = (cells_from_label_map(discs(SHAPE, [(1, 20, x, radius)]), scores=[score])
                    for x, radius, score in zip((20, 30), radii, scores, strict=True))
    both = Cells.concatenate([below, above])
    first, second = (tifffile.imread(write(tmp_path, both, 'labels', n_parts=n, name=str(n))[0]) for n in (1, 2))
    assert (first == 2).sum() == both.masks.areas_px[1] > (second == 2).sum()
    # Painted by two calls, the first cell keeps all its pixels.
    assert (second == 1).sum() == both.masks.areas_px[0]


def test_class_label_tiffs(tmp_path, label_map, cells):
    paths = write(tmp_path, cells, 'class-labels')
    assert [path.name for path in paths] == ['cell_class1.tif', 'cell_class2.tif']
    for path, values in zip(paths, ([1, 3, 6], [2, 4, 5]), strict=True):
        assert np.array_equal(tifffile.imread(path), np.where(np.isin(label_map, values), label_map, 0))


def test_geojson(tmp_path, label_map, cells):
    path, = write(tmp_path, cells, 'geojson', mpp=.5)
    collection = geojson.loads(path.read_text(encoding='utf-8'))
    assert isinstance(collection, geojson.FeatureCollection) and collection.is_valid, collection.errors()
    kinds = [feature['geometry']['type'] for feature in collection['features']]
    assert kinds == ['Polygon', 'Polygon', 'MultiPolygon', 'MultiPolygon', 'Polygon', 'Polygon']
    for number, feature in enumerate(collection['features'], start=1):
        outline = shapely.geometry.shape(feature['geometry'])
        assert outline.is_valid
        assert np.array_equal(rasterise(outline, SHAPE), label_map == number)
    ring = collection['features'][1]
    assert len(ring['geometry']['coordinates']) == 2
    properties = ring['properties']
    assert properties['objectType'] == 'detection' and properties['name'] == '2'
    assert properties['classification'] == {'name': NAMES[1], 'color': [240, 228, 66]}
    assert properties['measurements']['Score'] == pytest.approx(cells.scores[1])
    assert properties['measurements']['Area px^2'] == (label_map == 2).sum()
    assert properties['measurements']['Area um^2'] == (label_map == 2).sum() / 4


def test_compressed_geojson_is_the_same_text(tmp_path, cells):
    plain, packed = write(tmp_path, cells, 'geojson', 'geojson-gz', mpp=.5, n_parts=2)
    assert packed.name == 'cell.geojson.gz'
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 2
    # RFC 1952: no flag, so that there is no name, and no time.
    assert packed.read_bytes()[:8] == b'\x1f\x8b\x08\0\0\0\0\0'


def test_imagej_rois(tmp_path, label_map, cells):
    path, = write(tmp_path, cells, 'rois')
    rois = roifile.roiread(path)
    assert [roi.name for roi in rois[:2]] == ['00001-epithelial', '00002-ß_class two']
    assert [roi.group for roi in rois] == [1, 2, 1, 2, 2, 1]
    assert [roi.roitype.name for roi in rois] == ['TRACED', 'RECT', 'RECT', 'RECT', 'TRACED', 'TRACED']
    assert rois[0].hexcolor(rois[0].stroke_color) == '#009e73'
    assert rois[0].props == 'score: 0.9\n'
    centres = np.argwhere(np.ones(SHAPE, bool))[:, ::-1] + .5
    for number, roi in enumerate(rois, start=1):
        # ImageJ fills by the even-odd rule.
        inside = sum(skimage.measure.points_in_poly(centres, ring).astype(int) for ring in roi.coordinates(multi=True))
        assert np.array_equal((inside % 2 == 1).reshape(SHAPE), label_map == number)
        y, x = np.nonzero(label_map == number)
        assert (roi.left, roi.top, roi.right, roi.bottom) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_coco(tmp_path, label_map, cells, capsys):
    path, = write(tmp_path, cells, 'coco', n_parts=2)
    coco = pycocotools.coco.COCO(str(path))
    assert coco.imgs == {1: {'id': 1, 'file_name': 'cell.tif', 'height': 60, 'width': 80}}
    assert [category['name'] for category in coco.cats.values()] == NAMES
    assert sorted(coco.anns) == [1, 2, 3, 4, 5, 6]
    for number, annotation in coco.anns.items():
        mask = coco.annToMask(annotation)
        assert np.array_equal(mask, label_map == number)
        assert annotation['area'] == mask.sum() and annotation['score'] == cells.scores[number - 1]
        assert annotation['bbox'] == pycocotools.mask.toBbox(annotation['segmentation']).tolist()
        assert annotation['category_id'] == cells.labels[number - 1] + 1


def test_coco_predictions_are_annotations_that_can_be_trained_on(tmp_path, cells):
    (tmp_path / 'images').mkdir()
    tifffile.imwrite(tmp_path / 'images' / 'cell.tif', np.zeros((*SHAPE, 3), np.uint8), photometric='rgb')
    path, = write(tmp_path, cells, 'coco')
    dataset = CellDataset(ann_file=str(path), pipeline=[])
    assert len(dataset) == 1 and len(dataset.get_data_info(0)['instances']) == 6
    assert dataset.metainfo['classes'] == tuple(NAMES)


def test_csv(tmp_path, label_map, cells):
    path, = write(tmp_path, cells, 'csv', mpp=.5, n_parts=4)
    rows = list(csv.DictReader(path.open(encoding='utf-8', newline='')))
    regions = skimage.measure.regionprops(label_map)
    assert [row['cell'] for row in rows] == ['1', '2', '3', '4', '5', '6'] and rows[0]['image'] == 'cell.tif'
    for row, region, label in zip(rows, regions, cells.labels, strict=True):
        assert row['class'] == NAMES[label]
        assert float(row['area_px']) == region.area and float(row['area_um2']) == region.area / 4
        assert float(row['centroid_y_um']) == pytest.approx((region.centroid[0] + .5) / 2)
        assert float(row['eccentricity']) == pytest.approx(region.eccentricity, abs=1e-6)


def test_csv_without_a_scale_has_only_columns_in_pixels(tmp_path, cells):
    path, = write(tmp_path, cells, 'csv')
    header = path.read_text(encoding='utf-8').splitlines()[0]
    assert 'area_px' in header and '_um' not in header


def test_overlay(tmp_path, cells):
    path, = write(tmp_path, cells, 'overlay', pixels=np.full((*SHAPE, 3), 128, np.uint8))
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 120 and picture.shape[1] >= 160
    drawing = picture[-120:, :160, ::-1]
    assert (drawing == (0, 158, 115)).all(2).any() and (drawing == (240, 228, 66)).all(2).any()
    assert (drawing[40:60, 120:] == 128).all()


def test_outlines_on_dark_images_are_brighter(tmp_path, cells):
    path, = write(tmp_path, cells, 'overlay', pixels=np.full((*SHAPE, 3), 10, np.uint8))
    picture = cv2.imread(str(path))[:, :, ::-1]
    for part in (picture[-120:, :160], picture[:-120]):  # the image and the legend
        assert (part == (0, 255, 186)).all(2).any() and not (part == (0, 158, 115)).all(2).any()


def test_the_number_of_a_cell_stands_at_its_centroid(tmp_path, cells):
    numbers = np.array([3, 14, 15, 9, 26, 5])
    image = ImageInfo(tmp_path / 'cell.tif', *SHAPE, NAMES, pixels=np.full((*SHAPE, 3), 128, np.uint8))
    with writing_cells(['numbers'], tmp_path, 'cell', image) as add:
        for part in (slice(0, 4), slice(4, 6)):
            add(cells.take(np.arange(6)[part]), numbers[part])
    picture = cv2.imread(str(tmp_path / 'cell_numbers.png'))[-3 * SHAPE[0]:, :3 * SHAPE[1]]
    expected = write_in_places(np.full((3 * SHAPE[0], 3 * SHAPE[1], 3), 128, np.uint8), list(map(str, numbers)),
                               3 * centroids_of(cells), 11)[:, :, ::-1]
    is_expected = (expected == 255).all(2) | (expected == 0).all(2)
    assert is_expected.sum() > 80 and np.array_equal(picture[is_expected], expected[is_expected])
    is_text = (picture > 200).all(2) | (picture < 60).all(2)
    for x, y in (3 * centroids_of(cells)).round().astype(int).tolist():
        assert is_text[max(y - 5, 0):y + 6, max(x - 4, 0):x + 5].sum() > 20
        is_text[max(y - 9, 0):y + 10, max(x - 10, 0):x + 11] = False
    assert not is_text.any()
    # The inside of cells is not tinted.
    assert (picture == 128).all(2).mean() > .5


def test_true_cells_have_no_score_in_any_file(tmp_path, cells):
    formats = ['labels', 'geojson', 'rois', 'coco', 'csv']
    _, table, outlines, rois, coco, measurements = write(tmp_path, cells, *formats, has_scores=False)
    assert table.read_text(encoding='utf-8').splitlines()[:2] == ['label,class', '1,epithelial']
    assert list(json.loads(outlines.read_text(encoding='utf-8'))['features'][0]['properties']['measurements']) == [
        'Area px^2', 'Major axis px', 'Minor axis px', 'Eccentricity']
    assert {roi.props for roi in roifile.roiread(rois)} == {'', f'class: {NAMES[1]}\n'}
    assert 'score' not in json.loads(coco.read_text(encoding='utf-8'))['annotations'][0]
    assert measurements.read_text(encoding='utf-8').splitlines()[0].startswith('image,cell,class,area_px,')
    assert not any(b'score' in path.read_bytes().lower() for path in (table, outlines, coco, measurements))


def test_cells_have_the_numbers_that_are_given_in_all_formats(tmp_path, label_map, cells):
    image = ImageInfo(tmp_path / 'cell.tif', *SHAPE, NAMES)
    numbers = np.array([12, 7, 70_000, 9, 100, 1])
    with writing_cells([key for key in FORMATS if key not in PICTURE_FORMATS], tmp_path, 'cell', image) as add:
        for part in (slice(0, 4), slice(4, 6)):
            add(cells.take(np.arange(6)[part]), numbers[part])
    expected = np.append(0, numbers)[label_map]
    written = tifffile.imread(tmp_path / 'cell_labels.tif')
    assert written.dtype == np.uint32 and np.array_equal(written, expected)
    assert np.array_equal(tifffile.imread(tmp_path / 'cell_labels.ome.tif'), expected)
    class_maps = [tifffile.imread(tmp_path / f'cell_class{number}.tif') for number in (1, 2)]
    assert np.array_equal(class_maps[0] + class_maps[1].astype(int), expected)
    for name, column in (('cell_labels.csv', 'label'), ('cell_cells.csv', 'cell')):
        rows = csv.DictReader((tmp_path / name).open(encoding='utf-8'))
        assert [int(row[column]) for row in rows] == numbers.tolist()
    features = json.loads((tmp_path / 'cell.geojson').read_text(encoding='utf-8'))['features']
    assert [int(feature['properties']['name']) for feature in features] == numbers.tolist()
    annotations = json.loads((tmp_path / 'cell_coco.json').read_text(encoding='utf-8'))['annotations']
    assert [annotation['id'] for annotation in annotations] == numbers.tolist()
    rois = roifile.roiread(tmp_path / 'cell_rois.zip')
    assert [int(roi.name.split('-')[0]) for roi in rois] == numbers.tolist()


def test_cells_that_are_to_be_edited_are_annotations_for_qupath(tmp_path, cells):
    kinds = {}
    for is_editable in (False, True):
        for path in write(tmp_path, cells, *EDITABLE_FORMATS, is_editable=is_editable):
            content = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
            kinds.setdefault(is_editable, set()).update(
                feature['properties']['objectType'] for feature in json.loads(content)['features'])
    assert kinds == {False: {'detection'}, True: {'annotation'}}


def test_an_overlay_of_an_image_that_is_not_in_memory_is_refused(tmp_path, cells):
    with pytest.raises(MmcellError, match='leave overlay and numbers out of --formats'):
        write(tmp_path, cells, 'csv', 'overlay')
    assert list(tmp_path.iterdir()) == []


def test_no_cells_make_valid_files(tmp_path, cells):
    no_cells = cells.take(np.zeros(len(cells), bool))
    paths = write(tmp_path, no_cells, *FORMATS, pixels=np.zeros((*SHAPE, 3), np.uint8), mpp=1.)
    assert all(path.exists() for path in paths) and len({path.name for path in paths}) == len(paths) == 12
    assert geojson.loads((tmp_path / 'cell.geojson').read_text()).is_valid
    assert geojson.loads(gzip.decompress((tmp_path / 'cell.geojson.gz').read_bytes())).is_valid
    assert json.loads((tmp_path / 'cell_coco.json').read_text())['annotations'] == []
    assert not tifffile.imread(tmp_path / 'cell_labels.tif').any()
    assert roifile.roiread(tmp_path / 'cell_rois.zip') == []


def test_a_failure_leaves_the_old_files(tmp_path, cells):
    formats = [key for key in FORMATS if key not in PICTURE_FORMATS]
    paths = write(tmp_path, cells, *formats)
    before = [path.read_bytes() for path in paths]
    image = ImageInfo(tmp_path / 'cell.tif', *SHAPE, NAMES)
    with (pytest.raises(RuntimeError, match='stop'),
          writing_cells(formats, tmp_path, 'cell', image) as add):
        add(cells)
        raise RuntimeError('stop')
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_equal_cells_make_equal_files(tmp_path, cells):
    formats = [key for key in FORMATS if key not in PICTURE_FORMATS]
    first, second = (write(tmp_path / folder, cells, *formats) for folder in 'ab')
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
