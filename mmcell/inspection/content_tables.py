"""What data sets contain, as tables: images, cells of each class, sizes and crowding."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.table_formats import ValueTable
from mmcell.inspection.sets import InspectedSet

# The numbers of cells by their keys, with their headers.
HEADERS = {'n_images': 'images', 'n_cells': 'cells', 'per_mpx': 'per Mpx', 'median_per_image': 'median',
           'most_per_image': 'most', 'area_px_5': 'area 5 %', 'area_px_50': 'area 50 %', 'area_px_95': 'area 95 %',
           'n_overlapping': 'overlapping', 'n_at_border': 'at border', 'n_in_pieces': 'in pieces'}
CAPTION = ('images: those with a cell of the class, in rows of sets all images; per Mpx: cells per million pixels; '
           'median, most: cells in an image; areas in px of the smallest 5 %, the median and the largest 5 %; '
           'overlapping: cells that share pixels with another cell; at border: cells that touch the border of their '
           'image')


def tabulate_contents(sets: Sequence[InspectedSet]) -> ValueTable:
    """Returns a table with a row for each data set, and below it a row for each of its classes."""
    rows = []
    for part in sets:
        cells, by_class = describe_contents(part)
        rows.append(_to_row(part.name, cells))
        rows += [_to_row(f'{part.name}: {name}', numbers)
                 for name, numbers in zip(part.truth.class_names, by_class, strict=True)] if cells['n_cells'] else []
    return ValueTable(['set, class', *HEADERS.values()], rows, 'what the files contain', CAPTION)


def describe_contents(part: InspectedSet) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Returns the numbers of all cells of a data set, and those of the cells of each class.

    The numbers have the keys of ``HEADERS``. Areas are NaN without a cell.
    """
    truth, flags = part.truth, _find_flags(part)
    n_images, is_cell = len(truth.image_ids), ~truth.is_crowd
    return (_describe(part, is_cell, flags) | {'n_images': n_images},
            [_describe(part, is_cell & (truth.class_index == place), flags) for place in range(len(truth.class_names))])


def _describe(part: InspectedSet, is_own: np.ndarray, flags: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Returns the numbers of some of the cells, and as ``n_images`` how many images have such cells."""
    truth = part.truth
    per_image = np.bincount(truth.image_index[is_own], minlength=len(truth.image_ids))
    mpx = float(truth.sizes.prod(axis=1).sum() / 1e6)
    areas = np.percentile(truth.areas_px[is_own], (5, 50, 95)) if is_own.any() else np.full(3, np.nan)
    is_border, is_split, is_overlapping = flags
    return dict(zip(HEADERS, (
        int((per_image > 0).sum()), int(is_own.sum()), is_own.sum() / max(mpx, 1e-9),
        float(np.median(per_image)) if len(per_image) else 0., int(per_image.max(initial=0)), *areas.tolist(),
        *(int((is_marked & is_own).sum()) for is_marked in (is_overlapping, is_border, is_split))), strict=True))


def _find_flags(part: InspectedSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns which cells touch the border, have several pieces, and overlap another, (N,) bool each.

    Cells of images that could not be read have none of these flags.
    """
    flags = np.zeros((3, len(part.truth.rles)), bool)
    for image, measures in enumerate(part.images):
        if measures is not None:
            cells = part.cells_of(image)
            flags[0, cells], flags[1, cells] = measures.shapes.touches_border, measures.shapes.n_pieces > 1
            flags[2, cells[np.unique(measures.overlaps)]] = True
    return tuple(flags)


def _to_row(name: str, numbers: dict[str, float]) -> list[str]:
    return [name, *('–' if np.isnan(value) else f'{value:,.0f}' for value in numbers.values())]
