"""GeoJSON of QuPath: annotations, detections and cells.

An object is a GeoJSON feature. What it is, and of which class, stands in its properties (QuPath 0.3 to 0.6)::

    {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 2], …]]}, "nucleusGeometry": {…},
     "properties": {"objectType": "detection", "classification": {"name": "Tumor", "color": [200, 0, 0]}}}

Since QuPath 0.5, the classification of derived classes is ``{"names": ["Tumor", "Positive"]}``, which stands for the
class "Tumor: Positive". Older versions write the kind of object as ``"id": "PathDetectionObject"``.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import shapely

from mmcell.errors import escape, quote
from mmcell.files.text_files import is_integer
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import PAIR_OPTIONS, Layout, LayoutError, LayoutOptions, Source, SourceCells
from mmcell.layouts.file_pairs import FileKind, describe_pairs, pair_files
from mmcell.layouts.geojson_files import read_geojson
from mmcell.layouts.outlines import Outlines
from mmcell.masks.polygons import MAX_COORDINATE_PX

KIND = FileKind(('.geojson', '.geojson.gz', '.geojson.zip'),
                ('_annotations', '-annotations', ' - annotations', '_detections', '_cells', '_qupath', '_objects'))
# Objects of these kinds are cells, whatever lies in them, and objects of those kinds are never cells.
_CELL_KINDS = ('detection', 'cell')
_OTHER_KINDS = ('tile', 'tma_core', 'tmacore', 'root')
NO_AREA = 'left out, objects without an area (points, lines)'
NO_CELL = 'left out, tiles, cores of tissue microarrays and other objects that are not cells'
REGION = 'left out, regions: annotations around several objects, and those of an ignored class such as Region*'
NO_OUTLINE = 'left out, objects whose geometry cannot be read'


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads the objects of a file, and leaves out those that are no cells, each with a remark.

    A cell of QuPath has an outline, and perhaps another one of its nucleus; the outline of the cell is taken. Classes
    whose name ends with ``*`` (Region*, Ignore*) are those that QuPath ignores. An annotation is a region, and not a
    cell, if it contains the centres of ten or more other objects, or of two or more that fill less than a third of it;
    or if it has no class and is locked, or has children, and contains the centre of another object. Cells that are
    drawn around others are kept, and so are detections, and annotations that mmcell wrote (``--editable``), even if
    they lie around false detections.

    Raises:
        FileError: The file cannot be read.
        LayoutError: The file is not GeoJSON, or too large.
    """
    outlines, is_annotation, is_loose = Outlines(source.files[0]), [], []
    for number, feature in enumerate(_iterate_features(read_geojson(source.files[0]), source.files[0]), start=1):
        kind = _add_feature(outlines, feature, f'#{number}')
        if len(outlines.geometries) > len(is_annotation):
            is_annotation.append(kind not in _CELL_KINDS and not _was_written_by_mmcell(feature))
            is_loose.append(not outlines.class_names[-1] and _is_locked_or_parent(feature))
    is_region = _find_regions(outlines.geometries, np.array(is_loose, bool)) & np.array(is_annotation, bool)
    outlines.take(~is_region, REGION)
    return outlines.to_cells(image)


def read_regions(path: Path) -> tuple[list[str], list[shapely.Geometry]]:
    """Returns names and shapes of the areas in a file, in px: annotations of QuPath, or shapes of another program.

    Detections, cells, tiles and areas of the class Ignore* are no regions.

    A name is that of the object, or of its class, or its number.

    Raises:
        FileError: The file cannot be read.
        LayoutError: The file is not GeoJSON, is too large, or has no area.
    """
    names, shapes = [], []
    for feature in _iterate_features(read_geojson(path), path):
        shape = _to_shape(feature.get('geometry', feature if 'coordinates' in feature else None))
        properties = feature.get('properties') if isinstance(feature.get('properties'), dict) else {}
        is_area = (_object_kind(feature, properties) not in (*_CELL_KINDS, *_OTHER_KINDS)
                   and not _class_of(properties).startswith('Ignore'))
        if shape is not None and is_area:
            name = ' '.join(str(properties.get('name') or '').split()) or _class_of(properties)
            names.append(name or f'region {len(names) + 1}')
            shapes.append(shape)
    if not shapes:
        raise LayoutError(f'{path}: has no polygon, which would be a region')
    return names, shapes


def _iterate_features(content: object, path: Path) -> Iterator[dict]:
    """Yields the features of a FeatureCollection, of a list, or the only one; features in features come after them.

    QuPath writes the children of an object into its properties (``childObjects``), if a hierarchy is exported. The
    geometries of a GeometryCollection that is no part of a feature are features without properties.
    """
    if isinstance(content, dict) and content.get('type') in ('FeatureCollection', 'GeometryCollection'):
        content = content.get('features' if content['type'] == 'FeatureCollection' else 'geometries')
    features = [content] if isinstance(content, dict) else content
    if not isinstance(features, list) or not all(
            isinstance(feature, dict) and ('geometry' in feature or 'coordinates' in feature) for feature in features):
        raise LayoutError(f'{path}: is not GeoJSON with a list of features, but {quote(content)}')
    for feature in features:
        yield feature
        for owner in (feature, feature.get('properties')):
            for key in ('childObjects', 'children'):
                if isinstance(owner, dict) and owner.get(key):
                    yield from _iterate_features(owner[key], path)


