"""Pictures of cells as SVG and PDF, in which cells are outlines that can be edited, over the pixels of the image."""

import base64
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np
import shapely
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as MatplotlibPath

from mmcell.cells.outlines import outline_masks, outline_paths
from mmcell.files.whole_files import written_whole
from mmcell.masks.runs import MaskRuns
from mmcell.visualization.cell_panels import CellPanel, CellPicture, paint
from mmcell.visualization.colors import to_hex
from mmcell.visualization.overlay import write_png
from mmcell.visualization.panels import BACKGROUND, TEXT_COLOR, Sheet, arrange

PICTURE_FORMATS = ('png', 'svg', 'pdf')
# XML 1.0 has no other characters (https://www.w3.org/TR/xml/#charsets).
_NOT_IN_XML = re.compile('[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]')
_FONT = 'DejaVu Sans'
# The picture has a size in px, and matplotlib counts in points. With 72 px per inch both are the same.
_DPI = 72
# Text stays text in fonts that are embedded as TrueType; images stay apart, at their own resolution.
_PDF_SETTINGS = {'pdf.fonttype': 42, 'image.composite_image': False}


def write_cell_picture(picture: CellPicture, path: Path) -> None:
    """Writes a picture of cells to a file, completely or not at all; makes its folder if necessary.

    The formats show the same at the same size. In SVG and PDF, outlines run along the edges of the pixels of the masks,
    and the image has its own resolution. The same picture gives the same bytes.

    Args:
        picture: The picture.
        path: The file, whose suffix is one of ``PICTURE_FORMATS``.
    """
    if path.suffix == '.png':
        write_png(paint(picture), path)
        return
    with written_whole([path]) as (temporary,):
        if path.suffix == '.svg':
            temporary.write_text(to_svg(picture), encoding='utf-8')
        else:
            _write_pdf(picture, temporary)


def _sheet_of(picture: CellPicture) -> Sheet:
    height, width = picture.image.shape[:2]
    return arrange([panel.heading for panel in picture.panels],
                   [(picture.scale * width, picture.scale * height)] * len(picture.panels), picture.legend)


def to_svg(picture: CellPicture) -> str:
    """Returns a picture as the text of an SVG file.

    Each panel is a group, with one group per class in it, and where cells have verdicts, one group per verdict in each
    of these. Inkscape shows them as layers under the names of the classes, Illustrator under their ids. Coordinates
    inside a panel are px of the image.
    """
    sheet = _sheet_of(picture)
    size = f'width="{sheet.width_px}" height="{sheet.height_px}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>',
             '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
             f'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" {size} '
             f'viewBox="0 0 {sheet.width_px} {sheet.height_px}">',
             f'<rect id="background" {size} fill="{to_hex(BACKGROUND)}"/>', '<g id="legend">']
    for placed in sheet.boxes:
        left, top, right, bottom = placed.box_xyxy
        lines.append(f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" '
                     f'fill="{to_hex(placed.color)}"/>')
    lines.append('</g>')
    lines.append(f'<g id="text" fill="{to_hex(TEXT_COLOR)}" font-family="\'{_FONT}\', sans-serif">')
    lines += [f'<text x="{placed.left}" y="{placed.baseline}" font-size="{placed.size_px}">'
              f'{escape(_clean(placed.text))}</text>' for placed in sheet.texts]
    lines.append('</g>')
    for number, (panel, corner_xy) in enumerate(zip(picture.panels, sheet.corners_xy, strict=True), start=1):
        lines += _svg_panel(picture, panel, f'panel{number}', corner_xy)
    return '\n'.join([*lines, '</svg>', ''])


def _svg_panel(picture: CellPicture, panel: CellPanel, name: str, corner_xy: tuple[int, int]) -> Iterator[str]:
    left, top = corner_xy
    height, width = picture.image.shape[:2]
    yield (f'<g id="{name}" {_layer(panel.heading)} transform="translate({left} {top}) scale({picture.scale})" '
           f'stroke-width="{panel.width_px / picture.scale:g}" fill-opacity="{picture.fill:g}" fill-rule="evenodd">')
    # The panels show the same image, which the file holds once.
    if name == 'panel1':
        yield (f'<image id="image" width="{width}" height="{height}" '
               f'xlink:href="data:image/png;base64,{_to_base64_png(picture.image)}"/>')
    else:
        yield '<use xlink:href="#image"/>'
    paths = outline_paths(MaskRuns.from_rles(panel.rles, height, width))
    for label in sorted(set(panel.labels)):
        class_name = picture.class_names[label]
        yield f'<g id="{name}_class{label + 1}_{_to_id(class_name)}" {_layer(class_name)}>'
        for verdict in dict.fromkeys(panel.verdicts or [None]):
            cells = [cell for cell, of_class in enumerate(panel.labels)
                     if of_class == label and (verdict is None or panel.verdicts[cell] == verdict)]
            if cells:
                yield from _svg_cells(picture, panel, cells, paths, verdict)
        yield '</g>'
    yield '</g>'


