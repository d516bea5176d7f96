"""Box head whose detections can have one class each, with the probability that there is a cell at all as the score."""

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.errors import MmcellError


def keep_best_class(cls_score: Tensor) -> Tensor:
    """Returns logits of which only the most probable class and the background are left.

    The class gets the probability of all classes together: from the probabilities .4, .3 and .3 of two classes and the
    background it becomes .7, 0 and .3.

    Args:
        cls_score: Logits (N, classes + 1); the last column is the background.

    Returns:
        Logits of the same shape, whose softmax gives these probabilities.
    """
    logs = F.log_softmax(cls_score, dim=-1)
    kept = torch.full_like(logs, -torch.inf)
    best = logs[:, :-1].argmax(dim=-1, keepdim=True)
    kept.scatter_(-1, best, logs[:, :-1].logsumexp(dim=-1, keepdim=True))
    kept[:, -1] = logs[:, -1]
    return kept


@MODELS.register_module()
class CellBBoxHead(Shared2FCBBoxHead):
    """``Shared2FCBBoxHead`` that can give each box one class.

    The stock head makes one detection of a box for each class that reaches the lowest score, with the probability of
    this class as its score. This is best for AP, which ranks the cells of each class by themselves. Where each cell is
    counted once (label maps, PQ, AJI, Dice, F_d), a cell whose class is in doubt gets two detections with low scores.
    With ``test_cfg.rcnn.one_class_per_box=True``, each box gets its most probable class, and as its score the
    probability that it is a cell of any class (:func:`keep_best_class`). Combine it with
    ``test_cfg.rcnn.nms.class_agnostic=True``, so that neighbouring boxes of one cell with different classes do not stay
    either. The training is the same as with the stock head.

    Args: The arguments of ``Shared2FCBBoxHead``.

    Raises:
        MmcellError: ``one_class_per_box`` is set, but the loss has scores of another form, as ``SeesawLoss``.
    """

    # The settings in test_cfg.rcnn that this head reads and MMDetection's do not.
    test_settings = frozenset({'one_class_per_box'})

    def _predict_by_feat_single(self, roi: Tensor, cls_score: Tensor, bbox_pred: Tensor, img_meta: dict,
                                rescale: bool = False, rcnn_test_cfg: ConfigDict | None = None) -> InstanceData:
        if rcnn_test_cfg is not None and rcnn_test_cfg.get('one_class_per_box'):
            if self.custom_cls_channels:
                raise MmcellError('test_cfg.rcnn.one_class_per_box needs the softmax over classes and background, '
                                  f'which {type(self.loss_cls).__name__} does not have: leave one of them out')
            cls_score = keep_best_class(cls_score)
        return super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg)
