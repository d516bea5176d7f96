"""Mask heads whose predictions are RLE."""

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.masks.pasting import paste_to_rles

# RoIs whose masks are predicted at once. Up-sampled features of 1,000 RoIs with 256 channels are 800 MB.
_BATCH_ROIS = 64


@MODELS.register_module()
class CellMaskHead(FCNMaskHead):
    """``FCNMaskHead`` that gives each predicted mask as COCO RLE, at the cost of its box.

    The stock head makes a bitmap of the size of the image for each detection: 5 GB for 1,000 detections on
    2500x1987. The pixels are the same. ``pred_instances.masks`` is a list of N dicts with size and counts (str),
    which MMDetection's ``CocoMetric`` takes, too; ``DumpCellResults`` and ``CellVisualizer`` take the place of its
    dump and its visualizer. Cascade's mask heads are of this class as well. In evaluation mode the masks of many RoIs
    are predicted in parts.

    Args: as ``FCNMaskHead``. With ``mask_thr_binary`` of 0 or less, which is for looking at probabilities, masks are
    the stock head's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits (N, classes, 28, 28) of RoI features (N, C, 14, 14); in parts in evaluation mode."""
        if self.training or torch.is_grad_enabled() or not len(x):
            return super().forward(x)
        # On CPUs convolutions take two thirds of the time in this format; logits differ in the sixth digit.
        memory_format = torch.channels_last if x.device.type == 'cpu' else torch.preserve_format
        parts = (part.contiguous(memory_format=memory_format) for part in x.split(_BATCH_ROIS))
        return torch.cat([super(CellMaskHead, self).forward(part) for part in parts])

    def predict_by_feat(self, mask_preds: tuple[Tensor], results_list: list[InstanceData],
                        batch_img_metas: list[dict], rcnn_test_cfg: ConfigDict, rescale: bool = False,
                        activate_map: bool = False) -> list[InstanceData]:
        """Adds the masks to the detections of each image; see the class."""
        results_list = super().predict_by_feat(
            mask_preds, results_list, batch_img_metas, rcnn_test_cfg, rescale=rescale, activate_map=activate_map)
        for results in results_list:
            if len(results) == 0 and rcnn_test_cfg.mask_thr_binary > 0:
                results.masks = []
        return results_list

    def _predict_by_feat_single(self, mask_preds: Tensor, bboxes: Tensor, labels: Tensor, img_meta: dict,
                                rcnn_test_cfg: ConfigDict, rescale: bool = False,
                                activate_map: bool = False) -> list[dict] | Tensor:
        threshold = rcnn_test_cfg.mask_thr_binary
        if threshold <= 0:
            return super()._predict_by_feat_single(
                mask_preds, bboxes, labels, img_meta, rcnn_test_cfg, rescale, activate_map)
        # Cascade averages probabilities before it asks for masks.
        probabilities = mask_preds if activate_map else mask_preds.sigmoid()
        height, width = img_meta['ori_shape'][:2]
        scale_factor = bboxes.new_tensor(img_meta['scale_factor'][:2])
        if rescale:
            # In place, as the caller expects it.
            bboxes /= scale_factor.repeat(2)
        else:
            # Of the precision of the boxes, in which a size can round to another pixel.
            width_factor, height_factor = scale_factor.tolist()
            height, width = (int(np.round(side * factor)) for side, factor in ((height, height_factor),
                                                                               (width, width_factor)))
        classes = 0 if self.class_agnostic else labels
        return paste_to_rles(probabilities[range(len(bboxes)), classes], bboxes, height, width, threshold)