def _svg_cells(picture: CellPicture, panel: CellPanel, cells: list[int], paths: list[str],
               verdict: str | None) -> Iterator[str]:
    """Yields a group with the outlines of cells of one colour."""
    color, dash_px = to_hex(panel.colors[cells[0]]), panel.dashes_px[cells[0]]
    dashes = f' stroke-dasharray="{dash_px / picture.scale:g}"' if dash_px else ''
    yield f'<g {_layer(verdict or "cells")} fill="{color}" stroke="{color}"{dashes}>'
    yield from (f'<path d="{paths[cell]}"/>' for cell in cells)
    yield '</g>'


def _layer(name: str) -> str:
    return f'inkscape:groupmode="layer" inkscape:label={quoteattr(_clean(name))}'


def _clean(text: str) -> str:
    """Returns a text in which characters that XML does not have are '?'."""
    return _NOT_IN_XML.sub('?', text)


def _to_id(name: str) -> str:
    return re.sub(r'[^A-Za-z0-9_.-]', '_', name)


def _to_base64_png(image: np.ndarray) -> str:
    _, encoded = cv2.imencode('.png', image[:, :, ::-1])
    return base64.b64encode(encoded.tobytes()).decode()


def _write_pdf(picture: CellPicture, path: Path) -> None:
    sheet = _sheet_of(picture)
    # Letters that the font lacks are boxes, as in the other formats.
    with rc_context(_PDF_SETTINGS), warnings.catch_warnings(action='ignore'):
        figure = Figure((sheet.width_px / _DPI, sheet.height_px / _DPI), _DPI, facecolor=np.array(BACKGROUND) / 255)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for placed in sheet.boxes:
            left, top, right, bottom = placed.box_xyxy
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, color=np.array(placed.color) / 255,
                                     linewidth=0))
        for placed in sheet.texts:
            axes.text(placed.left, placed.baseline, placed.text, fontsize=placed.size_px, family=_FONT,
                      color=np.array(TEXT_COLOR) / 255, parse_math=False)
        for panel, corner_xy in zip(picture.panels, sheet.corners_xy, strict=True):
            _draw_panel(axes, picture, panel, corner_xy)
        axes.set(xlim=(0, sheet.width_px), ylim=(sheet.height_px, 0), aspect='auto')
        figure.savefig(path, format='pdf', dpi=_DPI, metadata={'CreationDate': None})


def _draw_panel(axes: Axes, picture: CellPicture, panel: CellPanel, corner_xy: tuple[int, int]) -> None:
    height, width = picture.image.shape[:2]
    left, top = corner_xy
    axes.imshow(picture.image, interpolation='none',
                extent=(left, left + picture.scale * width, top + picture.scale * height, top))
    outlines = outline_masks(MaskRuns.from_rles(panel.rles, height, width))
    for outline, color, dash_px in zip(outlines, panel.colors, panel.dashes_px, strict=True):
        rgb = np.array(color) / 255
        axes.add_patch(PathPatch(
            _to_path(outline, picture.scale, corner_xy), facecolor=(*rgb, picture.fill), edgecolor=rgb,
            linewidth=panel.width_px, linestyle=(0, (dash_px / panel.width_px,) * 2) if dash_px else 'solid',
            capstyle='butt'))


def _to_path(outline: shapely.Geometry, scale: int, corner_xy: tuple[int, int]) -> MatplotlibPath:
    """Returns the rings of a polygon, or of several, in px of the picture. Holes run the other way round."""
    rings = [shapely.get_coordinates(ring) * scale + corner_xy for polygon in shapely.get_parts(outline)
             for ring in (polygon.exterior, *polygon.interiors)]
    codes = [[MatplotlibPath.MOVETO, *[MatplotlibPath.LINETO] * (len(ring) - 2), MatplotlibPath.CLOSEPOLY]
             for ring in rings]
    return MatplotlibPath(np.concatenate(rings), np.concatenate(codes))
