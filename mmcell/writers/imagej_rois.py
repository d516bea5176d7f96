"""Writes cells as regions of interest (ROIs) of ImageJ."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import roifile
import shapely

from mmcell.cells.cells import Cells
from mmcell.cells.outlines import outline_cells
from mmcell.errors import escape
from mmcell.files.names import shorten_name
from mmcell.visualization.colors import class_colors
from mmcell.writers.base import ImageInfo, WriteCells

# Segment types of java.awt.geom.PathIterator, of which ImageJ's composite ROIs consist.
_MOVE_TO, _LINE_TO, _CLOSE = 0., 1., 4.
# All entries of the zip have the same date, so that equal cells make equal files.
_DATE = (2000, 1, 1, 0, 0, 0)


@contextmanager
def writing_imagej_rois(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes a zip for the ROI Manager of ImageJ and Fiji, with one ROI per cell.

    The shapes are the outlines of :func:`outline_cells`, which equal the masks exactly: a cell of one piece without
    holes is a traced ROI, any other cell a composite ROI. The name contains the number and the class of the cell, the
    group is the label plus 1, the stroke has the colour of the class, and the property ``score`` holds the score,
    if the cells have scores. The property ``class`` holds the name of the class if the name of the ROI, which is a
    file name, cannot.
    """
    colors = class_colors(len(image.class_names))
    with zipfile.ZipFile(paths[0], 'w') as archive:

        def write(cells: Cells, numbers: np.ndarray) -> None:
            rows = zip(numbers, outline_cells(cells), cells.labels.tolist(), cells.scores.tolist(), strict=True)
            for number, outline, label, score in rows:
                roi = outline_to_roi(outline)
                # Slashes mean folders in a zip. The name is also the name of the file in the zip.
                class_name = escape(image.class_names[label])
                name = shorten_name(f'{number:05}-{class_name}'.replace('/', '_'))
                roi.name = _Utf16Text(name)
                roi.group = label + 1
                roi.stroke_color = bytes([255, *colors[label]])
                stated = '' if name.endswith(f'-{class_name}') else f'class: {class_name}\n'
                roi.props = _Utf16Text(stated + (f'score: {score:.6g}\n' if image.has_scores else ''))
                archive.writestr(zipfile.ZipInfo(f'{name}.roi', _DATE), roi.tobytes(), zipfile.ZIP_DEFLATED)

        yield write


class _Utf16Text(str):
    """A text whose length is counted as ImageJ counts it: characters above U+FFFF take two units of UTF-16.

    roifile writes the length of a name as ``len(name)``.
    """

    def __len__(self) -> int:
        return len(self.encode('utf-16-le')) // 2


def outline_to_roi(outline: shapely.Polygon | shapely.MultiPolygon) -> roifile.ImagejRoi:
    """Makes a ROI with the shape of an outline, whose coordinates must be whole numbers.

    A shape with several rings (holes or pieces) becomes a composite ROI, which ImageJ fills by the even-odd rule.
    """
    polygons = getattr(outline, 'geoms', [outline])
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    points = [shapely.get_coordinates(ring)[:-1].astype(np.int64) for ring in rings]
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(points[0])
        # A traced ROI is what ImageJ's wand makes: its vertices lie at the corners of pixels.
        roi.roitype = roifile.ROI_TYPE.TRACED
    else:
        roi = roifile.ImagejRoi()
        roi.roitype = roifile.ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate([_ring_to_path(ring) for ring in points]).astype(np.float32)
        roi.shape_roi_size = len(roi.multi_coordinates)
    # frompoints takes the vertices for pixels, and makes the box one pixel too wide and high.
    roi.left, roi.top, roi.right, roi.bottom = (int(bound) for bound in outline.bounds)
    return roi


def _ring_to_path(ring: np.ndarray) -> np.ndarray:
    """Returns the path of a ring (n, 2): a move to the first point, lines to the other points, and a close.

    The ring (1, 1), (4, 1), (4, 3), (1, 3) becomes 0 1 1, 1 4 1, 1 4 3, 1 1 3, 4: each point after its segment type.
    """
    kinds = np.full((len(ring), 1), _LINE_TO)
    kinds[0] = _MOVE_TO
    return np.append(np.hstack([kinds, ring]).ravel(), _CLOSE)
