"""What is measured once on each image, so that no detector of defects reads an image again."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.images.limits import ImageReadError
from mmcell.inspection.measures.cell_looks import CellLooks, measure_looks, optical_density
from mmcell.inspection.measures.cell_shapes import CellShapes, measure_shapes
from mmcell.inspection.measures.edge_fit import EdgeFit, measure_edge_fit
from mmcell.inspection.measures.prints import Prints, make_prints
from mmcell.inspection.measures.stain import Stain, measure_stain
from mmcell.inspection.measures.unlabeled import Unlabeled, find_unlabeled
from mmcell.masks.painting import paint_masks
from mmcell.masks.runs import MaskRuns, intersections_px


@dataclass(frozen=True)
class ImageTask:
    """One image with its M cells. It can be pickled.

    Attributes:
        path: The image file.
        channel_order: 'rgb' or 'bgr', as the annotation file says.
        size: Height and width in px, as the annotation file says.
        rles: M masks as compressed COCO RLEs.
        class_index: (M,) int64, the class of each cell.
        is_crowd: (M,) bool, whether it is a region that is not annotated cell by cell.
    """

    path: Path
    channel_order: str
    size: tuple[int, int]
    rles: list[dict]
    class_index: np.ndarray
    is_crowd: np.ndarray

    @property
    def key(self) -> tuple:
        """Equal for equal images with equal cells, in whichever annotation file they stand."""
        cells = sha256(repr([self.size, self.class_index.tolist(), self.is_crowd.tolist()]).encode())
        for rle in self.rles:
            cells.update(rle['counts'].encode() + b' ')
        return str(self.path.resolve()), self.channel_order, cells.digest()


@dataclass(frozen=True)
class ImageMeasures:
    """What was measured on one image with M cells. Regions that are not annotated cell by cell count as labelled.

    Attributes:
        pixel_hash: The hash of the size and the pixels; equal only for images with equal pixels.
        prints: Small pictures and key points, by which copies are found.
        stain: Stain, brightness and focus.
        shapes: The shapes of the M cells.
        looks: The looks of the M cells.
        edge_fit: How well the outlines of the cells lie on the edges of the image; None if too few cells tell it.
        unlabeled: What looks like a cell; None if too few cells tell how cells look.
        overlaps: Pairs of cells that share pixels: (P, 2) int64 indices of the M cells, the first below the second.
        overlap_iou: (P,) float64, the IoU of these pairs.
        n_touching: How many cells lie next to another cell.
    """

    pixel_hash: str
    prints: Prints
    stain: Stain
    shapes: CellShapes
    looks: CellLooks
    edge_fit: EdgeFit | None
    unlabeled: Unlabeled | None
    overlaps: np.ndarray
    overlap_iou: np.ndarray
    n_touching: int


def measure_image(task: ImageTask) -> ImageMeasures | MmcellError | OSError:
    """Returns what is measured on one image, or why it cannot be used."""
    try:
        image = read_image(task.path, task.channel_order)
        if image.shape[:2] != task.size:
            raise ImageReadError(f'{task.path}: has {image.shape[1]} x {image.shape[0]} px (width x height), but its '
                                 f'annotations {task.size[1]} x {task.size[0]} px')
    except (MmcellError, OSError) as error:
        return error
    return measure_pixels(image, task.rles, task.is_crowd)


def measure_pixels(image: np.ndarray, rles: list[dict], is_crowd: np.ndarray) -> ImageMeasures:
    """Returns what is measured on an image (H, W, 3) uint8 with M cells; see :class:`ImageTask`."""
    runs = MaskRuns.from_rles(rles, *image.shape[:2])
    label_map = _paint(runs, ~is_crowd)
    all_labels = label_map if not is_crowd.any() else _paint(runs, np.ones(len(rles), bool))
    density = optical_density(image)
    overlaps, iou = _find_overlaps(runs)
    return ImageMeasures(
        sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(), make_prints(image), measure_stain(image),
        measure_shapes(runs), measure_looks(density, label_map, len(rles)), measure_edge_fit(image, label_map),
        find_unlabeled(density, all_labels), overlaps, iou, _count_touching(label_map))


def _paint(runs: MaskRuns, is_painted: np.ndarray) -> np.ndarray:
    """Returns the label map (H, W) int32 of the masks with a flag; mask i has the number i + 1."""
    label_map, chosen = np.zeros((runs.height, runs.width), np.int32), np.flatnonzero(is_painted)
    painted = runs.take(chosen)
    paint_masks(label_map, painted.positions, painted.areas_px, np.zeros(len(chosen)), chosen + 1)
    return label_map


def _find_overlaps(runs: MaskRuns) -> tuple[np.ndarray, np.ndarray]:
    first, second, shared_px = intersections_px(runs, runs)
    first, second, shared_px = (values[first < second] for values in (first, second, shared_px))
    union_px = runs.areas_px[first] + runs.areas_px[second] - shared_px
    return np.stack([first, second], axis=1), shared_px / union_px


def _count_touching(label_map: np.ndarray) -> int:
    """Returns how many cells have a pixel beside, above or below a pixel of another cell."""
    touching = [pair[(pair > 0).all(axis=1) & (pair[:, 0] != pair[:, 1])].ravel() for pair in (
        np.stack([label_map[:-1].ravel(), label_map[1:].ravel()], axis=1),
        np.stack([label_map[:, :-1].ravel(), label_map[:, 1:].ravel()], axis=1))]
    return len(np.unique(np.concatenate(touching)))
