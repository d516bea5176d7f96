"""Regions of an image in which cells are counted, drawn by a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import moments_of


@dataclass(frozen=True)
class Regions:
    """R regions of one image.

    Attributes:
        names: R different names.
        shapes: (R,) shapely polygons and multipolygons that are valid, in px from the outer corner of the first pixel.
        fingerprint: What shows whether the file that they come from was replaced, in JSON's types.
    """

    names: tuple[str, ...]
    shapes: np.ndarray
    fingerprint: dict

    @classmethod
    def make(cls, names: Sequence[str], shapes: Sequence[shapely.Geometry], fingerprint: dict) -> 'Regions':
        """Makes regions of any shapes. Equal names get numbers, and outlines that cross themselves are repaired."""
        different: dict[str, None] = {}
        for name in names:
            candidates = chain([name], (f'{name} ({number})' for number in count(2)))
            different[next(candidate for candidate in candidates if candidate not in different)] = None
        return cls(tuple(different), shapely.make_valid(np.array(shapes, object)), fingerprint)

    def of_cells(self, cells: Cells) -> np.ndarray:
        """Returns the first region that contains the centroid of each of N cells, (N,) int64; -1 for none."""
        if not len(cells):
            return np.zeros(0, np.int64)
        x, y, *_ = moments_of(cells.masks)
        found = np.full(len(cells), -1)
        for region in range(len(self.names))[::-1]:
            shapely.prepare(self.shapes[region])
            found[shapely.contains_xy(self.shapes[region], x + .5, y + .5)] = region
        return found

    def are_near(self, rects_xyxy: np.ndarray, margin_px: float) -> np.ndarray:
        """Returns which of T rectangles (T, 4) in px come within a margin of a region, (T,) bool."""
        grown = rects_xyxy + np.array([-1, -1, 1, 1]) * margin_px
        boxes = shapely.box(*grown.T)
        return np.bincount(shapely.STRtree(self.shapes).query(boxes, predicate='intersects')[0],
                           minlength=len(boxes)) > 0

    def areas_px(self, height: int, width: int) -> list[float]:
        """Returns the area of each region inside an image of this size, in px."""
        return shapely.area(shapely.intersection(self.shapes, shapely.box(0, 0, width, height))).tolist()
