"""Plants errors in the labels of a data set, and makes predictions from true cells by random changes."""

from dataclasses import dataclass, replace

import numpy as np
from evaluation import move_rles

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.inspection.label_errors import BADLY_LOCATED, MERGED, MISSING, SPLIT, SPURIOUS, WRONG_CLASS
from mmcell.masks.rle import areas_px, bboxes_xywh, encode_runs, foreground_pixels_of_all
from mmcell.predictions.cells import Predictions, join_predictions

# Kinds that change labels in each other's neighbourhood least are planted together.
TOGETHER = ((WRONG_CLASS, MISSING, SPURIOUS), (BADLY_LOCATED, MERGED, SPLIT))
_TRIES = 200


@dataclass(frozen=True)
class Planted:
    """Labels with planted errors.

    Attributes:
        truth: The changed labels.
        ids: The annotation ids of the changed labels, by kind of error; for missing labels, those of ``clean``.
        clean: The labels before.
    """

    truth: GroundTruth
    ids: dict[str, set[int]]
    clean: GroundTruth


def plant_errors(clean: GroundTruth, kinds: tuple[str, ...], share: float, rng: np.random.Generator) -> Planted:
    """Plants each kind of error in a share of the labels, each label being changed once at most.

    wrong class: another class of the file, at random. missing: the label is removed. spurious: the mask of another cell
    of the image, with its class, at a random place that no cell covers. badly located: the label moves by 60 to 80 % of
    its width or height. merged: the label and the nearest one that touches it, with both masks. split: the label is cut
    in half across its longer side.
    """
    n_each = round(share * len(clean.rles))
    free = set(range(len(clean.rles)))
    cells = {number: (int(clean.image_index[number]), int(clean.class_index[number]), clean.rles[number])
             for number in range(len(clean.rles))}
    ids: dict[str, set[int]] = {}
    id_of = {number: int(clean.annotation_ids[number]) for number in range(len(clean.rles))}
    for kind in kinds:
        ids[kind] = set()
        for number in rng.permutation(sorted(free)).tolist():
            if len(ids[kind]) >= n_each:
                break
            if number in free:
                ids[kind] |= _PLANT[kind](cells, id_of, free, number, clean, rng)
    return Planted(_to_truth(clean, cells, id_of), ids, clean)


def _plant_wrong_class(cells, id_of, free, number, clean, rng):
    image, label, rle = cells[number]
    cells[number] = image, int(rng.choice([other for other in range(len(clean.class_ids)) if other != label])), rle
    free.discard(number)
    return {id_of[number]}


def _plant_missing(cells, id_of, free, number, clean, rng):
    del cells[number]
    free.discard(number)
    return {id_of[number]}


def _plant_spurious(cells, id_of, free, number, clean, rng):
    image, label, rle = cells[number]
    x, y, width, height = bboxes_xywh([rle])[0]
    occupied = _boxes_of_image(clean, image)
    for _ in range(_TRIES):
        to_x, to_y = (int(rng.integers(0, size - side + 1))
                      for size, side in zip(clean.sizes[image, ::-1], (width, height), strict=True))
        is_apart = ((occupied[:, 0] >= to_x + width) | (occupied[:, 0] + occupied[:, 2] <= to_x)
                    | (occupied[:, 1] >= to_y + height) | (occupied[:, 1] + occupied[:, 3] <= to_y))
        if is_apart.all():
            new = max(id_of) + 1
            id_of[new] = max(id_of.values()) + 1
            cells[new] = image, label, move_rles([rle], np.array([[to_x - x, to_y - y]]))[0]
            return {id_of[new]}
    return set()


def _plant_badly_located(cells, id_of, free, number, clean, rng):
    image, label, rle = cells[number]
    *_, width, height = bboxes_xywh([rle])[0]
    side = rng.integers(4)
    step = rng.uniform(.6, .8) * (width if side < 2 else height) * (1 if side % 2 else -1)
    moved = move_rles([rle], np.array([[round(step), 0] if side < 2 else [0, round(step)]]))[0]
    free.discard(number)
    if areas_px([moved])[0] < .5 * areas_px([rle])[0]:
        return set()
    cells[number] = image, label, moved
    return {id_of[number]}


def _plant_merged(cells, id_of, free, number, clean, rng):
    image, label, rle = cells[number]
    box = clean.boxes_xywh[number]
    near = [other for other in np.flatnonzero(clean.image_index == image).tolist() if other != number and other in free
            and (np.abs(2 * (clean.boxes_xywh[other] - box)[:2] + (clean.boxes_xywh[other] - box)[2:])
                 <= clean.boxes_xywh[other][2:] + box[2:]).all()]
    free.discard(number)
    if not near:
        return set()
    other = min(near, key=lambda cell: np.abs(clean.boxes_xywh[cell] - box).sum())
    pixels = np.unique(foreground_pixels_of_all([rle, cells[other][2]])[0])
    cells[number] = image, label, _encode(pixels, rle['size'])
    del cells[other]
    free.discard(other)
    return {id_of[number]}


