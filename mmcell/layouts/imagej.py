"""Regions of interest (ROIs) of ImageJ and Fiji: a zip of the ROI Manager, or a single ``.roi`` file.

Each ROI that has an area is a cell, with the pixels that ImageJ itself gives to it. They are those whose centres lie
inside; a centre exactly on the outline belongs to what lies at its left, or else above it (``PolygonFiller.java``). An
oval has the pixels whose centres lie in the ellipse or on it (``OvalRoi.java``), and a rectangle those of its box.

**The class** is the text after a number of five digits or more in the name of the ROI, ``00012-lymphocyte``, as
``tools/predict.py`` writes it; the property ``class`` gives the same class in full, if it has a slash or is long. A ROI
without a class in its name has the class that most others of its group have, or else ``class<group>``. The names that
ImageJ makes from positions (``0123-0456``) are no classes.
"""

import io
import itertools
import re
import struct
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import roifile
import shapely

from mmcell.errors import MmcellError, escape
from mmcell.files.archives import unpacking
from mmcell.files.folders import refuse_unusable
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import PAIR_OPTIONS, Layout, LayoutError, LayoutOptions, Source, SourceCells
from mmcell.layouts.file_pairs import FileKind, describe_pairs, pair_files
from mmcell.layouts.outlines import Outlines

KIND = FileKind(('.zip', '.roi'), ('_rois', '-rois', '_roi', '-roi', '_roiset', '-roiset', ' roiset'),
                ('', 'roiset_', 'roiset-', 'roiset '), other_ends=('.geojson.zip',))
NO_AREA = 'left out, ROIs without an area (points, lines, angles, texts, pictures)'
BROKEN = 'left out, ROIs that cannot be read'
OTHER_ENTRIES = 'left out, entries of zips that are not ROIs, lie in folders, or have no plain name'
SPLINES = ('ROIs with a fitted spline, of which ImageJ stores only the points: they were joined by straight lines '
           '(in ImageJ, Edit > Selection > Interpolate makes the outline permanent)')
OTHER_GROUP = 'ROIs whose group has mostly another class than their name says: the name was taken'
_MAX_BYTES, _MAX_ROI_BYTES, _MAX_ENTRIES = 2 ** 30, 2 ** 26, 1_000_000
_POLYGONS = (roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED)
_CLASS_IN_NAME = re.compile(r'\d{5,}-(.*\S.*)', re.DOTALL)
# What follows the first "-" in names that programs make: positions, and UUIDs.
_NO_CLASS = re.compile(r'\d+(-\d+)*|[0-9a-f]{4}(-[0-9a-f]{4}){2}-[0-9a-f]{12}')
# ImageJ moves outlines by less than a pixel can show, so that no centre lies on them; its rule for those that do.
_SHIFT_PX = np.array([1e-7, 1e-10])
# The numbers of coordinates of the segments of java.awt.geom.PathIterator: move, line, two kinds of curves, close.
_SEGMENTS = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}
_POINTS_PER_CURVE = 32


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads the ROIs of a file as cells.

    Raises:
        FileError: The file cannot be read.
        LayoutError: The file is neither a ROI nor a zip, is damaged, or unfolds to more than 1 GB.
    """
    outlines, groups = Outlines(source.files[0]), []
    for label, content in _iterate_rois(source.files[0], outlines):
        try:
            roi = _parse(content)
            geometry = _to_geometry(roi)
        except ValueError as error:
            outlines.remark(BROKEN, f'{label} ({escape(error)[:100]})')
            continue
        if geometry is None:
            outlines.remark(NO_AREA, label)
            continue
        if roi.options & roifile.ROI_OPTIONS.SPLINE_FIT:
            outlines.remark(SPLINES, label)
        outlines.add(geometry, _class_of(roi, label), label)
        groups.append(roi.group)
    _name_by_groups(outlines, groups)
    return outlines.to_cells(image)


def _iterate_rois(path: Path, outlines: Outlines) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each ROI; names end before ``.roi``."""
    refuse_unusable(path)
    if path.stat().st_size > _MAX_BYTES:
        raise LayoutError(f'{path}: has more than 1 GB')
    content = path.read_bytes()
    if content.startswith(b'Iout'):
        yield path.stem, content
        return
    if not content.startswith(b'PK'):
        raise LayoutError(f'{path}: is neither a ROI of ImageJ nor a zip of ROIs')
    with unpacking(path, LayoutError), zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield from _iterate_entries(archive, path, outlines)


