"""Writes cells as GeoJSON that QuPath opens."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import measure_cells
from mmcell.cells.outlines import outline_cells
from mmcell.visualization.colors import class_colors
from mmcell.writers.base import ImageInfo, WriteCells, writing_json_list

_MEASUREMENT_NAMES = {
    'area_px': 'Area px^2', 'area_um2': 'Area um^2', 'major_axis_px': 'Major axis px', 'major_axis_um': 'Major axis um',
    'minor_axis_px': 'Minor axis px', 'minor_axis_um': 'Minor axis um', 'eccentricity': 'Eccentricity'}


def writing_geojson(paths: list[Path], image: ImageInfo,
                    is_compressed: bool = False) -> AbstractContextManager[WriteCells]:
    """Writes a FeatureCollection of QuPath's detection or annotation objects (QuPath 0.4 and later).

    Geometries are the outlines of :func:`outline_cells`, in pixels of the image at full resolution, which QuPath
    expects; rasterised again, they give exactly the masks. The properties are those that QuPath reads
    (``QuPathTypeAdapters.java``): objectType 'detection' or 'annotation', name (the number of the cell), classification
    with name and colour, and measurements (score, area, axes, eccentricity). QuPath lets only annotations be reshaped.
    With ``is_compressed``, the file is compressed with gzip.
    """
    return writing_json_list(paths[0], {'type': 'FeatureCollection'}, 'features', partial(_features, image=image),
                             is_compressed)


def _features(cells: Cells, numbers: np.ndarray, image: ImageInfo) -> Iterator[dict]:
    colors = class_colors(len(image.class_names))
    measured = {_MEASUREMENT_NAMES[key]: values.tolist()
                for key, values in measure_cells(cells, image.mpp).items() if key in _MEASUREMENT_NAMES}
    object_type = 'annotation' if image.is_editable else 'detection'
    rows = zip(numbers.tolist(), outline_cells(cells), cells.labels.tolist(), cells.scores.tolist(), strict=True)
    for i, (number, outline, label, score) in enumerate(rows):
        yield {'type': 'Feature', 'geometry': whole_numbers(shapely.geometry.mapping(outline)),
               'properties': {'objectType': object_type, 'name': str(number),
                              'classification': {'name': image.class_names[label], 'color': list(colors[label])},
                              'measurements': {**dict(image.only_with_scores(('Score', round(score, 6)))),
                                               **{key: round(values[i], 6) for key, values in measured.items()}}}}


def whole_numbers(geometry: dict) -> dict:
    """Returns the geometry with integer coordinates, which make shorter files than floats."""
    def to_int(coordinates: Sequence | float) -> list | int:
        return [to_int(part) for part in coordinates] if isinstance(coordinates, Sequence) else int(coordinates)
    return {'type': geometry['type'], 'coordinates': to_int(geometry['coordinates'])}
