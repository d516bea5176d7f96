import base64
import re
import struct
import zlib
from functools import reduce
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import shapely
from support.synthetic_data import discs

from mmcell.masks.rle import encode_label_map
from mmcell.visualization.cell_panels import VERDICTS, CellSet, compose_cell_sets, paint
from mmcell.visualization.colors import class_colors
from mmcell.visualization.vector_pictures import to_svg, write_cell_picture

SVG = '{http://www.w3.org/2000/svg}'
LABEL = '{http://www.inkscape.org/namespaces/inkscape}label'
NAMES = ['epithelial', 'T & B <cells> "x" µ\x1b']
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)


def label_map():
    """Three discs, of which the first has a hole, and of which the third consists of two pieces that touch a border."""
    cells = discs((50, 70), [(1, 15, 15, 9), (2, 30, 42, 9), (3, 49, 15, 6)])
    cells[13:17, 13:17] = 0
    cells[0, 69] = 3
    return cells


RLES = encode_label_map(label_map()).rles


def compose(scale=2, verdicts=None, labels=(0, 1, 0), names=NAMES):
    true = CellSet.true(RLES[:2], labels[:2], verdicts and verdicts[:2])
    return compose_cell_sets(IMAGE, [true, CellSet.predicted(RLES, labels, .5, verdicts)], names, scale=scale)


def panels_of(svg):
    """The groups of the panels in the text of an SVG file."""
    root = ElementTree.fromstring(svg)
    return [group for group in root.iter(f'{SVG}g') if re.fullmatch(r'panel\d+', group.get('id', ''))]


def fill(path):
    """The pixels (50, 70) bool whose centres are inside a path of the rule evenodd."""
    rings = []
    for ring in path.split('z')[:-1]:
        x, y = map(int, re.match(r'M(\d+) (\d+)', ring).groups())
        corners = [(x, y)]
        for way, length in re.findall(r'([hv])(-?\d+)', ring):
            x, y = (x + int(length), y) if way == 'h' else (x, y + int(length))
            corners.append((x, y))
        rings.append(shapely.Polygon(corners))
    shape = reduce(shapely.symmetric_difference, rings)
    y, x = np.mgrid[:50, :70]
    return shapely.contains_xy(shape, x + .5, y + .5)


@pytest.mark.parametrize('scale', [1, 3])
def test_outlines_are_exact_and_grouped_under_the_names_of_their_classes(scale):
    true, predicted = panels_of(to_svg(compose(scale)))
    assert true.get(LABEL) == '2 true' and predicted.get(LABEL) == '3 predicted, score >= 0.5'
    assert predicted.get('fill-rule') == 'evenodd' and predicted.get('stroke-width') == f'{1 / scale:g}'
    groups = predicted.findall(f'{SVG}g')
    assert [group.get(LABEL) for group in groups] == [NAMES[0], 'T & B <cells> "x" µ?']
    for group, cells, color in zip(groups, [(1, 3), (2,)], class_colors(2), strict=True):
        drawn, = group
        assert drawn.get('fill') == drawn.get('stroke') == '#{:02x}{:02x}{:02x}'.format(*color)
        for path, number in zip(drawn, cells, strict=True):
            np.testing.assert_array_equal(fill(path.get('d')), label_map() == number)


def test_verdicts_are_groups_inside_the_classes_with_the_dashes_of_the_legend():
    _, predicted = panels_of(to_svg(compose(verdicts=['hit', 'wrong class', 'spurious'])))
    first, second = predicted.findall(f'{SVG}g')
    styles = {group.get(LABEL): (group.get('stroke'), group.get('stroke-dasharray'), len(group))
              for group in [*first, *second]}
    assert styles == {name: ('#{:02x}{:02x}{:02x}'.format(*VERDICTS[name][0]), dashes, 1)
                      for name, dashes in [('hit', None), ('wrong class', '7'), ('spurious', '1.5')]}
    assert predicted.get('stroke-width') == '1'


def test_the_image_is_there_once_with_all_of_its_pixels():
    svg = to_svg(compose())
    encoded, = re.findall('data:image/png;base64,([^"]+)"', svg)
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(pixels, IMAGE)
    assert svg.count('xlink:href="#image"') == 1


def test_ids_are_unique_also_if_names_differ_only_in_their_signs():
    svg = to_svg(compose(names=['a+', 'a-']))
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(set(ids)) == len(ids) and 'panel2_class1_a_' in ids


