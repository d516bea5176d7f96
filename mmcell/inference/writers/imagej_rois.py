"""ImageJ regions of interest."""

import zipfile

import numpy as np
import roifile
import shapely

from mmcell.inference.cells import Cells
from mmcell.inference.outlines import outline_cells
from mmcell.inference.writers.base import CellWriter
from mmcell.visualization.colors import class_colors

# Segment types of java.awt.geom.PathIterator, which ImageJ's composite ROIs are made of.
_MOVE_TO, _LINE_TO, _CLOSE = 0., 1., 4.
_SOME_DAY = (2000, 1, 1, 0, 0, 0)


class ImageJRoiWriter(CellWriter):
    """NAME_rois.zip for ImageJ's and Fiji's ROI Manager, a ROI a cell.

    Outlines are :func:`outline_cells`, without any difference to the mask: a cell of one piece without holes is a
    traced ROI, any other a composite one. The name has the number of the cell and its class, the group is the number of
    the class, the stroke has its colour, and the property ``score`` the score.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_rois.zip."""
        return [f'{name}_rois.zip']

    def open(self) -> None:
        """Opens the archive."""
        self.archive = zipfile.ZipFile(self.paths[0], 'w', zipfile.ZIP_DEFLATED)

    def write(self, cells: Cells, first_number: int) -> None:
        """Adds a ROI for each cell."""
        colors = class_colors(len(self.image.class_names))
        outlines = outline_cells(cells)
        for number, (outline, label, score) in enumerate(
                zip(outlines, cells.labels.tolist(), cells.scores, strict=True), start=first_number):
            roi = outline_to_roi(outline)
            # A slash would be a folder in the archive.
            roi.name = f'{number:05}-{self.image.class_names[label]}'.replace('/', '_')
            roi.group = label + 1
            roi.stroke_color = bytes([255, *colors[label]])
            roi.props = f'score: {score:.6g}\n'
            # Of one date, so that equal cells make equal files.
            entry = zipfile.ZipInfo(f'{roi.name}.roi', _SOME_DAY)
            self.archive.writestr(entry, roi.tobytes(), zipfile.ZIP_DEFLATED)

    def close(self) -> None:
        """Writes the archive's directory."""
        self.archive.close()


def outline_to_roi(outline: shapely.Polygon | shapely.MultiPolygon) -> roifile.ImagejRoi:
    """A ROI with the shape of an outline that has whole coordinates."""
    rings = [ring for polygon in getattr(outline, 'geoms', [outline]) for ring in (polygon.exterior, *polygon.interiors)]
    points = [shapely.get_coordinates(ring)[:-1].astype(np.int64) for ring in rings]
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(points[0])
        # As ImageJ's wand makes them: vertices at the corners of pixels.
        roi.roitype = roifile.ROI_TYPE.TRACED
        return roi
    roi = roifile.ImagejRoi()
    roi.roitype = roifile.ROI_TYPE.RECT
    roi.left, roi.top, roi.right, roi.bottom = (int(bound) for bound in outline.bounds)
    roi.multi_coordinates = np.concatenate([_path(ring) for ring in points]).astype(np.float32)
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def _path(ring: np.ndarray) -> np.ndarray:
    """The path of a ring (n, 2): move to its first point, lines to the others, close."""
    kinds = np.full((len(ring), 1), _LINE_TO)
    kinds[0] = _MOVE_TO
    return np.append(np.hstack([kinds, ring]).ravel(), _CLOSE)
