"""RoI heads that predict masks only where a mask is wanted, and only once per box.

The mask head takes most of the time of a prediction on the CPU, and a model returns many detections with low scores.
"""

from typing import Any

import numpy as np
import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.boxes.overlapping import iterate_overlapping
from mmcell.errors import MmcellError
from mmcell.masks.suppression import MaskNMS
from mmcell.models.mask_head import mask_nms_of

# In px of the original image, a mask reaches beyond its box by at most 1 px, half a value of the mask, and a margin of
# one value of the mask.
# Mask heads have at least 14 values per side: 1/28 + 1/14 of the side of the box is less than the share here.
_MARGIN_PX, _MARGIN_SHARE = 4, .15


def leave_out_unwanted(detections: InstanceData, meta: dict, scale_xy: tuple[float, float] = (1., 1.),
                       mask_nms: MaskNMS | None = None) -> InstanceData:
    """Returns the detections that are wanted; the others need no mask.

    Args:
        detections: N detections with bboxes (N, 4) xyxy, scores (N,) and labels (N,).
        meta: Meta information of the image. ``min_score`` is the lowest wanted score; without it, all detections are
            wanted. With ``unshared_xyxy``, detections below ``min_score`` are wanted as well, unless their mask lies
            inside this box. It has 4 values xyxy in px of the original image. Tiles set it to the area that no other
            tile sees: elsewhere a detection with a low score takes part in the decisions at seams.
        scale_xy: px of the boxes divided by px of the original image, along x and y.
        mask_nms: The non-maximum suppression of masks that follows. With ``unshared_xyxy``, detections that may decide,
            directly or through others, whether it drops one of those that take part at seams are wanted as well.
    """
    if not meta.get('min_score'):
        return detections
    # In float64, because the limit may have no float32 value. Filters of cells compare in the same way.
    unwanted = detections.scores.double() < meta['min_score']
    if 'unshared_xyxy' in meta:
        begins, ends = (detections.bboxes / detections.bboxes.new_tensor(scale_xy).repeat(2)).split(2, dim=1)
        margins = _MARGIN_PX + _MARGIN_SHARE * (ends - begins)
        area = detections.bboxes.new_tensor(meta['unshared_xyxy'])
        is_inside = ((begins - margins >= area[:2]) & (ends + margins <= area[2:])).all(dim=1)
        if mask_nms is not None:
            reach_xyxy = torch.cat([begins - margins, ends + margins], dim=1)[unwanted]
            is_inside[unwanted] &= ~_may_drop_any(~is_inside[unwanted], reach_xyxy, detections[unwanted], mask_nms)
        unwanted &= is_inside
    return detections[~unwanted]


def _may_drop_any(chosen: Tensor, reach_xyxy: Tensor, detections: InstanceData, nms: MaskNMS) -> Tensor:
    """Says which of N detections are chosen ones, or may have a say in whether NMS of masks drops a chosen one.

    Args:
        chosen: (N,) bool.
        reach_xyxy: (N, 4), the boxes outside of which the masks have no pixel.
        detections: The N detections.
        nms: The settings of NMS.

    Returns:
        (N,) bool.
    """
    # The detections 0 to 3, best first, lie in a row, and each overlaps the next one. If 2 is chosen, 1 may drop it,
    # and 0 may drop 1, in which case 2 stays. 3 has a lower score and drops none of them: [True, True, True, False].
    has_say, boxes = chosen.cpu().numpy(), reach_xyxy.cpu().numpy().astype(np.float64)
    groups = np.zeros(len(boxes), np.int64) if nms.class_agnostic else detections.labels.cpu().numpy()
    ranks = np.empty(len(boxes), np.int64)
    ranks[np.argsort(-detections.scores.cpu().numpy(), kind='stable')] = np.arange(len(boxes))
    pairs = [np.stack(pair)[:, ranks[pair[0]] < ranks[pair[1]]]
             for *pair, _ in iterate_overlapping(boxes, groups, boxes, groups)]
    winners, losers = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
    while not has_say[deciding := winners[has_say[losers]]].all():
        has_say[deciding] = True
    return torch.from_numpy(has_say).to(chosen.device)


class _FewerMasks:
    """The methods that both RoI heads change."""

    def init_mask_head(self, *args: Any, **kwargs: Any) -> None:
        """Builds the mask heads; the arguments are those of the stock method.

        Raises:
            MmcellError: ``mask_nms`` cannot be used with these heads or settings. It is said here, before a training.
        """
        super().init_mask_head(*args, **kwargs)
        if mask_nms_of(self.test_cfg) is not None:
            self._refuse_head_without('mask_nms', 'mask_head', 'CellMaskHead')

    def init_bbox_head(self, *args: Any, **kwargs: Any) -> None:
        """Builds the box heads; the arguments are those of the stock method.

        Raises:
            MmcellError: ``one_class_per_box`` cannot be used with these heads. It is said here, before a training.
        """
        super().init_bbox_head(*args, **kwargs)
        if (self.test_cfg or {}).get('one_class_per_box'):
            self._refuse_head_without('one_class_per_box', 'bbox_head', 'CellBBoxHead')

    def _refuse_head_without(self, setting: str, name: str, right_type: str) -> None:
        head = getattr(self, name)
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        if setting not in getattr(head, 'test_settings', ()):
            raise MmcellError(f'test_cfg.rcnn.{setting} needs a {name} of type {right_type}, got '
                              f'{type(head).__name__}. If the weights fit, give '
                              f'--cfg-options model.roi_head.{name}.type={right_type}, too')

    def predict_mask(self, x: tuple[Tensor, ...], batch_img_metas: list[dict], results_list: list[InstanceData],
                     rescale: bool = False) -> list[InstanceData]:
        """Adds masks to the wanted detections, see :func:`leave_out_unwanted`; the others are left out.

        The arguments are those of the stock method. With ``rescale``, boxes are in px of the input of the network.
        """
        mask_nms = mask_nms_of(self.test_cfg)
        results_list = [
            leave_out_unwanted(detections, meta, meta['scale_factor'] if rescale else (1., 1.), mask_nms)
            for detections, meta in zip(results_list, batch_img_metas, strict=True)]
        return super().predict_mask(x, batch_img_metas, results_list, rescale=rescale)

    def _mask_forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        # Detections of several classes can have the same box: always in Cascade Mask R-CNN, whose boxes do not depend
        # on the class. Of 3 RoIs [a, b, a], masks are predicted for [a, b], and the rows [0, 1, 0] are returned.
        if self.training or kwargs:
            return super()._mask_forward(*args, **kwargs)
        rois = args[-1]
        distinct, rows = rois.unique(dim=0, return_inverse=True)
        if len(distinct) == len(rois):
            return super()._mask_forward(*args)
        return dict(mask_preds=super()._mask_forward(*args[:-1], distinct)['mask_preds'][rows])


@MODELS.register_module()
class CellRoIHead(_FewerMasks, StandardRoIHead):
    """``StandardRoIHead`` that predicts masks only for wanted detections, and once per box.

    Args: The arguments of ``StandardRoIHead``.
    """


@MODELS.register_module()
class CellCascadeRoIHead(_FewerMasks, CascadeRoIHead):
    """``CascadeRoIHead`` that predicts masks only for wanted detections, and once per box.

    Args: The arguments of ``CascadeRoIHead``.
    """
