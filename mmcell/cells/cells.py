"""The cells that a detector has predicted in one image: the one form that they have from the detector to the files."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.runs import MaskRuns


@dataclass(frozen=True)
class Cells:
    """N cells of one image. All coordinates are in px of this image.

    Attributes:
        masks: The N masks. Detectors may predict masks without a pixel;
            :func:`select_cells` and :class:`mmcell.tiles.seams.SeamStitcher` leave them out.
        bboxes_xyxy: (N, 4) float32, the boxes as they were predicted. The boxes around the pixels, which may be smaller
            or larger, are ``masks.extents_xyxy``.
        scores: (N,) float32, from 0 to 1.
        labels: (N,) int64, the class of each cell, from 0.
    """

    masks: MaskRuns
    bboxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_instances(cls, instances: InstanceData, height: int, width: int,
                       rect_xyxy: np.ndarray | None = None) -> 'Cells':
        """Makes cells from the output of a detector.

        Args:
            instances: MMDetection's ``pred_instances`` with bboxes (N, 4) xyxy, scores (N,), labels (N,) and masks (N
                RLEs, or (N, H, W) bool), in px of the image or of the part of it that was predicted.
            height: Height of the image in px.
            width: Width of the image in px.
            rect_xyxy: (4,) int, the part in px of the image; None for the whole image.

        Raises:
            ValueError: The predictions have no masks, or a mask and the part differ in size.
        """
        if 'masks' not in instances:
            raise ValueError('a detector that predicts masks is needed, but the predictions have none')
        masks = MaskRuns.from_rles(masks_to_rles(instances.masks), height, width, rect_xyxy)
        bboxes, scores, labels = (instances[key].detach().cpu().numpy() for key in ('bboxes', 'scores', 'labels'))
        origin = (0, 0) if rect_xyxy is None else rect_xyxy[:2]
        bboxes = (bboxes.reshape(-1, 4) + np.tile(origin, 2)).astype(np.float32)
        return cls(masks, bboxes, scores.astype(np.float32), labels.astype(np.int64))

    @classmethod
    def from_rles(cls, rles: Sequence[dict], boxes_xywh: np.ndarray, labels: np.ndarray, height: int, width: int,
                  scores: np.ndarray | None = None) -> 'Cells':
        """Makes cells from arrays of an annotation file or of predictions.

        Args:
            rles: N compressed COCO RLEs of the size of the image.
            boxes_xywh: (N, 4) float in px.
            labels: (N,) int, the class of each cell, from 0.
            height: Height of the image in px.
            width: Width of the image in px.
            scores: (N,) float; None for true cells, all of which get the score 1, so that all count the same.
        """
        bboxes_xyxy = np.array(boxes_xywh, float).reshape(-1, 4)
        bboxes_xyxy[:, 2:] += bboxes_xyxy[:, :2]
        scores = np.ones(len(rles)) if scores is None else scores
        return cls(MaskRuns.from_rles(rles, height, width), bboxes_xyxy.astype(np.float32),
                   np.asarray(scores, np.float32), np.asarray(labels, np.int64))

    @classmethod
    def empty(cls, height: int, width: int) -> 'Cells':
        """Returns zero cells of an image of the given height and width in px."""
        return cls(MaskRuns.from_rles([], height, width), np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                   np.zeros(0, np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence['Cells']) -> 'Cells':
        """Returns the cells of one or more parts, which must lie in the same image."""
        return cls(MaskRuns.concatenate([part.masks for part in parts]),
                   *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)[1:]))

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> 'Cells':
        """Returns the cells that an index of (K,) integers or (N,) bool names, in the order of the index."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        return Cells(self.masks.take(index), self.bboxes_xyxy[index], self.scores[index], self.labels[index])

    def best_first(self) -> 'Cells':
        """Returns the cells from the highest to the lowest score; those of equal scores keep their order."""
        return self.take(np.argsort(-self.scores, kind='stable'))

    def to_instances(self) -> InstanceData:
        """Returns the cells in MMDetection's form, on the CPU: bboxes, scores, labels, and masks as N RLEs."""
        return InstanceData(bboxes=torch.from_numpy(self.bboxes_xyxy), scores=torch.from_numpy(self.scores),
                            labels=torch.from_numpy(self.labels), masks=self.masks.to_rles())


def select_cells(cells: Cells, min_score: float = 0., labels: Sequence[int] | None = None, min_area_px: int = 1,
                 drop_border: bool = False) -> Cells:
    """Returns the cells that have a pixel and pass all filters.

    Args:
        cells: Cells of one image.
        min_score: Smallest score of a cell that is kept.
        labels: Classes that are kept, from 0; None keeps all classes.
        min_area_px: Smallest area, in pixels, of a cell that is kept.
        drop_border: Whether cells that have a pixel in the first or last row or column of the image are left out.
    """
    # NumPy would round the limit to the precision of the scores.
    keep = cells.scores.astype(np.float64) >= min_score
    if labels is not None:
        keep &= np.isin(cells.labels, labels)
    cells = cells.take(keep)
    keep = cells.masks.areas_px >= max(min_area_px, 1)
    if drop_border:
        left, top, right, bottom = cells.masks.extents_xyxy.T
        keep &= (left > 0) & (top > 0) & (right < cells.masks.width) & (bottom < cells.masks.height)
    return cells.take(keep)
