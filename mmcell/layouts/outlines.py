"""Outlines of cells with their classes, as QuPath, Aperio and ImageJ have them, turned into cells of an image."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely

from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import ONLY_CLASS, SourceCells
from mmcell.layouts.class_tables import UNCLASSIFIED, WITHOUT_CLASS
from mmcell.masks.polygons import rasterize_geometries
from mmcell.masks.rle import EncodedInstances

BELOW_PIXEL = 'outlines that contain no centre of a pixel, which became one pixel'
OUTSIDE = 'left out, outlines without a pixel in the image'


@dataclass
class Outlines:
    """The outlines in a file, as far as they were read.

    Attributes:
        source: The file.
        geometries: shapely Polygons and MultiPolygons in px, from the outer corner of the first pixel.
        class_names: The name of the class of each; '' for none.
        labels: How each is named in remarks, for example '#12' for the twelfth object of the file.
        remarks: What was left out, by its kind: names of the objects.
    """

    source: Path
    geometries: list[shapely.Geometry] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def add(self, geometry: shapely.Geometry, class_name: str, label: str) -> None:
        """Adds an outline."""
        self.geometries.append(geometry)
        self.class_names.append(class_name)
        self.labels.append(label)

    def remark(self, kind: str, label: str) -> None:
        """Notes that something happened to an object, or that it was left out."""
        self.remarks.setdefault(kind, []).append(f'{self.source.name}: {label}')

    def take(self, is_kept: Sequence[bool], kind: str) -> None:
        """Leaves out the outlines without a flag, with a remark of this kind."""
        for label, kept in zip(self.labels, is_kept, strict=True):
            if not kept:
                self.remark(kind, label)
        for values in (self.geometries, self.class_names, self.labels):
            values[:] = [value for value, kept in zip(values, is_kept, strict=True) if kept]

    def to_cells(self, image: ImageFile, mpp: float | None = None) -> SourceCells:
        """Returns the outlines as cells of an image, in the order of the file.

        If no outline has a class, all are of the class ``ONLY_CLASS``. If only some have, the others are called
        unclassified.
        """
        found = rasterize_geometries(self.geometries, image.height, image.width)
        for label, is_below in zip(self.labels, found.is_below_pixel.tolist(), strict=True):
            if is_below:
                self.remark(BELOW_PIXEL, label)
        is_kept = [rle is not None for rle in found.rles]
        self.take(is_kept, OUTSIDE)
        rles = [rle for rle in found.rles if rle is not None]
        without = UNCLASSIFIED if any(self.class_names) else ONLY_CLASS
        if without == UNCLASSIFIED:
            for label, name in zip(self.labels, self.class_names, strict=True):
                if not name:
                    self.remark(WITHOUT_CLASS, label)
        names = np.array([name or without for name in self.class_names], object)
        cells = {name: EncodedInstances.from_rles([rles[place] for place in np.flatnonzero(names == name)])
                 for name in sorted(set(names.tolist()))}
        return SourceCells(cells, remarks={kind: tuple(labels) for kind, labels in self.remarks.items()}, mpp=mpp)
