"""Fills the gallery of a report: the images, their true cells, and the predicted cells of each results file."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import shapely

from mmcell.annotations.coco_json import is_file
from mmcell.annotations.ground_truth import GroundTruth, ImageSource
from mmcell.cells.cells import Cells
from mmcell.cells.outlines import outline_cells
from mmcell.errors import MmcellError, escape, list_some
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.pairs import cells_of_image
from mmcell.evaluation.tables import count
from mmcell.images.image_file import read_image
from mmcell.masks.runs import MaskRuns
from mmcell.reports.content import Gallery
from mmcell.reports.gallery import ShownSet, pack_image
from mmcell.visualization.colors import class_colors

# How many images are shown unless the user says otherwise.
MAX_IMAGES = 200
# Predictions with a lower score are not in the page, unless the score threshold is lower still: there may be thousands.
LOWEST_SCORE = .05
# Pairs of cells with at most this IoU never match.
_FOREGROUND_IOU = .5


def make_gallery(files: Sequence[EvaluatedFile], max_images: int = MAX_IMAGES,
                 on_step: Callable[[str], None] = lambda step: None) -> tuple[Gallery | None, list[str]]:
    """Returns the images with the true cells and the predicted cells of all results files.

    Args:
        files: At least one results file; all were measured on the same images.
        max_images: How many images are shown at most: those with the lowest F1 in the first file.
        on_step: A function that is called with the name of each step before the step begins.

    Returns:
        The gallery, None if there is no image to show; and sentences about images that are left out.
    """
    first, truth = files[0], files[0].pairs.truth
    sources = [first.sources.get(place) or truth.image_source(place) for place in range(len(truth.image_ids))]
    present = [place for place, source in enumerate(sources) if is_file(source.path)]
    remarks = _describe_missing(sources, present)
    chosen = sorted(present, key=lambda place: _order(first.evaluation.images[place]))[:max_images]
    threshold = first.evaluation.errors['score_threshold']
    images, failed = [], []
    for number, place in enumerate(chosen, start=1):
        on_step(f'image {number} of {len(chosen)}')
        try:
            picture = _read(sources[place], truth.sizes[place])
        except MmcellError as error:
            failed.append(str(error))
            continue
        images.append(_pack(picture, place, files, min(LOWEST_SCORE, threshold), len(chosen)))
    if failed:
        remarks.append(f"{count(len(failed), 'image')} cannot be shown: {list_some(failed, '; ', 3)}")
    if not images:
        return None, remarks
    colors = [f'#{red:02x}{green:02x}{blue:02x}' for red, green, blue in class_colors(len(truth.class_names))]
    classes = [{'name': name, 'color': color} for name, color in zip(truth.class_names, colors, strict=True)]
    text = _describe(len(images), len(truth.image_ids), files, min(LOWEST_SCORE, threshold))
    return Gallery(text, [file.name for file in files], threshold, classes, images), remarks


def _describe(n_shown: int, n_images: int, files: Sequence[EvaluatedFile], lowest_score: float) -> str:
    shown = f'All {n_images} images' if n_shown == n_images else (
        f'{n_shown} of {n_images} images, those with the lowest F1 of {files[0].name},')
    return (f"{shown if n_images > 1 else 'The image'} with true and predicted cells. A hit has an IoU above .5 with a "
            f'true cell of its class. Detections with a score below {lowest_score:g} are left out.')


def _describe_missing(sources: Sequence[ImageSource], present: Sequence[int]) -> list[str]:
    n_missing = len(sources) - len(present)
    if not n_missing:
        return []
    first = next(source.path for place, source in enumerate(sources) if place not in set(present))
    left_out = 'the page has no pictures' if not present else 'these are left out of the pictures'
    return [f"{n_missing} of {count(len(sources), 'image')} {'is' if n_missing == 1 else 'are'} not where the "
            f'annotation file or the results say, first {escape(first)}: {left_out}. All values are complete.']


def _order(row: dict) -> tuple[bool, float, int]:
    return math.isnan(row['F1']), row['F1'], -row['missed'] - row['spurious']


def _read(source: ImageSource, size: np.ndarray) -> np.ndarray:
    """Returns an image (H, W, 3) uint8 RGB; raises an MmcellError if it cannot be read or does not fit its cells."""
    picture = read_image(source.path, source.channel_order, source.percentiles)
    if picture.shape[:2] != tuple(size):
        raise MmcellError(f'{source.path}: has height and width {picture.shape[:2]}, the annotation file has '
                          f'{tuple(size.tolist())}')
    return picture


def _pack(picture: np.ndarray, place: int, files: Sequence[EvaluatedFile], lowest_score: float,
          n_images: int) -> dict:
    truth = files[0].pairs.truth
    own = cells_of_image(truth.image_index, place)
    shown = [_shown_set(file, place, own, lowest_score) for file in files]
    return pack_image(_name(truth, place), picture, truth.class_index[own],
                      outline_rles(truth.rles[own], *truth.sizes[place].tolist()), shown, n_images)


def _name(truth: GroundTruth, place: int) -> str:
    """Returns a short name of an image: without the folder train/ and the ending image.tif of the raw layout."""
    path = Path(truth.file_names[place])
    return path.parent.name if path.stem.lower() == 'image' and path.parent.name else path.name


def _shown_set(file: EvaluatedFile, place: int, true_cells: slice, lowest_score: float) -> ShownSet:
    """Returns the predictions of a file in one image, and the pairs in which they overlap true cells enough."""
    predictions, overlaps = file.pairs.predictions, file.pairs.overlaps
    own = cells_of_image(predictions.image_index, place)
    kept = own.start + np.flatnonzero(predictions.scores[own] >= lowest_score)
    # Predictions 5, 6 and 7 are in this image, and 5 and 7 are kept: they get the numbers 0 and 1 in the page.
    numbers = np.full(own.stop - own.start, -1)
    numbers[kept - own.start] = np.arange(len(kept))
    # The pairs are sorted by true cell.
    pairs = slice(*np.searchsorted(overlaps.true_index, [true_cells.start, true_cells.stop]))
    ious = overlaps.ious[pairs]
    predicted = numbers[overlaps.pred_index[pairs] - own.start]
    shown = np.flatnonzero((ious > _FOREGROUND_IOU) & (predicted >= 0))
    return ShownSet(
        predictions.class_index[kept], predictions.scores[kept],
        outline_rles([predictions.rles[cell] for cell in kept], *file.pairs.truth.sizes[place].tolist()),
        list(zip(predicted[shown].tolist(), (overlaps.true_index[pairs][shown] - true_cells.start).tolist(),
                 ious[shown].tolist(), strict=True)),
        file.evaluation.images[place]['F1'])


def outline_rles(rles: Sequence[dict], height: int, width: int) -> np.ndarray:
    """Returns the outlines of N masks of an image, (N,) shapely polygons; a mask without a pixel has an empty one."""
    masks = MaskRuns.from_rles(rles, height, width)
    has_pixels = masks.areas_px > 0
    outlines = np.full(len(rles), shapely.Polygon(), object)
    n_cells = np.count_nonzero(has_pixels)
    cells = Cells(masks.take(np.flatnonzero(has_pixels)), np.zeros((n_cells, 4), np.float32),
                  np.zeros(n_cells, np.float32), np.zeros(n_cells, np.int64))
    outlines[has_pixels] = outline_cells(cells)
    return outlines
