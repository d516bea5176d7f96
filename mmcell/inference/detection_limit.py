"""Notices when a model returned as many detections as its limit allows, so that cells may be missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.structures import InstanceData
from torch import nn

from mmcell.models import MaskTTAModel, TiledDetector


class LimitWatch:
    """Counts the images and tiles for which a model returned as many detections as its limit allows.

    Args:
        detector: Model that :func:`mmcell.inference.detector.load_detector` returned, possibly wrapped for tiles or
            views.
        min_score: Smallest score of a wanted cell. Models return the best scores first: if a detection with a lower
            score is returned, the limit has cut off no wanted cell.

    Attributes:
        limit: Greatest number of detections that the model returns per image or tile; 0 if it has no limit.
        setting: Name of the limit in the config.
        n_full: Number of images and tiles with ``limit`` detections, all of which have at least ``min_score``.
    """

    def __init__(self, detector: nn.Module, min_score: float) -> None:
        self.limit, self.setting = _find_limit(detector)
        self.min_score = min_score
        self.n_full = 0

    def count_if_full(self, instances: InstanceData) -> None:
        """Checks the detections of one image or tile against the limit."""
        if 0 < self.limit <= len(instances) and instances.scores.min() >= self.min_score:
            self.n_full += 1

    @contextmanager
    def watching(self, detector: TiledDetector) -> Iterator[None]:
        """Checks the detections of every tile that the detector predicts within the block."""
        detector.on_tile = self.count_if_full
        try:
            yield
        finally:
            detector.on_tile = None

    def notes(self) -> list[str]:
        """Returns the notes for the user; none if the limit was not reached."""
        return [] if self.n_full == 0 else [
            f'the model returned {self.limit} cells, the most that it may return per image or tile, and all of them '
            'reach --score-thr: more cells are probably missing. Use smaller tiles (--tile), or raise the limit with '
            f'--cfg-options {self.setting}=N, with N above {self.limit}']


def _find_limit(detector: nn.Module) -> tuple[int, str]:
    """Returns the greatest number of detections per image or tile (0: no limit), and the name of the setting."""
    if isinstance(detector, TiledDetector):
        limit, key = _find_limit(detector.detector)
        in_config = 'detector' in (detector.cfg.model if hasattr(detector, 'cfg') else {})
        return limit, key.replace('model.test_cfg', 'model.detector.test_cfg') if in_config else key
    if isinstance(detector, MaskTTAModel):
        # The merged views have the limit of the detector inside, unless tta_cfg sets another limit.
        limit, key = _find_limit(detector.module)
        has_own_limit = detector.max_per_img != limit
        return max(detector.max_per_img, 0), 'tta_model.tta_cfg.max_per_img' if has_own_limit else key
    for holder, key in (('roi_head', 'model.test_cfg.rcnn.max_per_img'), ('bbox_head', 'model.test_cfg.max_per_img')):
        test_cfg = getattr(getattr(detector, holder, None), 'test_cfg', None)
        if test_cfg is not None:
            return max(test_cfg.get('max_per_img', 0), 0), key
    return 0, ''
