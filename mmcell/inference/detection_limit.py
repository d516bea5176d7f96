"""Whether a model found as many cells as it may give, so that others may be missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.structures import InstanceData
from torch import nn

from mmcell.models import MaskTTAModel, TiledDetector


class LimitWatch:
    """Looks at what is found in whole images and in tiles, one after another.

    Args:
        detector: of :func:`mmcell.inference.detector.load_detector`, with tiles and views or without.
        min_score: cells with lower scores are of no interest.

    Attributes:
        limit: most detections of an image or a tile; 0 where there is none.
        setting: its name in the config.
        n_full: images and tiles in which so many cells had ``min_score`` or more.
    """

    def __init__(self, detector: nn.Module, min_score: float) -> None:
        self.limit, self.setting = _limit_of(detector)
        self.min_score = min_score
        self.n_full = 0

    def count_if_full(self, instances: InstanceData) -> None:
        """Looks at all that was found in one image or tile."""
        if 0 < self.limit <= len(instances) and instances.scores.min() >= self.min_score:
            self.n_full += 1

    @contextmanager
    def watching(self, detector: TiledDetector) -> Iterator[None]:
        """Looks at what the detector finds in each tile within the block."""
        detector.on_tile = self.count_if_full
        try:
            yield
        finally:
            detector.on_tile = None

    def notes(self) -> list[str]:
        """What to say of what was seen."""
        return [] if self.n_full == 0 else [
            f'as many cells as the model gives of an image or a tile, {self.limit}, and none below --score-thr: others '
            f'are probably missing; use a smaller --tile, or --cfg-options {self.setting}=N']


def _limit_of(detector: nn.Module) -> tuple[int, str]:
    """The most detections of an image or tile, and which setting says so; 0 for none."""
    if isinstance(detector, TiledDetector):
        limit, key = _limit_of(detector.detector)
        in_config = 'detector' in (detector.cfg.model if hasattr(detector, 'cfg') else {})
        return limit, key.replace('model.test_cfg', 'model.detector.test_cfg') if in_config else key
    if isinstance(detector, MaskTTAModel):
        limit, key = _limit_of(detector.module)
        own = detector.max_per_img != limit
        return max(detector.max_per_img, 0), 'tta_model.tta_cfg.max_per_img' if own else key
    for holder, key in (('roi_head', 'model.test_cfg.rcnn.max_per_img'), ('bbox_head', 'model.test_cfg.max_per_img')):
        test_cfg = getattr(getattr(detector, holder, None), 'test_cfg', None)
        if test_cfg is not None:
            return max(test_cfg.get('max_per_img', 0), 0), key
    return 0, ''
