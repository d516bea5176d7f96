"""GeoJSON that QuPath opens."""

from collections.abc import Iterator, Sequence

import shapely

from mmcell.inference.cells import Cells
from mmcell.inference.measurements import measure_cells
from mmcell.inference.outlines import outline_cells
from mmcell.inference.writers.json_lists import JsonListWriter
from mmcell.visualization.colors import class_colors

# As QuPath names its own measurements.
_MEASUREMENT_NAMES = {'area_px': 'Area px^2', 'area_um2': 'Area um^2', 'eccentricity': 'Eccentricity'}


class GeoJsonWriter(JsonListWriter):
    """A FeatureCollection of QuPath's detection objects (QuPath 0.4 and later), NAME.geojson.

    Geometries are :func:`outline_cells`, in pixels of the full image as QuPath wants them: polygons with holes, without
    any difference to the mask. Each has QuPath's properties (``PathObjectTypeAdapters.java``): objectType 'detection',
    name (the number of the cell), classification with name and colour, and measurements (score, area, eccentricity).
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME.geojson."""
        return [f'{name}.geojson']

    def members(self) -> dict:
        """The head of a FeatureCollection."""
        return {'type': 'FeatureCollection', 'features': []}

    def records(self, cells: Cells, first_number: int) -> Iterator[dict]:
        """One feature a cell."""
        colors = class_colors(len(self.image.class_names))
        outlines = outline_cells(cells)
        measured = {_MEASUREMENT_NAMES[key]: values.tolist()
                    for key, values in measure_cells(cells, self.image.mpp).items() if key in _MEASUREMENT_NAMES}
        for i, (outline, label, score) in enumerate(zip(outlines, cells.labels, cells.scores, strict=True)):
            classification = {'name': self.image.class_names[label], 'color': list(colors[label])}
            yield {'type': 'Feature', 'geometry': _whole_numbers(shapely.geometry.mapping(outline)),
                   'properties': {'objectType': 'detection', 'name': str(first_number + i),
                                  'classification': classification,
                                  'measurements': {'Score': round(float(score), 6),
                                                   **{key: round(values[i], 6) for key, values in measured.items()}}}}


def _whole_numbers(geometry: dict) -> dict:
    """The geometry with coordinates as integers, half as many characters."""
    return {'type': geometry['type'], 'coordinates': _to_int(geometry['coordinates'])}


def _to_int(coordinates: Sequence | float) -> list | int:
    return [_to_int(part) for part in coordinates] if isinstance(coordinates, Sequence) else int(coordinates)
