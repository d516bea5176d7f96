"""Plants errors in the labels of a data set, and makes predictions from true cells by random changes."""

from dataclasses import dataclass, replace

import numpy as np
from evaluation import move_rles

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.inspection.label_suspects import BADLY_LOCATED, MERGED, MISSING, SPLIT, SPURIOUS, WRONG_CLASS
from mmcell.masks.rle import areas_px, bboxes_xywh, encode_runs, foreground_pixels_of_all
from mmcell.predictions.cells import Predictions, join_predictions

# Kinds that change labels in each other's neighbourhood least are planted together.
TOGETHER = ((WRONG_CLASS, MISSING, SPURIOUS), (BADLY_LOCATED, MERGED, SPLIT))
_TRIES = 200
_MIN_HALF_PX = 10


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
    of the image, with its class, at a random place whose box no label touches. badly located: the label moves by 40 to
    60 % of its width or height. merged: the label gets the pixels of a label beside it, which is removed. split: the
    label is cut in half across its longer side.
    """
    n_each = round(share * len(clean.rles))
    labels = _Labels(clean, rng)
    ids: dict[str, set[int]] = {}
    for kind in kinds:
        ids[kind] = set()
        for number in rng.permutation(sorted(labels.free)).tolist():
            if len(ids[kind]) == n_each:
                break
            if number in labels.free:
                ids[kind] |= labels.plant(kind, number)
    return Planted(labels.to_truth(), ids, clean)


class _Labels:
    """Labels that change: the image, class and mask of each by its number; new numbers for what is added."""

    def __init__(self, clean: GroundTruth, rng: np.random.Generator) -> None:
        self.clean, self.rng = clean, rng
        self.cells = dict(enumerate(zip(clean.image_index.tolist(), clean.class_index.tolist(), clean.rles,
                                        strict=True)))
        self.ids = clean.annotation_ids.tolist()
        self.free = set(self.cells)

    def plant(self, kind: str, number: int) -> set[int]:
        """Plants one error, and returns the id of the label that is wrong now; nothing if it cannot be planted here."""
        change = {WRONG_CLASS: self._change_class, MISSING: self._remove, SPURIOUS: self._add_elsewhere,
                  BADLY_LOCATED: self._move, MERGED: self._merge, SPLIT: self._split}[kind]
        if kind != SPURIOUS:
            self.free.discard(number)
        return change(number)

    def _change_class(self, number: int) -> set[int]:
        image, label, rle = self.cells[number]
        others = [other for other in range(len(self.clean.class_ids)) if other != label]
        self.cells[number] = image, int(self.rng.choice(others)), rle
        return {self.ids[number]}

    def _remove(self, number: int) -> set[int]:
        del self.cells[number]
        return {self.ids[number]}

    def _add_elsewhere(self, number: int) -> set[int]:
        image, label, rle = self.cells[number]
        xy, wh = np.split(bboxes_xywh([rle])[0], 2)
        occupied = self.clean.boxes_xywh[self.clean.image_index == image]
        for _ in range(_TRIES):
            to_xy = self.rng.integers(0, self.clean.sizes[image, ::-1] - wh + 1)
            is_apart = (occupied[:, :2] >= to_xy + wh) | (occupied[:, :2] + occupied[:, 2:] <= to_xy)
            if is_apart.any(axis=1).all():
                return {self._add(image, label, move_rles([rle], (to_xy - xy)[None])[0])}
        return set()

    def _move(self, number: int) -> set[int]:
        image, label, rle = self.cells[number]
        axis = self.rng.integers(2)
        shift_px = np.zeros((1, 2), int)
        shift_px[0, axis] = round(self.rng.uniform(.4, .6) * self.clean.boxes_xywh[number, 2 + axis]
                                  * self.rng.choice([-1, 1]))
        moved = move_rles([rle], shift_px)[0]
        if 2 * areas_px([moved])[0] < areas_px([rle])[0]:  # the rest left the image
            return set()
        self.cells[number] = image, label, moved
        return {self.ids[number]}

    def _merge(self, number: int) -> set[int]:
        image, label, rle = self.cells[number]
        boxes = self.clean.boxes_xywh
        own_begin, own_end = boxes[number, :2], boxes[number, :2] + boxes[number, 2:]
        meets = ((boxes[:, :2] <= own_end) & (boxes[:, :2] + boxes[:, 2:] >= own_begin)).all(axis=1)
        near = [other for other in np.flatnonzero(meets & (self.clean.image_index == image)).tolist()
                if other in self.free]
        if not near:
            return set()
        other = min(near, key=lambda cell: np.abs(boxes[cell] - boxes[number]).sum())
        pixels = np.unique(foreground_pixels_of_all([rle, self.cells[other][2]])[0])
        self.cells[number] = image, label, _encode(pixels, rle['size'])
        del self.cells[other]
        self.free.discard(other)
        return {self.ids[number]}

    def _split(self, number: int) -> set[int]:
        image, label, rle = self.cells[number]
        pixels = foreground_pixels_of_all([rle])[0]
        *_, width, height = self.clean.boxes_xywh[number]
        along = np.divmod(pixels, rle['size'][0])[int(height > width)]
        is_first = along < np.median(along)
        if is_first.sum() < _MIN_HALF_PX:
            return set()
        self.cells[number] = image, label, _encode(pixels[is_first], rle['size'])
        self._add(image, label, _encode(pixels[~is_first], rle['size']))
        return {self.ids[number]}

    def _add(self, image: int, label: int, rle: dict) -> int:
        self.cells[len(self.ids)] = image, label, rle
        self.ids.append(max(self.ids) + 1)
        return self.ids[-1]

    def to_truth(self) -> GroundTruth:
        numbers = sorted(self.cells, key=lambda number: (self.cells[number][0], number))
        images, labels, rles = zip(*(self.cells[number] for number in numbers), strict=True)
        return replace(
            self.clean, image_index=np.array(images, np.int64), class_index=np.array(labels, np.int64),
            rles=list(rles), areas_px=areas_px(rles).astype(float), boxes_xywh=bboxes_xywh(rles).astype(float),
            is_crowd=np.zeros(len(rles), bool),
            annotation_ids=np.array([self.ids[number] for number in numbers], np.int64))


def _encode(pixels: np.ndarray, size: list[int]) -> dict:
    return encode_runs(pixels, pixels + 1, np.array([len(pixels)]), *size)[0]


def perturb_cells(truth: GroundTruth, rng: np.random.Generator) -> Predictions:
    """Makes predictions like those of a good model that has not seen the images.

    4 % of the cells are missed, and as many have the score of a spurious prediction. Masks move by up to a tenth of
    their width and height, at least by up to a pixel, and half of them grow or shrink by a pixel. A tenth of the cells
    has predictions of two classes, and the true class is the second best in half of these. There are spurious
    predictions, a fifth as many as cells. Scores of hits have the distribution Beta(6, 1.5), scores of spurious ones
    Beta(1.2, 5).
    """
    parts = []
    n_classes = len(truth.class_ids)
    for image in range(len(truth.image_ids)):
        cells = np.flatnonzero(truth.image_index == image)
        cells = cells[rng.random(len(cells)) > .04]
        if not len(cells):
            continue
        rles, labels = [truth.rles[cell] for cell in cells], truth.class_index[cells]
        reach = np.maximum(.1 * truth.boxes_xywh[cells, 2:], 1)
        hits = _change_outlines(move_rles(rles, np.rint(rng.uniform(-reach, reach)).astype(int)), rng)
        scores = np.where(rng.random(len(cells)) < .04, rng.beta(1.2, 5, len(cells)), rng.beta(6, 1.5, len(cells)))
        others = (labels + rng.integers(1, max(n_classes, 2), len(cells))) % n_classes
        is_doubtful = rng.random(len(cells)) < .1
        second = np.where(rng.random(len(cells)) < .5, scores * rng.uniform(.3, 1, len(cells)), scores * 1.05)
        n_spurious = round(.2 * len(cells))
        drawn = rng.integers(0, len(cells), n_spurious)
        size = truth.sizes[image]
        shifts_px = rng.integers(-size.min() // 2, size.min() // 2 + 1, (n_spurious, 2))
        spurious = move_rles([rles[place] for place in drawn], shifts_px) if n_spurious else []
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
