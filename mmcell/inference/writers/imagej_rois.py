"""ImageJ regions of interest."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import roifile
import shapely

from mmcell.inference.cells import Cells
from mmcell.inference.outlines import outline_cells
from mmcell.inference.writers.base import ImageInfo, WriteCells
from mmcell.visualization.colors import class_colors

# Segment types of java.awt.geom.PathIterator, which ImageJ's composite ROIs are made of.
_MOVE_TO, _LINE_TO, _CLOSE = 0., 1., 4.
# One date for all entries, so that equal cells make equal files.
_DATE = (2000, 1, 1, 0, 0, 0)


@contextmanager
def writing_imagej_rois(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """A zip for the ROI Manager of ImageJ and Fiji, a ROI a cell.

    Outlines are :func:`outline_cells`, without any difference to the mask: a cell of one piece without holes is a
    traced ROI, any other a composite one. The name has the number of the cell and its class, the group is the number
    of the class, the stroke has its colour, and the property ``score`` the score.
    """
    colors = class_colors(len(image.class_names))
    with zipfile.ZipFile(paths[0], 'w') as archive:

        def write(cells: Cells, first_number: int) -> None:
            rows = zip(outline_cells(cells), cells.labels.tolist(), cells.scores.tolist(), strict=True)
            for number, (outline, label, score) in enumerate(rows, start=first_number):
                roi = outline_to_roi(outline)
                # A slash would be a folder in the archive.
                roi.name = f'{number:05}-{image.class_names[label]}'.replace('/', '_')
                roi.group = label + 1
                roi.stroke_color = bytes([255, *colors[label]])
                roi.props = f'score: {score:.6g}\n'
                archive.writestr(zipfile.ZipInfo(f'{roi.name}.roi', _DATE), roi.tobytes(), zipfile.ZIP_DEFLATED)

        yield write


def outline_to_roi(outline: shapely.Polygon | shapely.MultiPolygon) -> roifile.ImagejRoi:
    """A ROI with the shape of an outline that has whole coordinates."""
    polygons = getattr(outline, 'geoms', [outline])
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    points = [shapely.get_coordinates(ring)[:-1].astype(np.int64) for ring in rings]
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(points[0])
        # As ImageJ's wand makes them: vertices at the corners of pixels.
        roi.roitype = roifile.ROI_TYPE.TRACED
    else:
        roi = roifile.ImagejRoi()
        roi.roitype = roifile.ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate([_path(ring) for ring in points]).astype(np.float32)
        roi.shape_roi_size = len(roi.multi_coordinates)
    # frompoints takes vertices for pixels, and makes the box wider by one.
    roi.left, roi.top, roi.right, roi.bottom = (int(bound) for bound in outline.bounds)
    return roi


def _path(ring: np.ndarray) -> np.ndarray:
    """The path of a ring (n, 2): move to its first point, lines to the others, close."""
    kinds = np.full((len(ring), 1), _LINE_TO)
    kinds[0] = _MOVE_TO
    return np.append(np.hstack([kinds, ring]).ravel(), _CLOSE)
