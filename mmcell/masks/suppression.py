"""Non-maximum suppression of masks, at a cost that depends on the runs of the masks, not on the pixels of the image.

Boxes of long cells that lie diagonally overlap although the cells do not. NMS of boxes therefore loses true cells if it
is strict, and keeps duplicates if it is loose. Masks tell the two cases apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real

import numpy as np

from mmcell.errors import MmcellError
from mmcell.masks.runs import MaskRuns, intersections_px
from mmcell.ragged import split_by_load

# How many runs of masks are compared with the kept masks at a time. Duplicates that are dropped are not compared again,
# and the memory is bounded where very many masks lie on one another.
_RUNS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class MaskNMS:
    """Settings of non-maximum suppression of masks.

    Attributes:
        iou_threshold: A detection is dropped if its mask has a greater IoU than this with the mask of a kept detection
            of a higher score; from 0 to 1.
        class_agnostic: Whether detections of different classes suppress one another.

    Raises:
        MmcellError: A value has the wrong type, or is out of its range.
    """

    iou_threshold: float
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        threshold = self.iou_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise MmcellError(f'mask_nms.iou_threshold must be a number from 0 to 1, got {threshold!r}')
        if not isinstance(self.class_agnostic, bool):
            raise MmcellError(f'mask_nms.class_agnostic must be True or False, got {self.class_agnostic!r}')

    @classmethod
    def from_settings(cls, settings: object) -> 'MaskNMS':
        """Returns the settings that a config holds as a dict.

        Raises:
            MmcellError: It is not a dict with ``iou_threshold``, or has a key that does not exist.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(settings, Mapping) or 'iou_threshold' not in settings or set(settings) - set(known):
            raise MmcellError(f'mask_nms must be a dict with iou_threshold, and no other keys than {known}, got '
                              f'{settings!r}')
        return cls(**settings)


def suppress_masks(masks: MaskRuns, scores: np.ndarray, labels: np.ndarray, nms: MaskNMS) -> np.ndarray:
    """Finds the detections that greedy non-maximum suppression of their masks keeps.

    The detections are looked at from the highest to the lowest score; of equal scores, the first one comes first. A
    detection is dropped if the IoU of its mask with the mask of a kept one exceeds the threshold. A detection never
    drops one of a higher score. Masks without a pixel are kept.

    Args:
        masks: N masks.
        scores: (N,) float.
        labels: (N,) int, the classes.
        nms: The settings.

    Returns:
        The indices of the kept detections, ascending, int64.
    """
    # From here on, index 0 is the best detection. A pair (winner, loser) has winner < loser, and pairs are sorted by
    # the winner: when its pairs are reached, all pairs that might drop the winner itself have been done. With the pairs
    # (0, 1), (1, 2) and (2, 3), 0 drops 1, which can no longer drop 2, which drops 3: the detections 0 and 2 are kept.
    order = np.argsort(-scores, kind='stable')
    masks, labels = masks.take(order), labels[order]
    is_kept = np.ones(len(masks), bool)
    for some in split_by_load(masks.n_runs, _RUNS_AT_ONCE):
        compared = np.flatnonzero(is_kept[:some.stop])
        pair, other, shared_px = intersections_px(masks.take(compared), masks.part(some))
        winners, losers = compared[pair], other + some.start
        unions_px = masks.areas_px[winners] + masks.areas_px[losers] - shared_px
        suppresses = (winners < losers) & (shared_px / unions_px > nms.iou_threshold)
        if not nms.class_agnostic:
            suppresses &= labels[winners] == labels[losers]
        for winner, loser in zip(winners[suppresses].tolist(), losers[suppresses].tolist(), strict=True):
            if is_kept[winner]:
                is_kept[loser] = False
    return np.sort(order[is_kept])