def _iterate_entries(archive: zipfile.ZipFile, path: Path, outlines: Outlines) -> Iterator[tuple[str, bytes]]:
    """Yields the ROIs of a zip. Nothing is written to the disk, and no entry may unfold to more than it should."""
    entries, n_bytes = archive.infolist(), 0
    if len(entries) > _MAX_ENTRIES:
        raise LayoutError(f'{path}: has {len(entries):,} entries; at most {_MAX_ENTRIES:,} are read')
    for entry in entries:
        if not entry.filename.lower().endswith('.roi') or {'/', '\\', ':'} & set(entry.filename):
            outlines.remark(OTHER_ENTRIES, escape(entry.filename)[:100])
            continue
        with archive.open(entry) as file:
            content = file.read(_MAX_ROI_BYTES + 1)
        n_bytes += len(content)
        if len(content) > _MAX_ROI_BYTES or n_bytes > _MAX_BYTES:
            raise LayoutError(f'{path}: unfolds to more than ROIs have ({escape(entry.filename)[:100]})')
        yield entry.filename[:-4], content


def _parse(content: bytes) -> roifile.ImagejRoi:
    try:
        return roifile.ImagejRoi.frombytes(content)
    # What struct, numpy and the decoders raise if numbers in the file do not fit to its length.
    except (ValueError, TypeError, struct.error, IndexError, OverflowError, MemoryError, AssertionError) as error:
        raise ValueError(str(error)) from error


def _to_geometry(roi: roifile.ImagejRoi) -> shapely.Polygon | None:
    """Returns the outline of a ROI; all of its rings together are filled by the even-odd rule. None without an area.

    Raises:
        ValueError: A point is not finite.
    """
    if roi.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE, roifile.ROI_SUBTYPE.ARROW):
        return None
    if roi.multi_coordinates is not None:
        rings = _path_to_rings(roi.multi_coordinates)
    elif roi.roitype == roifile.ROI_TYPE.RECT:
        return _rounded_box(roi)
    elif roi.roitype == roifile.ROI_TYPE.OVAL:
        rings = _oval_to_rings(roi)
    elif roi.roitype in _POLYGONS:
        rings = [roi.coordinates().astype(np.float64)]
    else:
        return None
    rings = [ring + _SHIFT_PX for ring in rings if len(ring) >= 3]
    if not all(np.isfinite(ring).all() for ring in rings):
        raise ValueError('a point is not a pair of finite numbers')
    return shapely.Polygon(rings[0], rings[1:]) if rings else None


def _rounded_box(roi: roifile.ImagejRoi) -> shapely.Polygon | None:
    """Returns the box of a rectangle, whose corners may be round."""
    width, height = roi.right - roi.left, roi.bottom - roi.top
    if width <= 0 or height <= 0:
        return None
    radius = min(max(roi.rounded_rect_arc_size, 0), width, height) / 2
    box = shapely.box(roi.left + radius, roi.top + radius, roi.right - radius, roi.bottom - radius)
    return box.buffer(radius, quad_segs=16) if radius else box


def _oval_to_rings(roi: roifile.ImagejRoi) -> list[np.ndarray]:
    """Returns the outline of the pixels whose centres lie in the ellipse, or on it, that fills the box of an oval."""
    width, height = roi.right - roi.left, roi.bottom - roi.top
    if width <= 0 or height <= 0:
        return []
    # In row y, centres may be so far from the axis: an oval of 4 x 4 px has the row 0 at 1.5 px above its centre, and
    # 1.3 px are left to each side: the columns 1 and 2, of which the centres are .5 px away.
    y = np.arange(height)
    reach = width / 2 * np.sqrt(np.maximum(1 - ((y + .5 - height / 2) / (height / 2)) ** 2, 0))
    first = np.ceil(width / 2 - .5 - reach - 1e-9).astype(np.int64)
    last = width - first
    y = y[last > first]
    left, right = first[y], last[y]
    # Down along the left ends of the rows, and up again along the right ends.
    down = np.column_stack([np.repeat(left, 2), np.column_stack([y, y + 1]).ravel()])
    up = np.column_stack([np.repeat(right, 2), np.column_stack([y, y + 1]).ravel()])[::-1]
    return [np.concatenate([down, up]) + np.array([roi.left, roi.top], np.float64)]


