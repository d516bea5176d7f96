"""Finds cells that look like two cells under one id."""

from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np

from mmcell.inspection.findings import Finding, Place
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.measures.cell_shapes import CellShapes
from mmcell.inspection.sets import InspectedSet

# A piece is large if it has at least this share of the area of the largest piece, and separate beyond this distance.
# The border of the image cuts cells in pieces: there, they are separate beyond the diameter of the cell.
MIN_SECOND_PIECE, MIN_GAP_PX = .25, 2.
# A cell with a neck that is at most this wide, relative to its smaller lobe, that fills less of its hull and is larger
# than the median of its class by these factors. Spindle cells of CoNSeP have necks, but none below .3.
MAX_NECK, MAX_SOLIDITY, MIN_RELATIVE_AREA = .3, .9, 1.4
# Cells that are not convex and larger than this factor may be two cells that touch broadly. At most this share of the
# cells is listed, or ten.
MIN_AREA_OF_TWO, MAX_LISTED_SHARE, MIN_LISTED = 1.6, .01, 10
# If more cells than this share are in pieces, the set means it so: nuclei with several lobes, cells behind others.
MAX_USUAL_SHARE = .005


def find_merged_cells(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports cells that may be two cells under one id.

    The criterion for an alarm: the second largest piece of the cell has a quarter of the area of the largest or more,
    and is more than 2 px away from it (at the border of the image: more than the diameter of the cell); or the cell has
    a neck of 30 % of the width of its smaller lobe or less, a solidity of .9 or less, and 1.4 times the median area of
    its class or more. Such cells are at most .5 % of all cells. Other cells with a solidity of .9 or less and 1.6 times
    the median area of their class are a note, those with the least solidity and the narrowest neck first.
    """
    images = list_images(sets)
    areas, names = (np.concatenate(values) if values else np.zeros(0) for values in (
        [image.measures.shapes.areas_px for image in images], [image.class_names for image in images]))
    medians = {name: np.median(areas[names == name]) for name in np.unique(names)}
    merged, doubtful = [], []
    for image in images:
        relative = image.measures.shapes.areas_px / [medians[name] for name in image.class_names]
        necks = list(_find_necks(image, relative))
        merged += [*_find_pieces(image), *(entry for entry in necks if entry[0] <= 0)]
        doubtful += [entry for entry in necks if entry[0] > 0]
    return [*_report_merged(_sort(merged), len(areas)), *_report_doubtful(_sort(doubtful), len(areas))]


def _sort(entries: list[tuple[float, Place]]) -> list[Place]:
    return [place for _, place in sorted(entries, key=itemgetter(0))]


def _find_pieces(image: ListedImage) -> Iterator[tuple[float, Place]]:
    shapes = image.measures.shapes
    for cell in np.flatnonzero(_is_apart(shapes) & ~image.is_crowd):
        yield -shapes.gap_px[cell], image.place(cell, detail=(
            f'{shapes.n_pieces[cell]} pieces; the second has {shapes.second_piece[cell]:.0%} of the area of the '
            f'largest, {shapes.gap_px[cell]:.0f} px away'))


def _find_necks(image: ListedImage, relative: np.ndarray) -> Iterator[tuple[float, Place]]:
    """Yields how convincing a cell is that may be two, and its place; 0 or less for a neck that is clear."""
    shapes = image.measures.shapes
    is_clear = (shapes.neck <= MAX_NECK) & (relative >= MIN_RELATIVE_AREA)
    is_doubtful = (shapes.solidity <= MAX_SOLIDITY) & (is_clear | (relative >= MIN_AREA_OF_TWO))
    for cell in np.flatnonzero(is_doubtful & ~_is_apart(shapes) & ~image.is_crowd):
        neck = f'a neck of {shapes.neck[cell]:.0%} of the width of the smaller lobe, ' if shapes.neck[cell] < 1 else ''
        order = shapes.neck[cell] - 1 if is_clear[cell] else shapes.solidity[cell] * (1 + shapes.neck[cell])
        yield order, image.place(cell, detail=(
            f'{neck}solidity {shapes.solidity[cell]:.2f}, {relative[cell]:.1f} times the median area of the class'))


def _is_apart(shapes: CellShapes) -> np.ndarray:
    diameters_px = 2 * np.sqrt(shapes.areas_px / np.pi)
    least_gap_px = np.where(shapes.touches_border, diameters_px, MIN_GAP_PX)
    return (shapes.second_piece >= MIN_SECOND_PIECE) & (shapes.gap_px > least_gap_px)


def _report_merged(places: list[Place], n_cells: int) -> Iterator[Finding]:
    if places:
        is_alarm = len(places) <= max(MAX_USUAL_SHARE * n_cells, 1)
        yield Finding('merged-cells' if is_alarm else 'cells-in-pieces', 'warning' if is_alarm else 'note',
                      f'{len(places)} of {n_cells} cells consist of two large pieces that lie apart or hardly touch: '
                      + ('probably two cells under one id.' if is_alarm else 'so many are probably meant so.'),
                      'Look at these cells. Give each piece an id of its own if they are different cells.',
                      tuple(places))


def _report_doubtful(places: list[Place], n_cells: int) -> Iterator[Finding]:
    if places:
        listed = places[:max(MIN_LISTED, int(MAX_LISTED_SHARE * n_cells))]
        yield Finding('cells-like-two', 'note', f'{len(places)} of {n_cells} cells are large and not convex. Some may '
                      f'be two cells under one id. The most doubtful are listed first (--out, --page).', '',
                      tuple(listed))
