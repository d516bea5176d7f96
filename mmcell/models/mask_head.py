"""Mask head that predicts RLEs, and RoI extractor for it; both compute the features of many RoIs in parts."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmcell.errors import MmcellError
from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.pasting import paste_masks
from mmcell.masks.runs import MaskRuns
from mmcell.masks.suppression import MaskNMS, suppress_masks
from mmcell.models.roi_align import roi_align

# Number of RoIs whose masks are predicted at once. For 1,000 RoIs with 256 channels, the upsampled features (28x28,
# float32) would take 800 MB; for 64 RoIs they take 51 MB. The features of 1,000 RoIs (14x14) before that take 200 MB,
# and the stock extractor holds them twice.
_BATCH_ROIS, _BATCH_FEATURES = 64, 128


def mask_nms_of(test_cfg: Mapping | None) -> MaskNMS | None:
    """Returns ``mask_nms`` of ``test_cfg.rcnn``; None if it is not set.

    Raises:
        MmcellError: It has a wrong value or an unknown key, or ``mask_thr_binary`` is not positive, so that there are
            no masks to compare.
    """
    settings = (test_cfg or {}).get('mask_nms')
    if settings is None:
        return None
    if not test_cfg.get('mask_thr_binary', 0) > 0:
        raise MmcellError('test_cfg.rcnn.mask_nms compares masks: mask_thr_binary must be positive, got '
                          f"{test_cfg.get('mask_thr_binary')}")
    return MaskNMS.from_settings(settings)


def add_masks(detections: InstanceData, masks: MaskRuns, nms: MaskNMS | None = None) -> InstanceData:
    """Returns those of N detections that have a pixel and survive NMS of their masks, with their masks as RLEs.

    A detection without a pixel has a box, but no position in it is inside the cell with a probability above the
    threshold. A submission cannot hold it, and evaluation would count it as a spurious cell.

    Args:
        detections: N detections with scores and labels, of one image or tile.
        masks: The N masks.
        nms: Settings of NMS of masks; None for no NMS.
    """
    kept = np.flatnonzero(masks.areas_px)
    if nms is not None:
        scores, labels = (detections[key].cpu().numpy()[kept] for key in ('scores', 'labels'))
        kept = kept[suppress_masks(masks.take(kept), scores, labels, nms)]
    detections = detections[torch.from_numpy(kept).to(detections.scores.device)]
    detections.masks = masks.take(kept).to_rles()
    return detections


@MODELS.register_module()
class CellMaskHead(FCNMaskHead):
    """``FCNMaskHead`` that gives each predicted mask as COCO RLE; memory and time depend on the box, not on the image.

    The stock head makes a bitmap of the size of the image for each detection: 5 GB for 1,000 detections on an image of
    2500x1987 px. The pixels of the masks are the same, and detections whose mask has no pixel are left out.
    ``pred_instances.masks`` is a list of N dictionaries with ``size`` and ``counts`` (str), which MMDetection's
    ``CocoMetric`` accepts; ``DumpCellResults`` and ``CellVisualizer`` replace MMDetection's dump and visualizer, which
    expect bitmaps. In Cascade Mask R-CNN, every stage can have a mask head of this class.

    With ``test_cfg.rcnn.mask_nms``, a dict of the settings of :class:`mmcell.masks.suppression.MaskNMS`, the masks of
    each image undergo non-maximum suppression after that of the boxes, which can then be loose:

        model = dict(test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=.7), mask_nms=dict(iou_threshold=.3))))

    If ``mask_thr_binary`` is 0 or less, the stock head makes the masks, as bitmaps. MMDetection uses negative values to
    get probabilities (times 255) instead of masks.

    Args: The arguments of ``FCNMaskHead``.
    """

    # The settings in test_cfg.rcnn that this head reads and MMDetection's do not; mmcell.settings.unread reports them
    # with other heads.
    test_settings = frozenset({'mask_nms'})

    def forward(self, x: Tensor) -> Tensor:
        """Returns mask logits (N, classes, 28, 28) for RoI features (N, C, 14, 14).

        In evaluation mode, the logits of many RoIs are computed in parts, which takes less memory.
        """
        if self.training or torch.is_grad_enabled() or not len(x):
            return super().forward(x)
        # On CPUs, convolutions take a third less time in this memory format; logits differ in the sixth digit.
        memory_format = torch.channels_last if x.device.type == 'cpu' else torch.preserve_format
        parts = (part.contiguous(memory_format=memory_format) for part in x.split(_BATCH_ROIS))
        return torch.cat([super(CellMaskHead, self).forward(part) for part in parts])

    def get_targets(self, sampling_results: list[SamplingResult], batch_gt_instances: list[InstanceData],
                    rcnn_train_cfg: ConfigDict) -> Tensor:
        """Returns the mask targets (positive proposals of all images, h, w) float32.

        The values are those of the stock method, which computes them on the host. Here label maps are sent to the
        device of the proposals, where the targets are computed and stay.

        The arguments are those of the stock method.
        """
        images = [(sampled.pos_priors, sampled.pos_assigned_gt_inds, instances.masks)
                  for sampled, instances in zip(sampling_results, batch_gt_instances, strict=True)]
        if not all(isinstance(masks, LabelMapMasks) for _, _, masks in images):
            return super().get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        size = _pair(rcnn_train_cfg.mask_size)
        targets = [boxes.new_zeros((0, *size), dtype=torch.float32) for boxes, _, _ in images[:1]]
        for boxes, inds, masks in images:
            if len(boxes):
                inside = torch.stack([boxes[:, 0::2].clamp(0, masks.width), boxes[:, 1::2].clamp(0, masks.height)], 2)
                targets.append(masks.average_in_boxes(inside.flatten(1), inds, size))
        targets = torch.cat(targets)
        return targets if rcnn_train_cfg.get('soft_mask_target', False) else (targets >= .5).float()

    def predict_by_feat(self, mask_preds: tuple[Tensor], results_list: list[InstanceData],
                        batch_img_metas: list[dict], rcnn_test_cfg: ConfigDict, rescale: bool = False,
                        activate_map: bool = False) -> list[InstanceData]:
        """Adds masks to the detections of each image, as RLEs; see :func:`add_masks` for those that are left out.

        The arguments are those of the stock method.

        Raises:
            MmcellError: ``mask_nms`` cannot be used, see :func:`mask_nms_of`.
        """
        nms = mask_nms_of(rcnn_test_cfg)
        results_list = super().predict_by_feat(
            mask_preds, results_list, batch_img_metas, rcnn_test_cfg, rescale=rescale, activate_map=activate_map)
        if rcnn_test_cfg.mask_thr_binary <= 0:
            return results_list
        for index, results in enumerate(results_list):
            masks = results.pop('masks')
            if len(results):
                results_list[index] = add_masks(results, masks, nms)
            else:  # the stock head has made bitmaps
                results.masks = []
        return results_list

    def _predict_by_feat_single(self, mask_preds: Tensor, bboxes: Tensor, labels: Tensor, img_meta: dict,
                                rcnn_test_cfg: ConfigDict, rescale: bool = False,
                                activate_map: bool = False) -> MaskRuns | Tensor:
        threshold = rcnn_test_cfg.mask_thr_binary
        if threshold <= 0:
            return super()._predict_by_feat_single(
                mask_preds, bboxes, labels, img_meta, rcnn_test_cfg, rescale, activate_map)
        # Cascade Mask R-CNN averages the probabilities of its stages first and passes them with activate_map=True.
        probabilities = mask_preds if activate_map else mask_preds.sigmoid()
        height, width = img_meta['ori_shape'][:2]
        scale_factor = bboxes.new_tensor(img_meta['scale_factor'][:2])
        if rescale:
            # In place, because the caller goes on with the same tensor.
            bboxes /= scale_factor.repeat(2)
        else:
            # The factor has the precision of the boxes, as in the stock head. Another precision can round a size to
            # another pixel: 135 * 1.1 is slightly more than 148.5 in float32, but not in float64.
            width, height = (int(np.round(side * factor))
                             for side, factor in zip((width, height), scale_factor.tolist(), strict=True))
        classes = 0 if self.class_agnostic else labels
        return self.paste(probabilities[range(len(bboxes)), classes], bboxes, height, width, threshold)

    def paste(self, probabilities: Tensor, bboxes_xyxy: Tensor, height: int, width: int,
              threshold: float) -> MaskRuns:
        """Resamples masks to the pixels of the image; see :func:`mmcell.masks.pasting.paste_masks`."""
        return paste_masks(probabilities, bboxes_xyxy, height, width, threshold)


@MODELS.register_module()
class CellRoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` that is faster on the CPU, and keeps the features of all RoIs once when it predicts.

    On the CPU, the features come from :func:`mmcell.models.roi_align.roi_align`, whose sums are rounded in another
    order. On other devices they equal those of the stock class bit for bit.

    In mixed precision, boxes keep their float32 values, and features are computed in float32 and rounded once. The
    stock class rounds the boxes to the type of the features: in bfloat16, positions from 512 to 1,024 px are multiples
    of 4 px.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Returns features (N, C, h, w) of RoIs (N, 5: index of the image in the batch, box xyxy in px)."""
        if feats[0].device.type == 'cpu' and all(_averages(layer) for layer in self.roi_layers):
            return self._align(feats, rois, roi_scale_factor)
        dtype = feats[0].dtype
        feats = [level.to(torch.promote_types(dtype, torch.float32)) for level in feats]
        if self.training or torch.is_grad_enabled() or len(rois) <= _BATCH_FEATURES:
            return super().forward(feats, rois, roi_scale_factor).to(dtype)
        first = super().forward(feats, rois[:_BATCH_FEATURES], roi_scale_factor)
        features = first.new_empty((len(rois), *first.shape[1:]), dtype=dtype)
        features[:_BATCH_FEATURES] = first
        for begin in range(_BATCH_FEATURES, len(rois), _BATCH_FEATURES):
            part = slice(begin, begin + _BATCH_FEATURES)
            features[part] = super().forward(feats, rois[part], roi_scale_factor)
        return features

    def _align(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None) -> Tensor:
        rois = rois.float()
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        # RoIs that are not numbers belong to no level. Their features stay 0, as in the stock class.
        features = feats[0].new_zeros(len(rois), *self.roi_layers[0].output_size, self.out_channels).permute(0, 3, 1, 2)
        for level, (layer, level_feats) in enumerate(zip(self.roi_layers, feats, strict=False)):
            # Levels without a RoI get a gradient, too: several processes must agree which parameters have one.
            index = (levels == level).nonzero().flatten()
            features[index] = roi_align(level_feats.float(), rois[index], layer.output_size, layer.spatial_scale,
                                        layer.sampling_ratio, layer.aligned).to(features.dtype)
        return features


def _averages(layer: nn.Module) -> bool:
    return isinstance(layer, RoIAlign) and layer.pool_mode == 'avg'