def test_sizes_and_places_are_those_of_the_png():
    picture = compose(scale=3)
    height, width = paint(picture).shape[:2]
    svg = to_svg(picture)
    root = ElementTree.fromstring(svg)
    assert (root.get('width'), root.get('height')) == (str(width), str(height))
    assert [panel.get('transform') for panel in panels_of(svg)] == [
        f'translate(0 {height - 150}) scale(3)', f'translate({width // 2 + 4} {height - 150}) scale(3)']
    texts = [text.text for text in root.iter(f'{SVG}text')]
    assert texts[:2] == [NAMES[0], 'T & B <cells> "x" µ?'] and texts[2] == '2 true'


def streams(pdf):
    """The dictionaries and the decompressed streams of a PDF file."""
    for head, stream in re.findall(rb'<<((?:(?!endobj).)*?)>>\s*stream\r?\n(.*?)\r?\nendstream', pdf, re.S):
        yield head, zlib.decompress(stream) if b'FlateDecode' in head else stream


def test_a_pdf_has_the_pixels_of_the_image_and_embedded_fonts(tmp_path):
    picture = compose(verdicts=['hit', 'wrong class', 'spurious'])
    write_cell_picture(picture, tmp_path / 'a.pdf')
    pdf = (tmp_path / 'a.pdf').read_bytes()
    height, width = paint(picture).shape[:2]
    assert re.search(rb'/MediaBox \[ ?0 0 (\d+) (\d+) ?\]', pdf).groups() == (b'%d' % width, b'%d' % height)
    images = [(head, content) for head, content in streams(pdf) if b'/Subtype /Image' in head]
    for head, content in images:
        # The lines of a PDF image with this predictor are those of a PNG file.
        assert b'/Predictor 10' in head and b'/Width 70' in head and b'/Height 50' in head
        chunks = [(b'IHDR', struct.pack('>IIBBBBB', 70, 50, 8, 2, 0, 0, 0)), (b'IDAT', zlib.compress(content)),
                  (b'IEND', b'')]
        png = b'\x89PNG\r\n\x1a\n' + b''.join(struct.pack('>I', len(part)) + name + part + struct.pack(
            '>I', zlib.crc32(name + part)) for name, part in chunks)
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        # The matrix before it turns the image upside down.
        np.testing.assert_array_equal(pixels, IMAGE[::-1])
    assert len(images) == 2 and b'/FontFile2' in pdf and b'/Type3' not in pdf


def test_holes_of_cells_are_holes_in_a_pdf(tmp_path):
    picture = compose_cell_sets(IMAGE, [CellSet('cells', RLES[:1], [0])], ['a'])
    write_cell_picture(picture, tmp_path / 'a.pdf')
    drawing, = (content.decode() for _, content in streams((tmp_path / 'a.pdf').read_bytes()) if b'\nBT\n' in content)
    # The path that is filled and stroked: the outline and the hole, whose signed areas have different signs.
    path = re.search(r'((?:[-\d. ]+ [ml]\n|h\n)+)\n[bB]\n', drawing)[1]
    rings = [np.array([list(map(float, line.split()[:2])) for line in ring.splitlines() if line])
             for ring in path.split('h\n')[:-1]]
    areas = [np.sum(ring[:, 0] * np.roll(ring[:, 1], -1) - ring[:, 1] * np.roll(ring[:, 0], -1)) / 2 for ring in rings]
    assert len(areas) == 2 and np.prod(areas) < 0 and abs(sum(areas)) == (label_map() == 1).sum()


@pytest.mark.parametrize('file_format', ['png', 'svg', 'pdf'])
def test_the_same_picture_is_the_same_file(tmp_path, file_format):
    paths = [tmp_path / 'new' / f'{name}.{file_format}' for name in 'ab']
    for path in paths:
        write_cell_picture(compose(), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and len(list((tmp_path / 'new').iterdir())) == 2


@pytest.mark.parametrize('file_format', ['svg', 'pdf'])
@pytest.mark.parametrize('name', ['$x_1$', '細胞', '\udcff', ''])
def test_names_of_any_kind(tmp_path, name, file_format):
    write_cell_picture(compose(names=[name, 'b']), tmp_path / f'a.{file_format}')
    if file_format == 'svg':
        ElementTree.parse(tmp_path / 'a.svg')
