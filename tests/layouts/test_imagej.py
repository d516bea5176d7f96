"""ROIs of ImageJ: their pixels by ImageJ's own rules, their classes, and files that are damaged or hostile."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from support.cells import cells_from_label_map
from support.masks import paint_rles
from support.synthetic_data import discs

from mmcell.errors import MmcellError
from mmcell.layouts import imagej
from mmcell.layouts.base import LayoutError, LayoutOptions, Source
from mmcell.writers.base import ImageInfo
from mmcell.writers.writing import writing_cells

HEIGHT, WIDTH = 40, 50
SQUARE = np.array([(2, 3), (8, 3), (8, 9), (2, 9)])


def make_roi(kind=ROI_TYPE.TRACED, points=SQUARE, name='', **attributes):
    roi = ImagejRoi.frompoints(np.asarray(points))
    roi.roitype, roi.name = kind, name
    for key, value in attributes.items():
        setattr(roi, key, value)
    return roi


def make_box(kind, left, top, right, bottom, **attributes):
    roi = ImagejRoi()
    roi.roitype, roi.left, roi.top, roi.right, roi.bottom = kind, left, top, right, bottom
    for key, value in attributes.items():
        setattr(roi, key, value)
    return roi


def make_path(*numbers):
    path = np.array(numbers, np.float32)
    return make_box(ROI_TYPE.RECT, 0, 0, 20, 20, multi_coordinates=path, shape_roi_size=len(path))


def write_zip(path, rois):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for number, roi in enumerate(rois):
            content = roi if isinstance(roi, bytes) else roi.tobytes()
            archive.writestr(f'{getattr(roi, "name", "") or number}.roi', content)
    return path


def read(path, height=HEIGHT, width=WIDTH):
    return imagej.read_cells(Source(path, (path,)), SimpleNamespace(height=height, width=width), LayoutOptions())


def mask_of(tmp_path, roi):
    """Returns the mask of one ROI as rows of '.' and '#', without empty rows and columns at the right and bottom."""
    cells = read(write_zip(tmp_path / 'a.zip', [roi])).cells
    (encoded,) = cells.values()
    mask = paint_rles(encoded.rles) > 0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [''.join('.#'[value] for value in row[:columns[-1] + 1]) for row in mask[:rows[-1] + 1].astype(int)]


def test_centres_on_a_slanted_outline_belong_to_the_pixels_that_imagej_takes(tmp_path):
    diamond = make_roi(ROI_TYPE.FREEHAND, [(2, 0), (4, 2), (2, 4), (0, 2)])
    assert mask_of(tmp_path, diamond) == ['..#.', '.###', '.###', '..#.']


@pytest.mark.parametrize('width, height', [(1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (2, 20), (17, 3), (24, 24),
                                           (31, 30)])
def test_ovals_have_the_pixels_of_the_formula_of_imagej(tmp_path, width, height):
    rows = mask_of(tmp_path, make_box(ROI_TYPE.OVAL, 3, 2, 3 + width, 2 + height))
    x, y = np.meshgrid(np.arange(width) - (width / 2 - .5), np.arange(height) - (height / 2 - .5))
    inside = np.zeros((2 + height, 3 + width), bool)
    inside[2:, 3:] = x ** 2 / (width / 2) ** 2 + y ** 2 / (height / 2) ** 2 <= 1
    found = np.array([[mark == '#' for mark in row.ljust(3 + width, '.')] for row in rows])
    np.testing.assert_array_equal(found, inside[:len(found)])
    assert not inside[len(found):].any()


def test_rectangles_may_have_round_corners(tmp_path):
    assert mask_of(tmp_path, make_box(ROI_TYPE.RECT, 1, 1, 4, 3)) == ['....', '.###', '.###']
    rounded = make_box(ROI_TYPE.RECT, 0, 0, 6, 6, rounded_rect_arc_size=6)
    assert mask_of(tmp_path, rounded) == ['.####.', '######', '######', '######', '######', '.####.']


def test_composite_rois_are_filled_by_the_even_odd_rule_and_have_curves(tmp_path):
    hole = make_path(0, 0, 0, 1, 6, 0, 1, 6, 5, 1, 0, 5, 4, 0, 2, 2, 1, 4, 2, 1, 4, 4, 1, 2, 4, 4)
    assert mask_of(tmp_path, hole) == ['######', '######', '##..##', '##..##', '######']
    # A quadratic curve from (0, 0) to (8, 0) with its summit at (4, 4), and the same curve as a cubic one.
    quadratic = make_path(0, 0, 0, 2, 4, 8, 8, 0, 4)
    cubic = make_path(0, 0, 0, 3, 8 / 3, 16 / 3, 16 / 3, 16 / 3, 8, 0, 4)
    rows = mask_of(tmp_path, quadratic)
    centres = np.arange(8) + .5
    depth = centres * (8 - centres) / 4
    assert rows == [''.join('.#'[int(y + .5 < limit)] for limit in depth) for y in range(4)]
    assert mask_of(tmp_path, cubic) == rows


def test_subpixel_coordinates_count(tmp_path):
    roi = make_roi(ROI_TYPE.POLYGON, np.array([(1.6, 0), (4.4, 0), (4.4, 2), (1.6, 2)], np.float32))
    assert roi.subpixelresolution
    assert mask_of(tmp_path, roi) == ['..##', '..##']


def test_what_has_no_area_or_is_broken_is_left_out_and_counted(tmp_path):
    line = make_box(ROI_TYPE.LINE, 0, 0, 5, 5)
    text = make_box(ROI_TYPE.RECT, 0, 0, 5, 5, subtype=ROI_SUBTYPE.TEXT)
    point = make_roi(ROI_TYPE.POINT, name='point')
    cut = make_roi().tobytes()[:70]
    wrong_path = make_path(7, 1, 1)
    no_number = make_roi(ROI_TYPE.POLYGON, np.array([(1.6, 0), (4.4, 0), (4.4, 2), (1.6, 2)], np.float32))
    no_number.subpixel_coordinates[1] = np.nan
    found = read(write_zip(tmp_path / 'a.zip', [line, text, point, cut, b'no ROI', wrong_path, no_number, make_roi()]))
    assert {name: len(cells.ids) for name, cells in found.cells.items()} == {'cell': 1}
    assert found.remarks[imagej.NO_AREA] == ('a.zip: 0', 'a.zip: 1', 'a.zip: point')
    assert [text[:8] for text in found.remarks[imagej.BROKEN]] == ['a.zip: 3', 'a.zip: 4', 'a.zip: 5', 'a.zip: 6']


def test_splines_are_noted(tmp_path):
    roi = make_roi(ROI_TYPE.POLYGON, options=ROI_OPTIONS.SPLINE_FIT)
    assert read(write_zip(tmp_path / 'a.zip', [roi])).remarks == {imagej.SPLINES: ('a.zip: 0',)}


@pytest.mark.parametrize('names_and_groups, expected', [
    ([('00001-b cell', 1), ('00002-mast-cell', 2)], ['b cell', 'mast-cell']),
    # By position as ImageJ does, and by a UUID as roifile does.
    ([('0012-0034', 0), ('1234567-0034', 0), ('12345678-0f1a-11ef-9c3b-0242ac120002', 0)], ['cell'] * 3),
    ([('0012-0034', 3), ('nucleus', 260)], ['class3', 'class260']),
    ([('00001-tumor', 3), ('0012-0034', 3), ('0012-0035', 4), ('00002-tumor', 4)], ['tumor'] * 4),
    ([('00001-tumor', 1), ('0012-0034', 0)], ['tumor', 'unclassified'])])
def test_classes_stand_in_names_and_groups(tmp_path, names_and_groups, expected):
    rois = [make_roi(name=name, group=group) for name, group in names_and_groups]
    found = read(write_zip(tmp_path / 'a.zip', rois)).cells
    assert {name: len(cells.ids) for name, cells in found.items()} == {
        name: expected.count(name) for name in expected}


def test_a_group_that_contradicts_the_name_is_noted(tmp_path):
    rois = [make_roi(name=f'0000{number}-{name}', group=group)
            for number, (name, group) in enumerate([('a', 1), ('a', 1), ('b', 1), ('b', 2)])]
    assert read(write_zip(tmp_path / 'a.zip', rois)).remarks == {imagej.OTHER_GROUP: ('a.zip: 00002-b',)}


def test_a_renamed_roi_has_its_new_class(tmp_path):
    rois = [make_roi(name=name, props='class: B/T cell\nscore: .5\n') for name in ('00001-B_T cell', '00002-mast')]
    assert sorted(read(write_zip(tmp_path / 'a.zip', rois)).cells) == ['B/T cell', 'mast']


def test_a_single_roi_file_is_read(tmp_path):
    path = tmp_path / '00003-tumor.roi'
    path.write_bytes(make_roi().tobytes())
    assert read(path).cells['tumor'].areas_px.tolist() == [36]


def test_what_predictions_write_comes_back_bit_for_bit(tmp_path):
    names = ['class1', 'ß/class two', 'long ' * 60]
    label_map = discs((HEIGHT, WIDTH), [(1, 10, 10, 7), (3, 30, 40, 9), (4, 39, 0, 3)])
    label_map[8:12, 8:12] = 0
    label_map[20, 20] = 2
    label_map[25:28, 3:6] = label_map[28:31, 6:9] = 5
    labels = [0, 1, 1, 2, 0]
    cells = cells_from_label_map(label_map, labels=labels)
    with writing_cells(['rois'], tmp_path, 'a', ImageInfo(tmp_path / 'a.tif', HEIGHT, WIDTH, names)) as add:
        add(cells)
    found = read(tmp_path / 'a_rois.zip')
    assert found.remarks == {}
    for label, name in enumerate(names):
        rles = [rle for rle, of_cell in zip(cells.masks.to_rles(), labels, strict=True) if of_cell == label]
        assert found.cells[name.strip()].rles == rles


def test_other_entries_are_named_and_nothing_is_written(tmp_path):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name in ('../up.roi', '/absolute.roi', 'folder/in.roi', 'C:\\x.roi', 'notes.txt', '__MACOSX/._a.roi',
                     'ok.roi'):
            archive.writestr(name, make_roi().tobytes())
    found = read(path)
    assert len(found.remarks[imagej.OTHER_ENTRIES]) == 6 and len(found.cells['cell'].ids) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f'{number}.roi', b'Iout' + bytes(1000))
    for limit in ('_MAX_ROI_BYTES', '_MAX_BYTES'):
        with monkeypatch.context() as patch:
            patch.setattr(imagej, limit, 900 if limit == '_MAX_ROI_BYTES' else 2500)
            with pytest.raises(LayoutError, match='unfolds to more than'):
                read(path)
    monkeypatch.setattr(imagej, '_MAX_ENTRIES', 2)
    with pytest.raises(LayoutError, match='3 entries'):
        read(path)


@pytest.mark.parametrize('content, match', [
    (b'text', 'neither a ROI'), (b'PK\3\4 damaged', 'cannot be unpacked'), (b'', 'empty')])
def test_other_files_are_refused(tmp_path, content, match):
    path = tmp_path / 'a_rois.zip'
    path.write_bytes(content)
    with pytest.raises(MmcellError, match=match):
        read(path)


def test_no_damage_ends_in_a_traceback(tmp_path, rng):
    for roi in (make_roi(name='00001-tumor', props='score: 1\n'), make_path(0, 1, 1, 1, 5, 1, 1, 5, 5, 4)):
        whole = np.frombuffer(roi.tobytes(), np.uint8)
        damaged = []
        for _ in range(150):
            content = whole.copy()
            content[rng.integers(4, len(content), 3)] = rng.integers(0, 256, 3)
            damaged.append(content[:rng.integers(4, len(content) + 1)].tobytes())
        found = read(write_zip(tmp_path / 'a.zip', damaged))
        n_found = sum(len(cells.ids) for cells in found.cells.values())
        left_out = [kind for kind in found.remarks if kind.startswith('left out')]
        assert n_found + sum(len(found.remarks[kind]) for kind in left_out) == len(damaged)


@pytest.mark.parametrize('name', ['a.zip', 'a_rois.zip', 'a-rois.zip', 'RoiSet_a.zip', 'a_RoiSet.zip', 'a.roi'])
def test_files_are_found_by_their_names(tmp_path, name):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / 'a.png')
    if name.endswith('.roi'):
        (tmp_path / name).write_bytes(make_roi().tobytes())
    else:
        write_zip(tmp_path / name, [make_roi()])
    source, = imagej.LAYOUT.find_sources(tmp_path, LayoutOptions()).sources
    assert source.files == (tmp_path / name,)
    assert 'ROIs of ImageJ' in imagej.recognize(tmp_path)


def test_a_zip_without_rois_is_not_recognized(tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / 'a.png')
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('notes.txt', 'x')
    assert imagej.recognize(tmp_path) is None
