"""XML as ImageScope writes it: classes, types of regions, holes, numbers of both kinds, and files that are hostile."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from support.masks import paint_rles

from mmcell.layouts import aperio
from mmcell.layouts.base import LayoutError, LayoutOptions, Source
from mmcell.layouts.class_tables import UNCLASSIFIED
from mmcell.layouts.outlines import OUTSIDE

SQUARE = [(10, 10), (20, 10), (20, 20), (10, 20)]
# Vertices that are no whole numbers are positions.
POSITIONS = [(x + .25, y + .25) for x, y in SQUARE]


def region(points, kind=0, negative=0, number=1):
    vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return (f'<Region Id="{number}" Type="{kind}" Text="" NegativeROA="{negative}"><Attributes/>'
            f'<Vertices>{vertices}</Vertices></Region>')


def annotation(*regions, name='Epithelial'):
    return (f'<Annotation Id="1" Name=""><Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes><Regions>'
            f'<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/></RegionAttributeHeaders>'
            f'{"".join(regions)}</Regions></Annotation>')


def read(tmp_path, content, height=100, width=100):
    path = tmp_path / 'a.xml'
    path.write_text(content)
    return aperio.read_cells(Source(path, (path,)), SimpleNamespace(height=height, width=width), LayoutOptions())


def read_regions(tmp_path, *regions, scale='MicronsPerPixel="0.25"'):
    return read(tmp_path, f'<Annotations {scale}>{annotation(*regions)}</Annotations>')


def areas(found):
    return {name: cells.areas_px.tolist() for name, cells in found.cells.items()}


def test_whole_numbers_name_pixels_and_others_are_positions(tmp_path):
    assert areas(read_regions(tmp_path, region(SQUARE))) == {'Epithelial': [11 * 11]}
    assert areas(read_regions(tmp_path, region(POSITIONS))) == {'Epithelial': [100]}
    # One number with a fraction makes positions of the whole file.
    assert areas(read_regions(tmp_path, region(SQUARE), region(POSITIONS))) == {'Epithelial': [100, 100]}


def test_classes_keep_their_names_and_layers_without_a_name_have_none(tmp_path):
    layers = [annotation(region(SQUARE), name=name) for name in ('Ambiguous', 'Macrophage', 'Description', 'Ambiguous')]
    found = read(tmp_path, f'<Annotations>{"".join(layers)}</Annotations>')
    assert {name: len(cells.ids) for name, cells in found.cells.items()} == {
        'Ambiguous': 2, 'Macrophage': 1, UNCLASSIFIED: 1}
    assert found.remarks[aperio.AMBIGUOUS] == ('a.xml: #1', 'a.xml: #1')


@pytest.mark.parametrize('text, mpp', [
    ('MicronsPerPixel="0.194480"', .19448), ('', None), ('MicronsPerPixel="x"', None), ('MicronsPerPixel="nan"', None),
    ('MicronsPerPixel="0"', None)])
def test_the_scale_is_read(tmp_path, text, mpp):
    assert read_regions(tmp_path, region(SQUARE), scale=text).mpp == mpp


def test_types_of_regions(tmp_path):
    corners = [(10.25, 10.25), (20.25, 14.25)]
    found = read_regions(tmp_path, region(corners, 1, number=1), region(corners, 2, number=2),
                         region(POSITIONS, 3, number=3), region(POSITIONS, 4, number=4), region(corners, number=5))
    rectangle, ellipse = areas(found)['Epithelial']
    assert rectangle == 40 and ellipse == pytest.approx(3.1416 * 5 * 2, abs=3)
    assert found.remarks == {aperio.NO_AREA: ('a.xml: #3', 'a.xml: #4', 'a.xml: #5')}


def test_negative_regions_are_holes(tmp_path):
    hole = [(12.25, 12.25), (15.25, 12.25), (15.25, 15.25), (12.25, 15.25)]
    elsewhere = [(x + 40, y) for x, y in POSITIONS]
    found = read_regions(tmp_path, region(POSITIONS), region(elsewhere), region(hole, negative=1, number=7))
    assert areas(found) == {'Epithelial': [91, 100]} and found.remarks == {aperio.HOLES: ('a.xml: #7',)}


def test_small_far_and_broken_regions_are_counted(tmp_path):
    found = read_regions(tmp_path, region([(3, 3)] * 4, number=1), region([(1, 1), (9, 9), (5, 5)], number=2),
                         region([(200, 200), (210, 200), (210, 210)], number=3), region([('nan', 1)] * 3, number=4),
                         region([('1e300', 1), (2, 2), (3, 3)], number=5), region([('', 1), (2, 2), (3, 3)], number=6))
    assert areas(found) == {'Epithelial': [1, 9]}
    assert found.remarks == {OUTSIDE: ('a.xml: #3',), aperio.BAD_VERTEX: ('a.xml: #4', 'a.xml: #5', 'a.xml: #6')}


def test_a_line_that_crosses_itself_is_a_cell(tmp_path):
    found = read_regions(tmp_path, region([(10, 10), (20, 20), (20, 10), (10, 20)]))
    assert areas(found) == {'Epithelial': [71]}


@pytest.mark.parametrize('content, match', [
    ('<!DOCTYPE a [<!ENTITY x "yyyy">]><Annotations/>', 'declares'),
    ('<!DOCTYPE a SYSTEM "x.dtd"><Annotations/>', 'declares'),
    ('<Annotations>&x;</Annotations>', 'is not XML'), ('<svg/>', 'another program'), ('<Annotations>', 'is not XML'),
    ('text', 'is not XML')])
def test_other_and_hostile_files_are_refused(tmp_path, content, match):
    with pytest.raises(LayoutError, match=match):
        read(tmp_path, content)


def test_files_above_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(aperio, '_MAX_BYTES', 100)
    with pytest.raises(LayoutError, match='more than 100 bytes'):
        read_regions(tmp_path, region(SQUARE))


def test_outlines_of_monusac_are_the_maps_of_the_challenge(real_data):
    """The label maps of this image were made from this file: most cells are equal, and the others almost."""
    name = 'TCGA-5P-A9K0-01Z-00-DX1_2'
    path, folder = real_data / 'monusac_xml' / f'{name}.xml', real_data / 'hw3' / 'train' / name
    if not (path.is_file() and folder.is_dir()):
        pytest.skip('no XML of MoNuSAC')
    maps = {path.stem: tifffile.imread(path).astype(int) for path in sorted(folder.glob('class*.tif'))}
    height, width = maps['class1'].shape
    found = aperio.read_cells(Source(path, (path,)), SimpleNamespace(height=height, width=width), LayoutOptions())
    assert found.mpp == .19448 and found.remarks == {}
    overlaps = []
    for name, class_map in (('Epithelial', maps['class1']), ('Lymphocyte', maps['class2'])):
        sizes = np.bincount(class_map.ravel())
        assert len(found.cells[name].ids) == (sizes[1:] > 0).sum()
        for rle in found.cells[name].rles:
            mask = paint_rles([rle]) > 0
            shared = np.bincount(class_map[mask], minlength=len(sizes))
            place = shared[1:].argmax() + 1
            overlaps.append(shared[place] / (sizes[place] + mask.sum() - shared[place]))
    assert len(overlaps) == 314 and np.equal(overlaps, 1).sum() == 250 and np.mean(overlaps) > .997


def test_holes_follow_the_rules_of_cells(tmp_path):
    """Whole numbers name pixels of a hole, it may be an ellipse, and it is also cut out of a line that crosses itself.
    """
    outer, inner = [(10, 10), (30, 10), (30, 30), (10, 30)], [(15, 15), (19, 15), (19, 19), (15, 19)]
    found = read_regions(tmp_path, region(outer), region(inner, negative=1, number=2))
    assert areas(found) == {'Epithelial': [21 * 21 - 5 * 5]}
    found = read_regions(tmp_path, region(outer), region([(15, 15), (25, 25)], kind=2, negative=1, number=2))
    assert abs(areas(found)['Epithelial'][0] - (21 * 21 - np.pi * 25)) < 6
    crossing = [(10.25, 10.25), (30.25, 30.25), (30.25, 10.25), (10.25, 30.25)]
    hole = [(12.25, 18.25), (14.25, 18.25), (14.25, 22.25), (12.25, 22.25)]
    whole, = areas(read_regions(tmp_path, region(crossing)))['Epithelial']
    assert areas(read_regions(tmp_path, region(crossing), region(hole, negative=1))) == {'Epithelial': [whole - 8]}


def test_holes_in_no_cell_are_counted_as_left_out(tmp_path):
    far = [(x + 50.25, y + .25) for x, y in SQUARE]
    found = read_regions(tmp_path, region(POSITIONS), region(far, negative=1, number=2))
    assert areas(found) == {'Epithelial': [100]} and found.remarks == {aperio.HOLES_OUTSIDE: ('a.xml: #2',)}