def _plant_split(cells, id_of, free, number, clean, rng):
    image, label, rle = cells[number]
    free.discard(number)
    pixels = foreground_pixels_of_all([rle])[0]
    if len(pixels) < 20:
        return set()
    along = np.divmod(pixels, rle['size'][0])
    longer = along[int(clean.boxes_xywh[number][3] > clean.boxes_xywh[number][2])]
    is_first = longer < np.median(longer)
    if not is_first.any():
        return set()
    new = max(id_of) + 1
    id_of[new] = max(id_of.values()) + 1
    cells[number], cells[new] = ((image, label, _encode(pixels[part], rle['size'])) for part in (is_first, ~is_first))
    return {id_of[number]}


_PLANT = {WRONG_CLASS: _plant_wrong_class, MISSING: _plant_missing, SPURIOUS: _plant_spurious,
          BADLY_LOCATED: _plant_badly_located, MERGED: _plant_merged, SPLIT: _plant_split}


def _encode(pixels: np.ndarray, size: list[int]) -> dict:
    return encode_runs(pixels, pixels + 1, np.array([len(pixels)]), *size)[0]


def _boxes_of_image(truth: GroundTruth, image: int) -> np.ndarray:
    return truth.boxes_xywh[truth.image_index == image]


def _to_truth(clean: GroundTruth, cells: dict, id_of: dict[int, int]) -> GroundTruth:
    numbers = sorted(cells, key=lambda number: (cells[number][0], number))
    rles = [cells[number][2] for number in numbers]
    return replace(
        clean, image_index=np.array([cells[number][0] for number in numbers], np.int64),
        class_index=np.array([cells[number][1] for number in numbers], np.int64), rles=rles,
        areas_px=areas_px(rles).astype(float), boxes_xywh=bboxes_xywh(rles).astype(float),
        is_crowd=np.zeros(len(numbers), bool), annotation_ids=np.array([id_of[number] for number in numbers], np.int64))


def perturb_cells(truth: GroundTruth, rng: np.random.Generator) -> Predictions:
    """Makes predictions like those of a good model that has not seen the images.

    A twelfth of the cells is missed. Masks move by up to a tenth of their width and height, and half of them grow or
    shrink by a pixel. A tenth of the cells gets two predictions with the scores of two classes, the true class being
    the second best in half of these. There are spurious predictions, a fifth as many as cells. Scores of hits have the
    distribution Beta(6, 1.5), scores of spurious ones Beta(1.2, 5).
    """
    parts = []
    n_classes = len(truth.class_ids)
    for image in range(len(truth.image_ids)):
        cells = np.flatnonzero(truth.image_index == image)
        cells = cells[rng.random(len(cells)) > 1 / 12]
        if not len(cells):
            continue
        rles, labels = [truth.rles[cell] for cell in cells], truth.class_index[cells]
        reach = np.maximum(.1 * truth.boxes_xywh[cells, 2:], 1)
        hits = _change_outlines(move_rles(rles, np.rint(rng.uniform(-reach, reach)).astype(int)), rng)
        scores = rng.beta(6, 1.5, len(cells))
        others = (labels + rng.integers(1, max(n_classes, 2), len(cells))) % n_classes
        is_doubtful = rng.random(len(cells)) < .1
        second = np.where(rng.random(len(cells)) < .5, scores * rng.uniform(.3, 1, len(cells)), scores * 1.05)
        n_spurious = round(.2 * len(cells))
        drawn = rng.integers(0, len(cells), n_spurious)
        size = truth.sizes[image]
        spurious = move_rles([rles[place] for place in drawn], rng.integers(-size.min() // 2, size.min() // 2 + 1,
                                                                           (n_spurious, 2))) if n_spurious else []
        rows = [*zip(hits, labels, scores, strict=True),
                *[(hits[place], others[place], min(second[place], 1.)) for place in np.flatnonzero(is_doubtful)],
                *zip(spurious, rng.integers(0, n_classes, n_spurious), rng.beta(1.2, 5, n_spurious), strict=True)]
        rows = [row for row, area in zip(rows, areas_px([row[0] for row in rows]), strict=True) if area > 0]
        own = [row[0] for row in rows]
        parts.append(Predictions(
            np.full(len(rows), image), np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], float), bboxes_xywh(own).astype(float), own))
    return join_predictions(parts)


def _change_outlines(rles: list[dict], rng: np.random.Generator) -> list[dict]:
    """Lets each mask grow, shrink or stay, by a pixel along one axis."""
    height, width = rles[0]['size']
    moved = move_rles(rles, rng.integers(0, 2, (len(rles), 2)))
    changed = []
    for first, second, change in zip(rles, moved, rng.integers(0, 4, len(rles)), strict=True):
        pixels, others = (foreground_pixels_of_all([rle])[0] for rle in (first, second))
        combined = {0: np.union1d, 1: np.intersect1d}.get(int(change), lambda pixels, _: pixels)(pixels, others)
        changed.append(_encode(combined, [height, width]))
    return changed
