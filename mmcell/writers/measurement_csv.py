"""Writes a CSV table with measurements of the cells."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import measure_cells
from mmcell.cells.pixel_measurements import ReadRect, count_neighbours, measure_shapes, measure_values
from mmcell.images.image_file import ImageFile, open_image
from mmcell.images.limits import ImageReadError
from mmcell.writers.base import ImageInfo, WriteCells, writing_table

_COLORS = ('red', 'green', 'blue')


@contextmanager
def writing_measurement_csv(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes one row per cell: image, number, class, score if there are scores, and measurements.

    These are the values of :func:`measure_cells` and :func:`measure_shapes`; with ``image.has_file`` mean and standard
    deviation of each channel of the file and, if it is in colours, of haematoxylin and eosin; and with a scale the
    number of neighbours within ``image.neighbour_um``, of which some may be in ``image.unwritten_xy_px``. The columns
    in micrometres exist only if the scale is known.
    """
    with ExitStack() as stack:
        # Not the file that is open for the prediction, which reads its tiles in a certain order.
        file = stack.enter_context(open_image(image.path, image.channel_order or 'rgb')) if image.has_file else None
        measure = partial(_measure, image=image, channels=None if file is None else _find_channels(file))
        centroids: list[np.ndarray] = []

        def to_rows(cells: Cells, numbers: np.ndarray) -> Iterator[list]:
            measured = measure(cells)
            if image.mpp is not None:
                centroids.append(np.stack([measured['centroid_x_um'], measured['centroid_y_um']], axis=1))
            regions = [] if image.regions is None else [image.regions.names_of_cells(cells)]
            rows = zip(numbers, cells.labels, cells.scores.tolist(), zip(*measured.values(), strict=True), *regions,
                       strict=True)
            for number, label, score, values, *region in rows:
                yield [image.path.name, number, image.class_names[label], *image.only_with_scores(f'{score:.6g}'),
                       *region, *(f'{value:.8g}' for value in values)]

        columns = measure(Cells.empty(image.height_px, image.width_px))
        header = ['image', 'cell', 'class', *image.only_with_scores('score'),
                  *([] if image.regions is None else ['region']), *columns]

        def count_all() -> list[int]:
            written = np.concatenate([np.zeros((0, 2)), *centroids])
            others = [xy_px * image.mpp for xy_px in image.unwritten_xy_px]
            return count_neighbours(written, image.neighbour_um, np.concatenate([written, *others])).tolist()

        neighbours = None if image.mpp is None else (f'neighbours_within_{image.neighbour_um:g}_um', count_all)
        with writing_table(paths[0], header, to_rows, neighbours) as write:
            yield write


def _measure(cells: Cells, image: ImageInfo,
             channels: tuple[ReadRect, tuple[str, ...]] | None) -> dict[str, np.ndarray]:
    measured = {**measure_cells(cells, image.mpp), **measure_shapes(cells, image.mpp)}
    if channels is not None:
        measured.update(measure_values(cells, *channels))
    return measured


def _find_channels(file: ImageFile) -> tuple[ReadRect, tuple[str, ...]]:
    """Returns how the channels of an image are read, and their names.

    Values are those of the file. The stains of an image in colours are haematoxylin and eosin as scikit-image's
    ``rgb2hed`` separates them, by the colours that Ruifrok and Johnston (2001) measured; files whose values have no
    known range have none.
    """
    if file.n_colors == 1:
        return file.read_values, ('grey',)
    try:
        file.read(0, 0, 1, 1)
    except ImageReadError:
        return file.read_values, _COLORS

    def read(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        from skimage.color import rgb2hed
        stains = rgb2hed(file.read(x0, y0, x1, y1))
        return np.concatenate([file.read_values(x0, y0, x1, y1), stains[:, :, :2]], axis=2)

    return read, (*_COLORS, 'haematoxylin', 'eosin')
