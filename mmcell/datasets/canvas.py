"""An image with its cells, onto which other cells are pasted without covering too much of any cell."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.layers import number_instances


@dataclass(frozen=True)
class Patch:
    """A cell that is cut out of its image, with a margin for a soft edge.

    Attributes:
        pixels: (h, w, C), the part of the image.
        bitmap: (h, w) bool, the pixels of the cell; all of them lie inside the part.
        alpha: (h, w) float32, the weight of the cell's image, from 0 to 1.
        place: (y, x) of the upper left corner of the part in its image, in px.
    """

    pixels: np.ndarray
    bitmap: np.ndarray
    alpha: np.ndarray
    place: tuple[int, int]

    def oriented(self, turns: int, is_mirrored: bool) -> 'Patch':
        """Returns the patch turned counter-clockwise by quarter turns, after it was mirrored or not."""
        pixels, bitmap, alpha = (np.rot90(part[:, ::-1] if is_mirrored else part, turns)
                                 for part in (self.pixels, self.bitmap, self.alpha))
        return Patch(pixels, bitmap, alpha, self.place)


def cut_patch(image: np.ndarray, bitmap: np.ndarray, left: int, top: int, edge_px: float) -> Patch:
    """Cuts a cell out of its image.

    Args:
        image: (H, W, C).
        bitmap: (h, w) bool, the cell inside its box.
        left: Where the box begins, x in px.
        top: Where the box begins, y in px.
        edge_px: The standard deviation in px of the Gauss filter that makes the edge soft; 0 for a hard edge.
    """
    margin = int(np.ceil(3 * edge_px))
    # The margin ends at the border of the image: a box that begins at x = 2 with a margin of 3 gets 2 px at the left.
    y1, x1 = max(top - margin, 0), max(left - margin, 0)
    pixels = image[y1:top + bitmap.shape[0] + margin, x1:left + bitmap.shape[1] + margin]
    inside = np.zeros(pixels.shape[:2], bool)
    inside[top - y1:top - y1 + bitmap.shape[0], left - x1:left - x1 + bitmap.shape[1]] = bitmap
    alpha = inside.astype(np.float32)
    if edge_px:
        alpha = cv2.GaussianBlur(alpha, (0, 0), edge_px, borderType=cv2.BORDER_CONSTANT)
    return Patch(pixels, inside, alpha, (y1, x1))


class Canvas:
    """An image and its N cells; pasted cells take pixels away from the cells below them.

    Args:
        image: (H, W, C), of which a copy is made when the first cell is pasted.
        masks: The N cells, which are not changed.
        max_covered: The greatest fraction of its area that any cell may lose to all pasted cells together.
    """

    def __init__(self, image: np.ndarray, masks: LabelMapMasks, max_covered: float) -> None:
        self.image, self.max_covered = image, max_covered
        self.layer_indices = masks.layer_indices.tolist()
        layers, numbers = number_instances(masks.layers, masks.layer_indices, masks.ids)
        self.layers = layers if len(layers) else np.zeros((1, masks.height, masks.width), np.int32)
        self.ids = numbers.tolist()
        # Areas by number; the number 0 stands for the background.
        self._areas_px = np.bincount(self.layers.ravel(), minlength=numbers.max(initial=0) + 1)
        self._left_px = self._areas_px.copy()
        self._is_copied = False

    @property
    def masks(self) -> LabelMapMasks:
        """The N cells with what is left of them, then the pasted cells."""
        return LabelMapMasks(self.layers, np.array(self.layer_indices, np.int64), np.array(self.ids, np.int64))

    def paste(self, patch: Patch, top: int, left: int) -> bool:
        """Pastes a cell at a place, and returns True; or returns False, and changes nothing.

        It is refused if a pixel of the cell would lie outside the image, or if a cell would lose too much.

        Args:
            patch: The cell.
            top: The row where the patch begins, which may be negative.
            left: The column where the patch begins.
        """
        y, x = np.nonzero(patch.bitmap)
        y, x = y + top, x + left
        height, width = self.layers.shape[1:]
        if min(y.min(), x.min()) < 0 or y.max() >= height or x.max() >= width:
            return False
        below = self.layers[:, y, x]
        numbers, n_covered_px = np.unique(below[below > 0], return_counts=True)
        # A cell of 100 px of which 90 are left loses 15 more: 25 of 100 are covered then, more than .2 * 100.
        n_lost_px = self._areas_px[numbers] - self._left_px[numbers] + n_covered_px
        if (n_lost_px > self.max_covered * self._areas_px[numbers]).any():
            return False
        self._left_px[numbers] -= n_covered_px
        self._blend(patch, top, left)
        # No other cell has these pixels any more, so that the pasted cell fits into the first layer.
        number = len(self._areas_px)
        self.layers[:, y, x] = 0
        self.layers[0, y, x] = number
        self._areas_px, self._left_px = np.append(self._areas_px, len(y)), np.append(self._left_px, len(y))
        self.layer_indices.append(0)
        self.ids.append(number)
        return True

    def _blend(self, patch: Patch, top: int, left: int) -> None:
        if not self._is_copied:
            self.image, self._is_copied = self.image.copy(), True
        # The margin of the patch may reach over the border of the image.
        height, width = self.image.shape[:2]
        y1, x1 = max(-top, 0), max(-left, 0)
        y2, x2 = min(patch.alpha.shape[0], height - top), min(patch.alpha.shape[1], width - left)
        region = self.image[top + y1:top + y2, left + x1:left + x2]
        alpha = patch.alpha[y1:y2, x1:x2, None]
        blended = alpha * patch.pixels[y1:y2, x1:x2] + (1 - alpha) * region
        region[:] = np.round(blended) if np.issubdtype(region.dtype, np.integer) else blended