def _path_to_rings(path: np.ndarray) -> list[np.ndarray]:
    """Returns the rings of a composite ROI, whose path is a sequence of segments with their points; curves are cut."""
    rings, points, place, numbers = [], [], 0, path.tolist()
    while place < len(numbers):
        kind = numbers[place]
        n_numbers = _SEGMENTS.get(kind)
        if n_numbers is None or place + n_numbers >= len(numbers) or (kind not in (0, 4) and not points):
            raise ValueError(f'its path has no valid segment at number {place}')
        ends = np.array(numbers[place + 1:place + 1 + n_numbers]).reshape(-1, 2)
        place += 1 + n_numbers
        if kind == 0:
            rings.append(points)
            points = [ends[0]]
        elif kind in (1, 2, 3):
            points.extend(_curve(points[-1], ends))
    return [np.array(ring) for ring in (*rings, points) if ring]


def _curve(start: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns points along a line or Bézier curve from a point to the last of 1 to 3 points (K, 2)."""
    if len(ends) == 1:
        return ends
    # De Casteljau: between the points, between the points between them, and so on.
    share = np.linspace(0, 1, _POINTS_PER_CURVE + 1)[1:, None]
    levels = [np.broadcast_to(point, (_POINTS_PER_CURVE, 2)) for point in (start, *ends)]
    while len(levels) > 1:
        levels = [a + (b - a) * share for a, b in itertools.pairwise(levels)]
    return levels[0]


def _class_of(roi: roifile.ImagejRoi, label: str) -> str:
    """Returns the class that the name or the properties of a ROI say; '' if they say none."""
    match = _CLASS_IN_NAME.fullmatch(roi.name or label)
    named = match[1] if match and not _NO_CLASS.fullmatch(match[1]) else ''
    lines = (line.partition(':') for line in (roi.props or '').splitlines())
    stated = next((value.strip() for key, _, value in lines if key.strip() == 'class'), '')
    # The name cannot hold a slash, and not every length. A ROI that was renamed since has another class.
    return stated if not named or stated.replace('/', '_').startswith(named) else named


def _name_by_groups(outlines: Outlines, groups: list[int]) -> None:
    """Names ROIs that have only a group by the class that most others of the group have, or else by its number."""
    counts: dict[int, Counter] = defaultdict(Counter)
    for name, group in zip(outlines.class_names, groups, strict=True):
        if name and group > 0:
            counts[group][name] += 1
    usual = {group: names.most_common(1)[0][0] for group, names in counts.items()}
    for place, (name, group) in enumerate(zip(outlines.class_names, groups, strict=True)):
        if group <= 0:
            continue
        if not name:
            outlines.class_names[place] = usual.get(group, f'class{group}')
        elif name != usual[group]:
            outlines.remark(OTHER_GROUP, outlines.labels[place])


def recognize(root: Path) -> str | None:
    """Returns what a folder has, if the first of its zips has ROIs."""
    text = describe_pairs(root, KIND, 'ROIs of ImageJ')
    if text is None:
        return None
    path = next(source.files[0] for source in pair_files(root, LayoutOptions(), KIND).sources if source.files)
    return text if _has_rois(path) else None


def _has_rois(path: Path) -> bool:
    try:
        return next(_iterate_rois(path, Outlines(path)), None) is not None
    except (MmcellError, OSError):
        return False


LAYOUT = Layout('imagej', 'ROIs of ImageJ and Fiji, NAME_rois.zip, RoiSet_NAME.zip or NAME.roi', recognize,
                partial(pair_files, kind=KIND), read_cells, PAIR_OPTIONS)
