"""Plants defects in images and masks, one by one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmcell.masks.runs import MaskRuns

MIN_CELLS = 10


@dataclass(frozen=True)
class Scene:
    """An image with its cells.

    Attributes:
        image: (H, W, 3) uint8.
        rles: M masks of the size of the image.
        classes: (M,) int64.
        note: What was planted, for tables.
    """

    image: np.ndarray
    rles: list[dict]
    classes: np.ndarray
    note: str = ''

    @property
    def runs(self) -> MaskRuns:
        """The masks as runs."""
        return MaskRuns.from_rles(self.rles, *self.image.shape[:2])


def shift_masks(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Shifts all masks by 5 px; cells that leave the image are left out."""
    if len(scene.rles) < MIN_CELLS:
        return None
    return _shift(scene, *[(5, 0), (-5, 0), (0, 5), (0, -5), (3, 4), (-3, 4), (4, -3), (-4, -3)][rng.integers(8)])


def _shift(scene: Scene, down: int, right: int) -> Scene:
    x, y_start, y_end = scene.runs.columns
    height, width = scene.image.shape[:2]
    y_start, y_end = np.clip(y_start + down, 0, height), np.clip(y_end + down, 0, height)
    return _with_runs(scene, x + right, y_start, y_end, (y_end > y_start) & (x + right >= 0) & (x + right < width))


def mirror_masks(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Mirrors all masks left to right."""
    if len(scene.rles) < MIN_CELLS:
        return None
    x, y_start, y_end = scene.runs.columns
    return _with_runs(scene, scene.image.shape[1] - 1 - x, y_start, y_end, np.ones(len(x), bool))


def swap_two_classes(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Swaps the two most frequent classes; None if the second has fewer than five cells."""
    counts = np.bincount(scene.classes, minlength=2)
    first, second = np.argsort(-counts, kind='stable')[:2]
    if counts[second] < 5:
        return None
    swapped = np.where(scene.classes == first, second, np.where(scene.classes == second, first, scene.classes))
    return replace(scene, classes=swapped)


def merge_two_cells(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Gives a random cell and its nearest neighbour (by their centres) one id; the merged cell becomes the last."""
    if len(scene.rles) < MIN_CELLS:
        return None
    boxes = scene.runs.extents_xyxy
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    first = int(rng.integers(len(boxes)))
    distances = np.hypot(*(centers - centers[first]).T)
    distances[first] = np.inf
    pair = np.array([first, int(distances.argmin())])
    merged = scene.runs.take(pair).unite(np.array([0, 0]))
    n_pieces = cv2.connectedComponents(_paint(merged))[0] - 1
    rest = np.setdiff1d(np.arange(len(boxes)), pair)
    return Scene(scene.image, [*(scene.rles[cell] for cell in rest), *merged.to_rles()],
                 np.append(scene.classes[rest], scene.classes[first]), 'touching' if n_pieces == 1 else 'apart')


def remove_a_tenth(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Removes the masks of a tenth of the cells."""
    if len(scene.rles) < 2 * MIN_CELLS:
        return None
    kept = np.sort(rng.permutation(len(scene.rles))[round(len(scene.rles) / 10):])
    return Scene(scene.image, [scene.rles[cell] for cell in kept], scene.classes[kept])


def list_a_cell_twice(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Lists a random cell a second time."""
    if not scene.rles:
        return None
    cell = int(rng.integers(len(scene.rles)))
    return Scene(scene.image, [*scene.rles, scene.rles[cell]], np.append(scene.classes, scene.classes[cell]))


def swap_red_and_blue(scene: Scene, rng: np.random.Generator) -> Scene:
    """Swaps red and blue."""
    return replace(scene, image=np.ascontiguousarray(scene.image[:, :, ::-1]))


def compress(scene: Scene, rng: np.random.Generator) -> Scene:
    """Compresses the image as JPEG with quality 50, and makes it a tenth darker."""
    darker = (scene.image * .9).astype(np.uint8)
    return Scene(cv2.imdecode(cv2.imencode('.jpg', darker, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1), [],
                 np.zeros(0, np.int64))


def turn_and_mirror(scene: Scene, rng: np.random.Generator) -> Scene:
    """Lays the image down in one of the seven other ways."""
    number = int(rng.integers(1, 8))
    image = np.rot90(scene.image[:, ::-1] if number > 3 else scene.image, number % 4)
    return Scene(np.ascontiguousarray(image), [], np.zeros(0, np.int64))


def crop_overlap(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Keeps two thirds of the height and the width, as if the image had been cut out elsewhere."""
    height, width = scene.image.shape[:2]
    if min(height, width) < 150:
        return None
    top, left = (int(rng.integers(side // 3)) for side in (height, width))
    return Scene(np.ascontiguousarray(scene.image[top:top + height * 2 // 3, left:left + width * 2 // 3]), [],
                 np.zeros(0, np.int64))


PLANTINGS: dict[str, tuple[Callable, str]] = {
    'masks shifted by 5 px': (shift_masks, 'shifted-masks'),
    'masks mirrored': (mirror_masks, 'turned-masks'),
    'two classes swapped': (swap_two_classes, 'swapped-classes'),
    'two cells merged': (merge_two_cells, 'merged-cells'),
    'a tenth of the labels removed': (remove_a_tenth, 'missing-labels'),
    'a cell listed twice': (list_a_cell_twice, 'cells-listed-twice'),
    'red and blue swapped in one image': (swap_red_and_blue, 'mixed-channel-orders'),
}
COPIES: dict[str, Callable] = {
    'copy as JPEG 50, darker': compress,
    'copy turned or mirrored': turn_and_mirror,
    'overlap of two thirds': crop_overlap,
}


def _paint(runs: MaskRuns) -> np.ndarray:
    bitmap = np.zeros(runs.height * runs.width, np.uint8)
    bitmap[runs.positions] = 1
    return np.ascontiguousarray(bitmap.reshape(runs.width, runs.height).T)


def _with_runs(scene: Scene, x: np.ndarray, y_start: np.ndarray, y_end: np.ndarray, is_kept: np.ndarray) -> Scene:
    """Replaces the runs of all masks, in their order, by those with a flag; masks without a run are left out."""
    height, width = scene.image.shape[:2]
    mask = np.repeat(np.arange(len(scene.rles)), scene.runs.n_runs)[is_kept]
    starts, ends = (x * height + y_start)[is_kept], (x * height + y_end)[is_kept]
    order = np.lexsort((starts, mask))
    n_runs = np.bincount(mask, minlength=len(scene.rles))
    rles = MaskRuns(starts[order], ends[order], n_runs, height, width).to_rles()
    kept = np.flatnonzero(n_runs)
    return Scene(scene.image, [rles[index] for index in kept], scene.classes[kept])
