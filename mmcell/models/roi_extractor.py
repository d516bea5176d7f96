"""RoI extractor that computes the features of many RoIs in parts."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

# Number of RoIs whose features are computed at once. The features of 1,000 RoIs (256 channels of 14x14) take 200 MB,
# and the stock class holds them twice.
_BATCH_ROIS = 128


@MODELS.register_module()
class CellRoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` that holds the features of all RoIs only once in evaluation mode.

    The values equal those of the stock class bit for bit.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Returns features (N, C, h, w) of RoIs (N, 5: index of the image in the batch, box xyxy in px)."""
        if self.training or torch.is_grad_enabled() or len(rois) <= _BATCH_ROIS:
            return super().forward(feats, rois, roi_scale_factor)
        first = super().forward(feats, rois[:_BATCH_ROIS], roi_scale_factor)
        features = first.new_empty(len(rois), *first.shape[1:])
        features[:_BATCH_ROIS] = first
        # split() gives views, so that the features of each part are written into their place in ``features``.
        for part_rois, part_features in zip(rois.split(_BATCH_ROIS)[1:], features.split(_BATCH_ROIS)[1:], strict=True):
            part_features.copy_(super().forward(feats, part_rois, roi_scale_factor))
        return features
