"""Predicts images that are arrays, for notebooks and pipelines."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from torch import nn

from mmcell.cells.cells import Cells, select_cells
from mmcell.cells.separation import separate_cells
from mmcell.errors import MmcellError
from mmcell.images.colors import stretch_contrast
from mmcell.images.scale import refuse_implausible_mpp
from mmcell.inference.predictor import Predictor
from mmcell.masks.painting import paint_masks


@dataclass(frozen=True)
class Prediction:
    """The N cells that a detector has found in an image, best score first.

    Attributes:
        label_map: (H, W) int32, 0 is background, cell i has the number i + 1. Where cells may overlap, the cell with
            the higher score is seen, of equal scores the smaller one, so that a cell that others cover has no pixel.
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


def predict_array(detector: nn.Module, image: np.ndarray, min_score: float = .5, tile_px: int | None = None, *,
                  mpp: float | None = None, allow_overlaps: bool = False) -> Prediction:
    """Predicts the cells of an image. They are those that ``tools/predict.py`` writes for it by default.

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
        mpp: Micrometres per pixel of the image. If those of the model, ``detector.dataset_meta['mpp']``, are known and
            differ by 10 % or more, the image is enlarged or reduced for the prediction; the cells are in px of the
            image as it is. None: the image is predicted as it is. Files often state their scale, which arrays cannot.
        allow_overlaps: Whether cells are left as they were predicted, so that they may overlap and lie in pieces. By
            default, each pixel belongs to the cell with the highest score, a cell that loses more than half of its
            pixels is left out, and of several pieces the largest is kept.

    Returns:
        The cells, best score first.

    Raises:
        MmcellError: The image has another shape or type or no pixel, tiles of this size cannot be made, or ``mpp`` is
            not plausible or differs from that of the model by an impossible factor.
    """
    is_rgb = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not is_rgb or not image.size:
        form = f'{image.dtype} of shape {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise MmcellError(f'the image must be an array (H, W, 3) of uint8 in the order red, green, blue, got {form}; '
                          'mmcell.read_image(path) returns such an array')
    try:
        if mpp is not None:
            refuse_implausible_mpp(mpp)
        predictor = Predictor(detector, tile_px=tile_px).at_scale(mpp)
    except ValueError as error:
        raise MmcellError(f'the image: {error}') from error
    pixels = image if predictor.percentiles is None else stretch_contrast(image, *predictor.percentiles)
    detected = predictor.predict(pixels, predictor.plan(image.shape[:2]), min_score)
    cells = select_cells(detected.cells, min_score)
    if not allow_overlaps:
        cells = Cells.concatenate([*separate_cells([(cells, cells.masks.height)]), Cells.empty(*image.shape[:2])])
    cells = cells.best_first()
    label_map = np.zeros(image.shape[:2], np.int32)
    paint_masks(label_map, cells.masks.positions, cells.masks.areas_px, cells.scores, np.arange(1, len(cells) + 1))
    return Prediction(label_map, [predictor.class_names[label] for label in cells.labels],
                      cells.scores.astype(np.float64), cells.masks.to_rles(), detected.reached_limit(min_score))
