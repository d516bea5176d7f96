"""Regions of an image in which cells are counted, drawn by a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import centroids_of
from mmcell.errors import escape

# Stands between the names of the regions of a cell.
SEPARATOR = '; '


@dataclass(frozen=True)
class Regions:
    """R regions of one image.

    Attributes:
        names: R different names, without semicolons.
        shapes: (R,) shapely polygons and multipolygons that are valid, in px from the outer corner of the first pixel.
        fingerprint: What shows whether the file that they come from was replaced, in JSON's types.
    """

    names: tuple[str, ...]
    shapes: np.ndarray
    fingerprint: dict

    @classmethod
    def make(cls, names: Sequence[str], shapes: Sequence[shapely.Geometry], fingerprint: dict) -> 'Regions':
        """Makes regions of any shapes. Equal names get numbers, and outlines that cross themselves are repaired.

        Characters that are not printable are escaped, and a semicolon becomes a comma: it separates the names of the
        regions of a cell in tables.
        """
        different: dict[str, None] = {}
        for name in (escape(name).replace(';', ',') for name in names):
            candidates = chain([name], (f'{name} ({number})' for number in count(2)))
            different[next(candidate for candidate in candidates if candidate not in different)] = None
        return cls(tuple(different), shapely.make_valid(np.array(shapes, object)), fingerprint)

    def of_cells(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Returns which regions contain the centroids of which cells.

        Returns:
            The indices of P cells, ascending, and the indices of their regions, (P,) int64 each. A cell is among them
            once per region that contains it; the regions of a cell ascend.
        """
        if not len(cells):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        # The regions are the query, because shapely prepares those: outlines may have thousands of points.
        region, cell = shapely.STRtree(shapely.points(centroids_of(cells))).query(self.shapes, predicate='contains')
        order = np.lexsort((region, cell))
        return cell[order], region[order]

    def names_of_cells(self, cells: Cells) -> list[str]:
        """Returns the names of the regions that contain the centroid of each of N cells, joined by ``SEPARATOR``."""
        names: list[list[str]] = [[] for _ in range(len(cells))]
        for cell, region in zip(*(index.tolist() for index in self.of_cells(cells)), strict=True):
            names[cell].append(self.names[region])
        return list(map(SEPARATOR.join, names))

    def are_near(self, rects_xyxy: np.ndarray, margin_px: float) -> np.ndarray:
        """Returns which of T rectangles (T, 4) in px come within a margin of a region, (T,) bool."""
        grown = rects_xyxy + np.array([-1, -1, 1, 1]) * margin_px
        boxes = shapely.box(*grown.T)
        return np.bincount(shapely.STRtree(self.shapes).query(boxes, predicate='intersects')[0],
                           minlength=len(boxes)) > 0

    def areas_px(self, height: int, width: int) -> list[float]:
        """Returns the area of each region inside an image of this size, in px."""
        return shapely.area(self._inside(height, width)).tolist()

    def total_area_px(self, height: int, width: int) -> float:
        """Returns the area of all regions together inside an image of this size, in px; what overlaps counts once."""
        # A repaired outline may also have lines, of which no union with areas can be made.
        parts = shapely.get_parts(shapely.get_parts(self._inside(height, width)))
        return float(shapely.area(shapely.union_all(parts[shapely.get_dimensions(parts) == 2])))

    def _inside(self, height: int, width: int) -> np.ndarray:
        return shapely.intersection(self.shapes, shapely.box(0, 0, width, height))