def _add_feature(outlines: Outlines, feature: dict, label: str) -> str:
    """Adds an object to the outlines, or to the remarks about what is left out; returns what kind of object it is."""
    properties = feature.get('properties') if isinstance(feature.get('properties'), dict) else {}
    geometry = feature.get('geometry', feature if 'coordinates' in feature else None)
    form = geometry.get('type') if isinstance(geometry, dict) else None
    kind, name = _object_kind(feature, properties), _class_of(properties)
    if kind in _OTHER_KINDS:
        outlines.remark(NO_CELL, label)
    elif form in ('Point', 'MultiPoint', 'LineString', 'MultiLineString'):
        outlines.remark(NO_AREA, label)
    elif name.endswith('*'):
        outlines.remark(REGION, label)
    elif (shape := _to_shape(geometry)) is None:
        outlines.remark(NO_OUTLINE, label)
    else:
        outlines.add(shape, name, label)
    return kind


def _object_kind(feature: dict, properties: dict) -> str:
    keys = (key for key in ('objectType', 'object_type', 'type') if key in properties)
    kind = properties.get(next(keys, ''), feature.get('id'))
    return str(kind).lower().removeprefix('path').removesuffix('object')


def _is_locked_or_parent(feature: dict) -> bool:
    properties = feature.get('properties')
    return isinstance(properties, dict) and (properties.get('isLocked') is True or bool(properties.get('childObjects')))


def _was_written_by_mmcell(feature: dict) -> bool:
    """Whether an annotation is a cell that mmcell wrote: it has a number as its name, and measurements of cells."""
    properties = feature.get('properties') if isinstance(feature.get('properties'), dict) else {}
    measurements = properties.get('measurements')
    # Before QuPath 0.4 they were a list of {"name": …, "value": …}.
    names = ([entry.get('name') for entry in measurements if isinstance(entry, dict)]
             if isinstance(measurements, list) else measurements)
    return (isinstance(names, dict | list) and {'Area px^2', 'Eccentricity'} <= {str(name) for name in names}
            and str(properties.get('name')).isdecimal())


def _class_of(properties: dict) -> str:
    """Returns the name of the class of an object, '' without one."""
    found = properties.get('classification', properties.get('class'))
    if isinstance(found, dict):
        found = found['names'] if isinstance(found.get('names'), list) else found.get('name')
    if isinstance(found, list):
        found = ': '.join(map(str, found))
    if is_integer(found):
        return f'class{found}'
    text = '' if found is None else ' '.join(str(found).split())
    return text if text.isprintable() else escape(text)


def _to_shape(geometry: object) -> shapely.Geometry | None:
    """Returns the polygons of a GeoJSON geometry; None if it has none that can be read."""
    if not isinstance(geometry, dict):
        return None
    coordinates, kind = geometry.get('coordinates'), str(geometry.get('type'))
    if kind == 'GeometryCollection' and isinstance(geometry.get('geometries'), list):
        shapes = [shape for part in geometry['geometries'] if isinstance(part, dict) and str(part.get('type')) in (
            'Polygon', 'MultiPolygon', 'GeometryCollection') and (shape := _to_shape(part)) is not None]
        parts = [part for shape in shapes for part in shapely.get_parts(shape)]
        return shapely.multipolygons(parts) if parts else None
    polygons = {'Polygon': [coordinates], 'MultiPolygon': coordinates}.get(kind)
    if not isinstance(polygons, list):
        return None
    shapes = []
    for rings in polygons:
        rings = [_to_ring(ring) for ring in rings] if isinstance(rings, list) and rings else [None]
        if rings[0] is None:
            return None
        shapes.append(shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring is not None]))
    return shapely.multipolygons(shapes) if shapes else None


def _to_ring(ring: object) -> np.ndarray | None:
    """Returns a list of points as (N, 2) float64; None if it is no ring of three finite points or more."""
    try:
        points = np.array([point[:2] for point in ring], np.float64)
    except (TypeError, ValueError, OverflowError, KeyError):
        return None
    is_ring = points.ndim == 2 and points.shape[1] == 2 and len(points) >= 3
    return points if is_ring and (np.abs(points) <= MAX_COORDINATE_PX).all() else None


def _find_regions(geometries: list[shapely.Geometry], is_loose: np.ndarray) -> np.ndarray:
    """Returns which of N geometries are regions, by the rule of :func:`read_cells`, (N,) bool.

    ``is_loose`` (N,) bool says which have no class and are locked or have children.
    """
    if not geometries:
        return np.zeros(0, bool)
    shapes = np.array(geometries, object)
    # Outlines that cross themselves would fail; their boxes are enough to find what lies in them.
    is_valid = shapely.is_valid(shapes)
    shapes[~is_valid] = shapely.envelope(shapes[~is_valid])
    centres = shapely.centroid(shapes)
    inner, outer = shapely.STRtree(shapes).query(centres, predicate='within')
    # Only what is smaller can be inside, or two equal outlines would each be a region of the other.
    areas = shapely.area(shapes)
    is_inside = (inner != outer) & (areas[inner] < areas[outer])
    n_inside = np.bincount(outer[is_inside], minlength=len(shapes))
    filled = np.bincount(outer[is_inside], areas[inner[is_inside]], len(shapes))
    return (n_inside >= 10) | ((n_inside >= 2) & (filled < areas / 3)) | (is_loose & (n_inside >= 1))


LAYOUT = Layout('qupath', 'GeoJSON of QuPath, NAME.geojson or NAME.geojson.gz, beside the images or in another folder',
                partial(describe_pairs, kind=KIND, what='GeoJSON files'), partial(pair_files, kind=KIND), read_cells,
                PAIR_OPTIONS)
