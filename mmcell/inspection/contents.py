"""Counts images, cells and classes, and finds cells that are tiny, giant, cut, listed twice or in pieces."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.errors import list_some
from mmcell.inspection.findings import Finding, Place
from mmcell.inspection.sets import InspectedSet

# Cells of fewer pixels are specks, whatever the scale: a cell of 4 x 4 px has no shape that a model could learn.
TINY_PX = 16
# Larger or smaller than the median of the class by this factor (in area): diameters that differ by 4.
SIZE_FACTOR = 16.
# A cell on more than half of the image is probably the background. The largest in CoNSeP and MoNuSAC covers 12 %.
MAX_SHARE_OF_IMAGE = .5
# Two cells are one cell that is listed twice if their IoU is at least this: annotators who draw a cell twice reach .8.
TWICE_IOU = .8
MIN_CELLS_OF_CLASS = 20


def find_content(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports classes that cannot be learned or measured, and cells of doubtful size; notes the numbers of each set.

    Errors: none of the files has a cell of a class. Warnings: a class has cells in one annotated set, but not in
    another; cells listed twice (IoU .8 or more); cells on more than half of the image. Everything else is a note.
    """
    annotated = [part for part in sets if len(part.truth.rles)]
    findings = [finding for part in sets for finding in (
        *_summarize(part), *_report_twice(part), *_report_sizes(part), *_report_images(part))]
    return [*_report_classes(annotated), *findings]


def _report_classes(annotated: Sequence[InspectedSet]) -> Iterator[Finding]:
    names = list(dict.fromkeys(name for part in annotated for name in part.truth.class_names))
    counts = {name: {part.name: part.truth.count_by_class(part.truth.class_index).get(name, 0) for part in annotated}
              for name in names}
    missing = [name for name in names if not any(counts[name].values())]
    if missing:
        yield Finding('empty-classes', 'note', f'No cell belongs to {list_some(missing)}.',
                      'Leave the class out (data_prep/to_coco.py … --class-names), or check the names of the masks.')
    for name in names:
        without = [part for part, number in counts[name].items() if not number]
        if without and name not in missing:
            yield Finding('class-missing-in-a-set', 'note', f'{name} has {sum(counts[name].values())} cells, but none '
                          f'in {list_some(without)}: it cannot be learned, or not be measured, there.',
                          'Split again with data_prep/to_coco.py, which spreads rare classes, or use folds (--folds).')
        few = {part: number for part, number in counts[name].items() if 0 < number < MIN_CELLS_OF_CLASS}
        if few:
            yield Finding('rare-class', 'note', f'{name} has few cells: '
                          + ', '.join(f'{number} in {part}' for part, number in few.items())
                          + '. Values of this class are uncertain.',
                          'Validate with folds (data_prep/to_coco.py --folds).')


def _summarize(part: InspectedSet) -> Iterator[Finding]:
    truth, used = part.truth, [measures for measures in part.images if measures is not None]
    n_cells, mpx = len(truth.rles), float(truth.sizes.prod(axis=1).sum() / 1e6)
    if not n_cells:
        yield Finding('summary', 'note', f'{part.name}: {len(part.images)} images, {mpx:.2f} Mpx, no cell.')
        return
    per_image = np.bincount(truth.image_index, minlength=len(part.images))
    crowded = int(per_image.argmax())
    areas = np.percentile(truth.areas_px, (5, 50, 95))
    n_border, n_pieces = (int(sum(values.sum() for values in rows)) for rows in (
        [one.shapes.touches_border for one in used], [one.shapes.n_pieces > 1 for one in used]))
    n_overlapping = sum(len(np.unique(one.overlaps)) for one in used)
    yield Finding(
        'summary', 'note', f'{part.name}: {len(part.images)} images, {mpx:.2f} Mpx, {n_cells} cells '
        f'({", ".join(f"{name} {number}" for name, number in truth.count_by_class(truth.class_index).items())}), '
        f'{n_cells / mpx:.0f} per Mpx, median {np.median(per_image):.0f} and at most {per_image[crowded]} in an image. '
        f'Areas of 5, 50 and 95 %: {areas[0]:.0f}, {areas[1]:.0f} and {areas[2]:.0f} px. '
        f'{sum(one.n_touching for one in used)} cells touch another, {n_overlapping} overlap another, {n_border} touch '
        f'the border, {n_pieces} are in several pieces, {int(truth.is_crowd.sum())} are regions (iscrowd).', '',
        (part.place(crowded, detail=f'{per_image[crowded]} cells'),))


