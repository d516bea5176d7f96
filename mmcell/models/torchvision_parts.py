"""Parts of torchvision's Mask R-CNN that no option of MMDetection or MMPretrain can reproduce."""

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.mask import BaseInstanceMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.masks.runs import MaskRuns
from mmcell.models.mask_head import CellMaskHead
from mmcell.models.sparse_assigner import SparseMaxIoUAssigner

# torchvision's RoIHeads removes boxes with a shorter side (postprocess_detections).
_MIN_SIDE_PX = 1e-2


@TASK_UTILS.register_module()
class TorchvisionAnchorGenerator(AnchorGenerator):
    """``AnchorGenerator`` with torchvision's anchors, bit for bit (``torchvision.models.detection.anchor_utils``).

    - Corners are rounded to whole pixels, halves to the even number: at 32 px and ratio 2 an anchor measures 22x46 px,
      not 22.63x45.25 px.
    - The distance of neighbouring anchors in a level is the side of the padded image divided by the side of the feature
      map, rounded down. This is the stride, except in the last, pooled level: an image that is 96 px wide has two
      columns of anchors 48 px apart there, not 64 px.
    - All anchors are trained, also those in the padding of an image that is smaller than others of its batch.

    The finest level must fill the padded image completely, as it does when images are padded to multiples of 32 px.

    Args: The arguments of ``AnchorGenerator``.
    """

    def gen_single_level_base_anchors(self, *args, **kwargs) -> Tensor:
        """Returns the A anchors of one position, (A, 4) xyxy in px relative to the position."""
        return super().gen_single_level_base_anchors(*args, **kwargs).round()

    def grid_priors(self, featmap_sizes: list[tuple[int, int]], dtype: torch.dtype = torch.float32,
                    device: str | torch.device = 'cuda') -> list[Tensor]:
        """Returns the anchors of each level, (H * W * A, 4) xyxy in px, for feature maps of the sizes (H, W)."""
        height, width = featmap_sizes[0]
        width_px, height_px = width * self.strides[0][0], height * self.strides[0][1]
        # The strides depend on the image, hence a copy: the generator itself must keep its nominal strides.
        fitted = copy(self)
        fitted.strides = [(width_px // w, height_px // h) for h, w in featmap_sizes]
        return super(TorchvisionAnchorGenerator, fitted).grid_priors(featmap_sizes, dtype, device)

    def valid_flags(self, featmap_sizes: list[tuple[int, int]], pad_shape: tuple[int, ...],
                    device: str | torch.device = 'cuda') -> list[Tensor]:
        """Returns for the anchors of each level, (H * W * A,) bool, that they are trained, which is true of all."""
        return [torch.ones(height * width * n_anchors, dtype=torch.bool, device=device)
                for (height, width), n_anchors in zip(featmap_sizes, self.num_base_priors, strict=True)]


@TASK_UTILS.register_module()
class TorchvisionBBoxCoder(DeltaXYWHBBoxCoder):
    """``DeltaXYWHBBoxCoder`` that limits only how much larger than its anchor or proposal a box can be, not how small.

    A side becomes at most 1000 / 16 = 62.5 times as long (``bbox_xform_clip`` of torchvision's ``BoxCoder``). The stock
    class also keeps sides from becoming shorter than 1 / 62.5 of the side of the anchor.

    Args: The arguments of ``DeltaXYWHBBoxCoder``.
    """

    def decode(self, bboxes: Tensor, pred_bboxes: Tensor, max_shape: Sequence[int] | None = None,
               wh_ratio_clip: float = 16 / 1000) -> Tensor:
        """Returns the boxes (N, 4 * classes) xyxy in px for deltas (N, 4 * classes) of anchors or proposals (N, 4).

        The arguments are those of the stock method; ``wh_ratio_clip`` is 1 divided by the greatest enlargement.
        """
        most = (-math.log(wh_ratio_clip) - pred_bboxes.new_tensor(self.means)) / pred_bboxes.new_tensor(self.stds)
        most[:2] = math.inf
        deltas = pred_bboxes.minimum(most.repeat(pred_bboxes.shape[-1] // 4))
        # The clip of the stock method must be greater than 0. With this value, the shortest side is 1e-30 px.
        return super().decode(bboxes, deltas, max_shape, 1e-30)


@TASK_UTILS.register_module()
class TorchvisionAssigner(SparseMaxIoUAssigner):
    """``SparseMaxIoUAssigner`` with the low-quality matches of torchvision's ``Matcher`` (``detection/_utils.py``).

    In both, each ground truth takes its best prior, even if their IoU is below the threshold. MMDetection assigns this
    prior to the ground truth that takes it. torchvision assigns it to the ground truth with which the prior itself has
    its greatest IoU, which may be another one. ``min_pos_iou`` must be positive.

    Args: The arguments of ``SparseMaxIoUAssigner``.
    """

    def _gt_inds(self, max_overlaps: Tensor, best_box: Tensor, low_quality: Tensor) -> Tensor:
        gt_inds = super()._gt_inds(max_overlaps, best_box, low_quality)
        return torch.where(gt_inds > 0, best_box + 1, gt_inds)

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assigns priors by their IoUs (K, N) with the ground truths, whose labels are (K,)."""
        result = super().assign_wrt_overlaps(overlaps, gt_labels)
        if overlaps.numel():
            is_positive = result.gt_inds > 0
            best_box = overlaps.max(dim=0).indices[is_positive]
            result.gt_inds[is_positive] = best_box + 1
            result.labels[is_positive] = gt_labels[best_box]
        return result


@MODELS.register_module()
class TorchvisionMaskHead(CellMaskHead):
    """``CellMaskHead`` with torchvision's targets and torchvision's pasting (``roi_heads`` of its detection models).

    - Targets are the shares of the mask in each bin, from 0 to 1, not rounded to 0 or 1. RoIAlign is applied without
      the half-pixel shift and to at least one pixel (``project_masks_on_boxes``).
    - A predicted mask gets a margin of one value 0, its box is enlarged accordingly and cut off to whole pixels, and
      the mask is resized to this box (``paste_masks_in_image``). In small boxes, masks are larger than MMDetection's.
    - Boxes with a side shorter than .01 px in the image that the network sees get no mask, and are left out.

    Args: The arguments of ``CellMaskHead``.
    """

    def get_targets(self, sampling_results: list[SamplingResult], batch_gt_instances: list[InstanceData],
                    rcnn_train_cfg: ConfigDict) -> Tensor:
        """Returns the targets (N, height, width) of the positive proposals of all images.

        The arguments are those of the stock method.
        """
        targets = [self._targets_of_image(sampled, truth.masks, rcnn_train_cfg.mask_size)
                   for sampled, truth in zip(sampling_results, batch_gt_instances, strict=True)]
        return torch.cat(targets)

    @staticmethod
    def _targets_of_image(sampled: SamplingResult, masks: BaseInstanceMasks,
                          mask_size: int | tuple[int, int]) -> Tensor:
        begins, ends = sampled.pos_priors.split(2, dim=1)
        # crop_and_resize() shifts boxes by half a pixel to the upper left.
        boxes = torch.cat([begins, torch.maximum(ends, begins + 1)], dim=1) + .5
        crops = masks.crop_and_resize(boxes.cpu().numpy(), np.broadcast_to(mask_size, 2), device=boxes.device,
                                      inds=sampled.pos_assigned_gt_inds.cpu().numpy(), binarize=False)
        return boxes.new_tensor(crops.to_ndarray())

    def _predict_by_feat_single(self, mask_preds: Tensor, bboxes: Tensor, *args, **kwargs) -> MaskRuns | Tensor:
        is_small = (bboxes[:, 2:] - bboxes[:, :2] < _MIN_SIDE_PX).any(dim=1)
        mask_preds = mask_preds.masked_fill(is_small[:, None, None, None], -math.inf)
        return super()._predict_by_feat_single(mask_preds, bboxes, *args, **kwargs)

    def paste(self, probabilities: Tensor, bboxes_xyxy: Tensor, height: int, width: int,
              threshold: float) -> MaskRuns:
        """Pastes masks into the enlarged boxes of whole pixels; otherwise as the method of ``CellMaskHead``."""
        begins, ends = bboxes_xyxy.split(2, dim=1)
        half = (ends - begins) * .5 * ((probabilities.shape[-1] + 2) / probabilities.shape[-1])
        center = (ends + begins) * .5
        # The last pixel belongs to the box. A box from 10 to 38 px with a mask of 28x28 values becomes the pixels 9 to
        # 39, and the mask with its margin, 30x30 values, is resized to these 31x31 px.
        whole = torch.cat([(center - half).trunc(), (center + half).trunc() + 1], dim=1)
        return super().paste(F.pad(probabilities, (1, 1, 1, 1)), whole, height, width, threshold)
