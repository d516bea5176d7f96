"""Predicts images that are arrays, for notebooks and pipelines."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from torch import nn

from mmcell.cells.cells import select_cells
from mmcell.errors import MmcellError
from mmcell.images.colors import stretch_contrast
from mmcell.inference.predictor import Predictor
from mmcell.masks.painting import paint_masks


@dataclass(frozen=True)
class Prediction:
    """The N cells that a detector has found in an image, best score first.

    Attributes:
        label_map: (H, W) int32, 0 is background, cell i has the number i + 1. Where cells overlap, the cell with the
            higher score is seen, of equal scores the smaller one, so that a cell that others cover has no pixel here.
        classes: The class names of the N cells.
        scores: (N,) float64, from 0 to 1.
        rles: N masks as compressed COCO RLEs of the size of the image, with all their pixels.
        reached_limit: Whether the model returned as many detections as ``max_per_img`` of its config allows for the
            image or for a tile, and all of them reach the lowest score, so that more cells are probably missing.
    """

    label_map: np.ndarray
    classes: list[str]
    scores: np.ndarray
    rles: list[dict]
    reached_limit: bool = False

    def __len__(self) -> int:
        return len(self.rles)

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        counts = ', '.join(f'{name}: {count}' for name, count in sorted(Counter(self.classes).items()))
        limit = ', reached_limit=True' if self.reached_limit else ''
        return f'Prediction({len(self)} cells in {height} x {width} px, {{{counts}}}{limit})'


def predict_array(detector: nn.Module, image: np.ndarray, min_score: float = .5,
                  tile_px: int | None = None) -> Prediction:
    """Predicts the cells of an image.

    Args:
        detector: A detector from :func:`mmcell.load_detector`.
        image: (H, W, 3) uint8 in the order red, green, blue. :func:`mmcell.read_image` reads files in this form; its
            ``channel_order`` should be ``detector.dataset_meta['channel_order']`` for images like the training data.
            If the model was trained with a contrast stretch (``percentiles`` of ``LoadTiff``), the image is stretched
            here.
        min_score: Cells with a lower score are left out; from 0 to 1.
        tile_px: Side of the overlapping tiles in which the image is predicted, in px. An image that is not larger is
            predicted whole, which takes about 1 GiB of memory per 4 million pixels. None: as ``tools/predict.py`` does,
            which predicts images of more than 4 million pixels in tiles of 1024 px, unless the config has tiles.

    Returns:
        The cells, best score first.

    Raises:
        MmcellError: The image has another shape or type or no pixel, or tiles of this size cannot be made.
    """
    is_rgb = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not is_rgb or not image.size:
        form = f'{image.dtype} of shape {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise MmcellError(f'the image must be an array (H, W, 3) of uint8 in the order red, green, blue, got {form}; '
                          'mmcell.read_image(path) returns such an array')
    predictor = Predictor(detector, tile_px=tile_px)
    pixels = image if predictor.percentiles is None else stretch_contrast(image, *predictor.percentiles)
    detected = predictor.predict(pixels, predictor.plan(image.shape[:2]), min_score)
    cells = select_cells(detected.cells, min_score).best_first()
    label_map = np.zeros(image.shape[:2], np.int32)
    paint_masks(label_map, cells.masks.positions, cells.masks.areas_px, cells.scores, np.arange(1, len(cells) + 1))
    return Prediction(label_map, [predictor.class_names[label] for label in cells.labels],
                      cells.scores.astype(np.float64), cells.masks.to_rles(), detected.reached_limit(min_score))
