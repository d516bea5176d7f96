"""Notices when a model returned as many detections as its limit allows, so that cells may be missing."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import nn

from mmcell.models import MaskTTAModel


@dataclass(frozen=True)
class DetectionLimit:
    """How many detections a model returns at most.

    Attributes:
        n_detections: Greatest number of detections per image or tile; 0 if there is no limit.
        setting: Name of the limit in the config.
    """

    n_detections: int
    setting: str

    def scores_at_limit(self, scores_per_tile: Iterable[np.ndarray]) -> np.ndarray:
        """Returns the lowest score of each image or tile that reached the limit, (F,) float32.

        Models return the best scores first: if the lowest score is below the lowest that is wanted, the limit has cut
        off no wanted cell.

        Args:
            scores_per_tile: The scores (n,) of all detections of each image or tile.
        """
        return np.array([scores.min() for scores in scores_per_tile if 0 < self.n_detections <= len(scores)],
                        np.float32)

    def note(self) -> str:
        """Returns the note for the user about images that reached the limit with scores that are wanted."""
        return (f'the model returned {self.n_detections} cells, the most that it may return per image or tile, and all '
                'of them reach --score-thr: more cells are probably missing. Use smaller tiles (--tile), or raise the '
                f'limit with --cfg-options {self.setting}=N, with N above {self.n_detections}')


def find_limit(model: nn.Module, key: str = 'model') -> DetectionLimit:
    """Finds the limit of a detector, possibly with views, but without tiles.

    Args:
        model: The detector.
        key: The key of the config that holds the settings of the detector without views.
    """
    if isinstance(model, MaskTTAModel):
        # The merged views have the limit of the detector inside, unless tta_cfg sets another limit.
        limit = find_limit(model.module, key)
        own = max(model.max_per_img, 0)
        return limit if own == limit.n_detections else DetectionLimit(own, 'tta_model.tta_cfg.max_per_img')
    for holder, name in (('roi_head', 'test_cfg.rcnn.max_per_img'), ('bbox_head', 'test_cfg.max_per_img')):
        test_cfg = getattr(getattr(model, holder, None), 'test_cfg', None)
        if test_cfg is not None:
            return DetectionLimit(max(test_cfg.get('max_per_img', 0), 0), f'{key}.{name}')
    return DetectionLimit(0, '')