def _report_twice(part: InspectedSet) -> Iterator[Finding]:
    truth = part.truth
    places = [part.place(image, cells[first], detail=f'IoU {iou:.2f} with cell {truth.annotation_ids[cells[second]]} '
                         f'({truth.class_names[truth.class_index[cells[second]]]})')
              for image, measures in enumerate(part.images) if measures is not None
              for cells in [part.cells_of(image)]
              for (first, second), iou in zip(measures.overlaps, measures.overlap_iou, strict=True)
              if iou >= TWICE_IOU and not truth.is_crowd[cells[[first, second]]].any()]
    if places:
        yield Finding('cells-listed-twice', 'warning', f'{len(places)} cells of {part.name} are listed twice, with '
                      f'an IoU of {TWICE_IOU} or more.',
                      'Remove one of each pair. If they have different classes, decide for one.', tuple(places))


def _report_sizes(part: InspectedSet) -> Iterator[Finding]:
    truth = part.truth
    cells = np.flatnonzero(~truth.is_crowd)
    areas, classes = truth.areas_px[cells], truth.class_index[cells]
    medians = np.array([np.median(areas[classes == place]) if (classes == place).any() else 1.
                        for place in range(len(truth.class_ids))])
    relative, shares = areas / medians[classes], areas / truth.sizes.prod(axis=1)[truth.image_index[cells]]
    is_background = shares > MAX_SHARE_OF_IMAGE
    yield from _report_cells(part, cells[is_background], 'cells-on-half-of-the-image', 'warning',
                             'cover more than half of their image: probably the background has an id',
                             'Write 0 for the background, and convert again.')
    yield from _report_cells(part, cells[(areas < TINY_PX) | (relative < 1 / SIZE_FACTOR)], 'tiny-cells', 'note',
                             f'have fewer than {TINY_PX} px, or less than 1/{SIZE_FACTOR:.0f} of the median of their '
                             'class', 'data_prep/repair_coco.py lists what it repairs; specks can be deleted.')
    yield from _report_cells(part, cells[(relative > SIZE_FACTOR) & ~is_background], 'giant-cells', 'note',
                             f'have more than {SIZE_FACTOR:.0f} times the median area of their class', '')


def _report_cells(part: InspectedSet, cells: np.ndarray, kind: str, level: str, predicate: str,
                  advice: str) -> Iterator[Finding]:
    if len(cells):
        order = cells[np.argsort(part.truth.areas_px[cells], kind='stable')]
        places: tuple[Place, ...] = tuple(part.place(part.truth.image_index[cell], cell, detail=(
            f'{part.truth.areas_px[cell]:.0f} px')) for cell in order)
        yield Finding(kind, level, f'{len(cells)} of {len(part.truth.rles)} cells of {part.name} {predicate}.', advice,
                      places)


def _report_images(part: InspectedSet) -> Iterator[Finding]:
    truth = part.truth
    per_image = np.bincount(truth.image_index, minlength=len(part.images))
    without = np.flatnonzero(per_image == 0)
    if len(truth.rles) and len(without):
        yield Finding('images-without-cells', 'note', f'{len(without)} of {len(part.images)} images of {part.name} '
                      'have no cell. A model learns background from them. If their cells were not labelled, leave them '
                      'out.',
                      '', tuple(part.place(image) for image in without))
    sides = np.sqrt(truth.sizes.prod(axis=1))
    odd = np.flatnonzero((truth.sizes.min(axis=1) < 32) | (truth.sizes.max(axis=1) > 8 * truth.sizes.min(axis=1)))
    if len(odd):
        yield Finding('odd-image-sizes', 'note', f'{len(odd)} of {len(part.images)} images of {part.name} are below '
                      '32 px in height or width, or eight times as long as wide (median side '
                      f'{np.median(sides):.0f} px).', '', tuple(part.place(image, detail=(
                          f'{truth.sizes[image, 1]} x {truth.sizes[image, 0]} px')) for image in odd))
