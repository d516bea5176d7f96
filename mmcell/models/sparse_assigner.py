"""MaxIoUAssigner that computes the overlaps of neighbours alone, with the same result."""

from collections.abc import Iterator

import torch
from mmdet.models.task_modules.assigners import AssignResult, BboxOverlaps2D, MaxIoUAssigner
from mmdet.models.task_modules.assigners.iou2d_calculator import cast_tensor_type
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.boxes.pairs import MAX_COORDINATE_PX, iterate_near_pairs


@TASK_UTILS.register_module()
class SparseMaxIoUAssigner(MaxIoUAssigner):
    """Gives the assignments of ``MaxIoUAssigner`` bit for bit, at a cost in proportion to the pairs that overlap.

    The stock class computes the IoU of every ground truth with every prior, K x N with several temporaries of that
    size. Here pairs that cannot overlap are left out: their IoU is known to be 0. Every other IoU comes from the same
    calculator, pair by pair, so that it rounds, and ties, alike; among ties the first is taken, as ``Tensor.max`` does.

    The stock method itself is used where that argument does not hold (a calculator other than ``BboxOverlaps2D``,
    ``perm_repeat_gt_cfg``, boxes that are not (n, 4), priors or boxes with a gradient, coordinates that are not finite
    or beyond 1e8, areas that overflow, nothing but ignored priors) or does not pay (a dozen ground truths, or few
    priors). Boxes as large as the image are no such case: when every pair overlaps, this takes about the time of the
    stock method and still a small part of its memory.
    """

    def assign(self, pred_instances: InstanceData, gt_instances: InstanceData,
               gt_instances_ignore: InstanceData | None = None, **kwargs) -> AssignResult:
        """Assigns a ground truth, background or nothing to each prior.

        Args:
            pred_instances: with ``priors``, (N, 4) xyxy in px.
            gt_instances: with ``bboxes`` (K, 4) and ``labels`` (K,).
            gt_instances_ignore: with ``bboxes``, whose surroundings are neither positive nor negative.
            kwargs: not used, as in the stock class.

        Returns:
            ``gt_inds`` (N,) int64: the ground truth from 1 on, 0 for background, -1 for neither; ``max_overlaps`` (N,);
            ``labels`` (N,) int64, -1 where there is no ground truth.
        """
        result = None
        priors, boxes = get_box_tensor(pred_instances.priors), get_box_tensor(gt_instances.bboxes)
        ignore_boxes = boxes[:0]
        if self.ignore_iof_thr > 0 and gt_instances_ignore is not None and gt_instances_ignore.bboxes.numel():
            ignore_boxes = get_box_tensor(gt_instances_ignore.bboxes)
        if self._search_pays(len(priors), len(boxes)) and self._leaves_out_zeros(priors, boxes, ignore_boxes):
            # The stock class moves to the CPU too, and fp16 calculators give another dtype there.
            device = 'cpu' if 0 < self.gpu_assign_thr < len(boxes) else priors.device
            result = self._assign_near(priors.to(device), boxes.to(device), ignore_boxes.to(device),
                                       gt_instances.labels.to(device))
        if result is None:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        return AssignResult(len(boxes), *(values.to(priors.device) for values in result))

    def _search_pays(self, n_priors: int, n_boxes: int) -> bool:
        # Measured on one CPU core: the search for near pairs costs as much as 12 boxes and 2**16 pairs in stock.
        return n_priors * (n_boxes - 12) > 1 << 16

    def _leaves_out_zeros(self, priors: Tensor, *box_tensors: Tensor) -> bool:
        """Whether the IoU and IoF of boxes that do not overlap is 0, and that of others a number."""
        if type(self.iou_calculator) is not BboxOverlaps2D or self.perm_repeat_gt_cfg is not None:
            return False
        if not all(boxes.shape[1:] == (4,) and boxes.is_floating_point() and not boxes.requires_grad
                   for boxes in (priors, *box_tensors)):
            return False
        priors, *box_tensors = (self._as_compared(boxes) for boxes in (priors, *box_tensors))
        return (all(bool((boxes.abs() < MAX_COORDINATE_PX).all()) for boxes in (priors, *box_tensors))
                and not _areas(priors).isnan().any() and all(bool(_areas(b).isfinite().all()) for b in box_tensors))

    def _as_compared(self, boxes: Tensor) -> Tensor:
        """The boxes in the precision in which the calculator compares them."""
        return cast_tensor_type(boxes, self.iou_calculator.scale, self.iou_calculator.dtype)

    def _assign_near(self, priors: Tensor, boxes: Tensor, ignore_boxes: Tensor,
                     labels: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """gt_inds, max_overlaps and labels (N,) each; None where all priors are ignored."""
        kept = (~self._are_ignored(priors, ignore_boxes)).nonzero().flatten()
        if not len(kept):
            return None
        matches = _Matches(len(kept), len(boxes), self._overlaps(boxes[:1].T, priors[:1].T))
        for pairs in self._near_overlaps(priors[kept], boxes):
            matches.add(*pairs, self.min_pos_iou, self.gt_max_assign_all)
        matches.add_boxes_without_overlap(self.min_pos_iou, self.gt_max_assign_all)
        # Ignored priors have -1 with every ground truth, and the first is the greatest.
        max_overlaps = matches.max_overlaps.new_full((len(priors),), -1).index_copy_(0, kept, matches.max_overlaps)
        best_box, low_quality = (kept.new_zeros(len(priors)).index_copy_(0, kept, values)
                                 for values in (matches.best_box, matches.low_quality))
        gt_inds = self._gt_inds(max_overlaps, best_box, low_quality)
        prior_labels = gt_inds.new_full(gt_inds.shape, -1)
        positive = (gt_inds > 0).nonzero().flatten()
        prior_labels[positive] = labels[gt_inds[positive] - 1]
        return gt_inds, max_overlaps, prior_labels

    def _gt_inds(self, max_overlaps: Tensor, best_box: Tensor, low_quality: Tensor) -> Tensor:
        """The thresholds of the stock class, step by step, for all priors (N,)."""
        gt_inds = best_box.new_full(best_box.shape, -1)
        if isinstance(self.neg_iou_thr, float):
            gt_inds[(max_overlaps >= 0) & (max_overlaps < self.neg_iou_thr)] = 0
        elif isinstance(self.neg_iou_thr, tuple):
            lowest, highest = self.neg_iou_thr
            gt_inds[(max_overlaps >= lowest) & (max_overlaps < highest)] = 0
        gt_inds = torch.where(max_overlaps >= self.pos_iou_thr, best_box + 1, gt_inds)
        return torch.where(low_quality > 0, low_quality, gt_inds) if self.match_low_quality else gt_inds

    def _are_ignored(self, priors: Tensor, ignore_boxes: Tensor) -> Tensor:
        """Whether the IoF of priors (N,) with one of the boxes is above the threshold."""
        ignored = torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
        for prior_index, _, iofs in self._near_overlaps(priors, ignore_boxes, 'iof'):
            ignored[prior_index[iofs > self.ignore_iof_thr]] = True
        return ignored

    def _near_overlaps(self, priors: Tensor, boxes: Tensor,
                       mode: str = 'iou') -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """prior_index, box_index and overlap (P,) of the pairs that are not sure to have overlap 0."""
        # Coordinates are read and written in columns: three times as fast as in rows.
        prior_columns, box_columns = priors.T.contiguous(), boxes.T.contiguous()
        for prior_index, box_index in iterate_near_pairs(self._as_compared(priors), self._as_compared(boxes)):
            yield prior_index, box_index, self._overlaps(
                box_columns.index_select(1, box_index), prior_columns.index_select(1, prior_index), mode)

    def _overlaps(self, box_columns: Tensor, prior_columns: Tensor, mode: str = 'iou') -> Tensor:
        """Overlaps (P,) of boxes (4, P) with priors (4, P), in the order of arguments of the stock class."""
        pair = box_columns.T, prior_columns.T
        if mode == 'iof' and self.ignore_wrt_candidates:
            pair = pair[::-1]
        return self.iou_calculator(*pair, mode=mode, is_aligned=True)


class _Matches:
    """What the columns and rows of the K x N matrix of IoU say, gathered from batches of its entries.

    A batch holds all entries above 0 of the boxes in it, and the boxes come in ascending order.

    Attributes:
        max_overlaps: (N,) greatest IoU of each prior.
        best_box: (N,) int64, the first box that has it; 0 where it is 0.
        low_quality: (N,) int64, the last box, from 1 on, that takes the prior as its own best; 0 where none does.
    """

    def __init__(self, n_priors: int, n_boxes: int, like: Tensor) -> None:
        self.max_overlaps = like.new_zeros(n_priors)
        self.box_max = like.new_zeros(n_boxes)
        self.best_box = torch.zeros(n_priors, dtype=torch.int64, device=like.device)
        self.low_quality = torch.zeros_like(self.best_box)

    def add(self, prior_index: Tensor, box_index: Tensor, ious: Tensor, min_pos_iou: float, all_ties: bool) -> None:
        """Takes in the pairs (P,) of a batch; ``all_ties``: a box takes all its best priors, not only the first."""
        self._update_best_box(prior_index, box_index, ious)
        self.box_max.scatter_reduce_(0, box_index, ious, 'amax')
        takes = (self.box_max > 0) & (self.box_max >= min_pos_iou)
        taken = ious == self.box_max.where(takes, -1).index_select(0, box_index)
        priors, boxes = prior_index[taken], box_index[taken]
        if not all_ties:
            priors = torch.full_like(self.box_max, len(self.best_box), dtype=torch.int64).scatter_reduce_(
                0, boxes, priors, 'amin').index_select(0, boxes)
        # Later boxes overwrite earlier ones: the greatest index wins.
        self.low_quality.scatter_reduce_(0, priors, boxes + 1, 'amax')

    def _update_best_box(self, prior_index: Tensor, box_index: Tensor, ious: Tensor) -> None:
        before = self.max_overlaps.clone()
        self.max_overlaps.scatter_reduce_(0, prior_index, ious, 'amax')
        risen = self.max_overlaps.where(self.max_overlaps > before, -1)
        best = ious == risen.index_select(0, prior_index)
        priors, boxes = prior_index[best], box_index[best]
        self.best_box.index_fill_(0, priors, len(self.box_max))
        self.best_box.scatter_reduce_(0, priors, boxes, 'amin')

    def add_boxes_without_overlap(self, min_pos_iou: float, all_ties: bool) -> None:
        """To be called last: a box whose greatest IoU is 0 ties with every prior, or takes the first one."""
        last = (self.box_max == 0).nonzero().flatten()[-1:] + 1
        if min_pos_iou <= 0 and len(last):
            takes = slice(None) if all_ties else slice(1)
            self.low_quality[takes] = self.low_quality[takes].maximum(last)


def _areas(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
