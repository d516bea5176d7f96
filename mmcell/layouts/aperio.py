"""XML of Aperio ImageScope: regions of named annotations, as MoNuSAC and MoNuSeg are published.

::

    <Annotations MicronsPerPixel="0.25">
      <Annotation Name=""><Attributes><Attribute Name="Epithelial" Value="" /></Attributes>
        <Regions><Region Id="1" Type="0" NegativeROA="0">
          <Vertices><Vertex X="12" Y="7" Z="0" /> … </Vertices></Region></Regions></Annotation></Annotations>

**Vertices that are whole numbers name pixels**: the line was drawn from pixel to pixel, along pixels that belong to the
cell. In a file whose vertices are all whole, outlines therefore run through the centres of these pixels, which are
inside. Of 314 cells of an image of MoNuSAC, 250 are then bit for bit equal to the label maps of the challenge, which
were made from this file, and the median IoU is 1; if the numbers were positions, the median IoU would be .89. In other
files, coordinates are positions from the outer corner of the first pixel.
"""

import xml.parsers.expat
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import shapely

from mmcell.errors import escape, quote
from mmcell.files.folders import refuse_unusable
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import PAIR_OPTIONS, Layout, LayoutError, LayoutOptions, Source, SourceCells
from mmcell.layouts.file_pairs import FileKind, describe_pairs, pair_files
from mmcell.layouts.outlines import Outlines
from mmcell.masks.polygons import MAX_COORDINATE_PX

KIND = FileKind(('.xml',), ('_annotations', '-annotations', '_aperio'))
NO_AREA = 'left out, regions without an area (arrows, rulers, fewer than three points)'
HOLES = 'negative regions, which were cut out of the cells that contain them'
HOLES_OUTSIDE = 'left out, negative regions that lie in no cell of their layer'
BAD_VERTEX = 'left out, regions with a vertex that has no finite X and Y'
AMBIGUOUS = 'regions of the class Ambiguous, which are kept as a class (--rename Ambiguous= leaves them out)'
_MAX_BYTES = 2 ** 29
# Outlines through the centres of pixels are widened by so much, so that these centres are inside.
_WIDENED_PX = 1e-3
# Types of regions of ImageScope. An arrow has the type 3, and a ruler the type 4.
_POLYGON, _RECTANGLE, _ELLIPSE = '0', '1', '2'
_NAMES_OF_LAYERS = ('description', '')


@dataclass
class _Region:
    """A region: its class, type and vertices, which are text until they are used."""

    label: str
    class_name: str
    kind: str
    is_negative: bool
    vertices: list[tuple[str, str]] = field(default_factory=list)


class _Reader:
    """Collects regions while a file is parsed.

    Attributes:
        regions: All regions in the order of the file.
        mpp: Micrometres per pixel; None if the file does not say.
        root: The name of the outermost element.
    """

    def __init__(self) -> None:
        self.regions: list[_Region] = []
        self.mpp: float | None = None
        self.root: str | None = None
        self._class_name, self._has_class = '', False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.root is None:
            self.root = tag
        if tag == 'Annotations':
            self.mpp = _to_scale(attributes.get('MicronsPerPixel'))
        elif tag == 'Annotation':
            self._class_name, self._has_class = ' '.join(attributes.get('Name', '').split()), False
        elif tag == 'Attribute' and not self._has_class:
            name = ' '.join(attributes.get('Name', '').split())
            # ImageScope calls the attribute of a layer that nobody has named "Description".
            if name.lower() not in _NAMES_OF_LAYERS:
                self._class_name, self._has_class = name, True
        elif tag == 'Region':
            text = ' '.join(attributes.get('Text', '').split())
            self.regions.append(_Region(
                f"#{attributes.get('Id', len(self.regions) + 1)}", self._class_name or text,
                attributes.get('Type', _POLYGON), attributes.get('NegativeROA', '0') == '1'))
        elif tag == 'Vertex' and self.regions:
            self.regions[-1].vertices.append((attributes.get('X', ''), attributes.get('Y', '')))


def _to_scale(text: str | None) -> float | None:
    try:
        scale = float(text)
    except (TypeError, ValueError):
        return None
    return scale if .01 <= scale <= 100 else None


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads the regions of a file as cells; negative regions are holes in the cells of their layer that contain them.

    Raises:
        FileError: The file cannot be read.
        LayoutError: The file is not XML of ImageScope, or declares entities or a document type.
    """
    path = source.files[0]
    reader = _parse(path)
    outlines, holes = Outlines(path), []
    all_points = [_to_points(region) for region in reader.regions]
    are_pixels = all(points is None or (points == np.floor(points)).all() for points in all_points)
    for region, points in zip(reader.regions, all_points, strict=True):
        if points is None:
            outlines.remark(BAD_VERTEX, region.label)
        elif len(points) < (3 if region.kind == _POLYGON else 2) or region.kind not in (
                _POLYGON, _RECTANGLE, _ELLIPSE):
            outlines.remark(NO_AREA, region.label)
        elif region.is_negative:
            holes.append((_to_outline(points, region, are_pixels), region))
        else:
            outlines.add(_to_outline(points, region, are_pixels), region.class_name, region.label)
            if region.class_name.lower() == 'ambiguous':
                outlines.remark(AMBIGUOUS, region.label)
    _cut_out(outlines, holes)
    return outlines.to_cells(image, reader.mpp)


def _parse(path: Path) -> _Reader:
    """Parses a file without expanding entities: whoever declares one is refused."""
    refuse_unusable(path)
    if path.stat().st_size > _MAX_BYTES:
        raise LayoutError(f'{path}: has more than {_MAX_BYTES:,} bytes')
    reader, parser = _Reader(), xml.parsers.expat.ParserCreate()

    def refuse_declaration(*_: object) -> None:
        raise LayoutError(f'{path}: declares a document type or entities, which annotations do not need, and which '
                          'could make a small file endless: remove the declaration')

    parser.StartElementHandler = reader.start
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse_declaration
    try:
        parser.Parse(path.read_bytes(), True)
    except LayoutError:
        raise
    # An ExpatError, or what the encoding that the file names raises: a LookupError or ValueError.
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:
        raise LayoutError(f'{path}: is not XML: {escape(error)}; the file may be cut short or damaged') from error
    if reader.root != 'Annotations':
        raise LayoutError(f'{path}: is XML of another program: it begins with {quote(reader.root)}, but Annotations is '
                          'expected')
    return reader


def _to_outline(points: np.ndarray, region: _Region, are_pixels: bool) -> shapely.Geometry:
    """Returns the outline of a region; ``are_pixels`` says that its points (N, 2) name pixels along the outline."""
    if not are_pixels or region.kind != _POLYGON:
        return shapely.Polygon(_fill_out(points, region.kind))
    outline = shapely.Polygon(points + .5)
    outline = outline if outline.is_valid else shapely.make_valid(outline)
    return outline.buffer(_WIDENED_PX, join_style='mitre')


def _fill_out(points: np.ndarray, kind: str) -> np.ndarray:
    """Returns the corners of a rectangle, or points along an ellipse, from points that lie in its corners."""
    if kind == _POLYGON:
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    if kind == _RECTANGLE:
        return np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    return (low + high) / 2 + (high - low) / 2 * np.column_stack([np.cos(angles), np.sin(angles)])


def _to_points(region: _Region) -> np.ndarray | None:
    """Returns the vertices of a region as (N, 2) float64; None if one is not a pair of finite numbers."""
    try:
        points = np.array(region.vertices, np.float64).reshape(-1, 2)
    except ValueError:
        return None
    return points if (np.abs(points) <= MAX_COORDINATE_PX).all() else None


def _cut_out(outlines: Outlines, holes: list[tuple[shapely.Polygon, _Region]]) -> None:
    """Cuts negative regions out of the cells of the same class that contain one of their points."""
    for hole, region in holes:
        hole = _without_crossings(hole)
        point, is_cut = hole.representative_point(), False
        for place, (outline, name) in enumerate(zip(outlines.geometries, outlines.class_names, strict=True)):
            if name == region.class_name and (outline := _without_crossings(outline)).intersects(point):
                outlines.geometries[place], is_cut = outline.difference(hole), True
        outlines.remark(HOLES if is_cut else HOLES_OUTSIDE, region.label)


def _without_crossings(outline: shapely.Geometry) -> shapely.Geometry:
    """Returns an outline that another one can be cut out of: one that does not cross itself."""
    return outline if outline.is_valid else shapely.make_valid(outline).buffer(0)


LAYOUT = Layout('aperio', 'XML of Aperio ImageScope, NAME.xml, as MoNuSAC is published',
                partial(describe_pairs, kind=KIND, what='XML files'), partial(pair_files, kind=KIND), read_cells,
                PAIR_OPTIONS)
