"""MaxIoUAssigner that computes only the overlaps of priors and boxes that are close, with the same result."""

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
    """Gives the assignments of ``MaxIoUAssigner`` bit for bit, at a cost proportional to the number of close pairs.

    The stock class computes the IoU of every ground truth with every prior, a matrix of K x N, with several temporary
    tensors of that size. This class leaves out pairs that cannot overlap, because their IoU is known to be 0. All other
    IoUs come from the same calculator, pair by pair, so that rounding and ties are the same. Of equal IoUs the first is
    taken, as ``Tensor.max`` does.

    The stock method itself is called in two cases: where the results might differ (a calculator other than
    ``BboxOverlaps2D``, ``perm_repeat_gt_cfg``, boxes that are not (n, 4), priors or boxes with a gradient, coordinates
    that are not finite or exceed 1e8, areas that overflow, only ignored priors), and where it is faster (up to a dozen
    ground truths, or few priors). Boxes as large as the image do not need the stock method: if every pair overlaps,
    this class takes about the same time, but only a small part of the memory.
    """

    def assign(self, pred_instances: InstanceData, gt_instances: InstanceData,
               gt_instances_ignore: InstanceData | None = None, **kwargs) -> AssignResult:
        """Assigns a ground truth, background or nothing to each prior.

        Args:
            pred_instances: Instances with ``priors``, (N, 4) xyxy in px.
            gt_instances: Instances with ``bboxes`` (K, 4) xyxy in px and ``labels`` (K,).
            gt_instances_ignore: Instances with ``bboxes`` (I, 4); priors inside these boxes are neither positive nor
                negative.
            kwargs: Not used, as in the stock class.

        Returns:
            A result with ``gt_inds`` (N,) int64, the number of the assigned ground truth from 1, 0 for background, and
            -1 for neither; ``max_overlaps`` (N,), the greatest IoU of each prior; and ``labels`` (N,) int64, -1 where
            no ground truth is assigned.
        """
        result = None
        priors, boxes = get_box_tensor(pred_instances.priors), get_box_tensor(gt_instances.bboxes)
        ignore_boxes = boxes[:0]
        if self.ignore_iof_thr > 0 and gt_instances_ignore is not None and gt_instances_ignore.bboxes.numel():
            ignore_boxes = get_box_tensor(gt_instances_ignore.bboxes)
        if self._search_pays(len(priors), len(boxes)) and self._leaves_out_zeros(priors, boxes, ignore_boxes):
            # With more ground truths than gpu_assign_thr, the stock class computes on the CPU as well. There, a
            # calculator with fp16 returns another dtype.
            device = 'cpu' if 0 < self.gpu_assign_thr < len(boxes) else priors.device
            result = self._assign_near(priors.to(device), boxes.to(device), ignore_boxes.to(device),
                                       gt_instances.labels.to(device))
        if result is None:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        return AssignResult(len(boxes), *(values.to(priors.device) for values in result))

    def _search_pays(self, n_priors: int, n_boxes: int) -> bool:
        # Measured on one CPU core: the search for close pairs takes the time in which the stock class compares 12 boxes
        # with all priors, and 2**16 further pairs.
        return n_priors * (n_boxes - 12) > 1 << 16

    def _leaves_out_zeros(self, priors: Tensor, *box_tensors: Tensor) -> bool:
        """Returns whether IoU and IoF are certainly 0 for boxes that do not overlap, and not NaN for all others."""
        if type(self.iou_calculator) is not BboxOverlaps2D or self.perm_repeat_gt_cfg is not None:
            return False
        if not all(boxes.shape[1:] == (4,) and boxes.is_floating_point() and not boxes.requires_grad
                   for boxes in (priors, *box_tensors)):
            return False
        priors, *box_tensors = (self._as_compared(boxes) for boxes in (priors, *box_tensors))
        conditions = [(boxes.abs() < MAX_COORDINATE_PX).all() for boxes in (priors, *box_tensors)]
        conditions += [~_areas(priors).isnan().any(), *(_areas(boxes).isfinite().all() for boxes in box_tensors)]
        return bool(torch.stack(conditions).all())  # a device is waited for once

    def _as_compared(self, boxes: Tensor) -> Tensor:
        """Returns the boxes in the precision in which the calculator compares them."""
        return cast_tensor_type(boxes, self.iou_calculator.scale, self.iou_calculator.dtype)

    def _assign_near(self, priors: Tensor, boxes: Tensor, ignore_boxes: Tensor,
                     labels: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Returns gt_inds, max_overlaps and labels, (N,) each; or None if all priors are ignored."""
        if not len(ignore_boxes):
            matches = self._match(priors, boxes)
            max_overlaps, best_box, low_quality = matches.max_overlaps, matches.best_box, matches.low_quality
        else:
            kept = (~self._are_ignored(priors, ignore_boxes)).nonzero().flatten()
            if not len(kept):
                return None
            matches = self._match(priors[kept], boxes)
            # The stock class gives ignored priors the overlap -1 with every ground truth. Box 0 is then the first
            # maximum, hence their best box.
            max_overlaps = matches.max_overlaps.new_full((len(priors),), -1).index_copy_(0, kept, matches.max_overlaps)
            best_box, low_quality = (kept.new_zeros(len(priors)).index_copy_(0, kept, values)
                                     for values in (matches.best_box, matches.low_quality))
        gt_inds = self._gt_inds(max_overlaps, best_box, low_quality)
        prior_labels = torch.where(gt_inds > 0, labels.long()[(gt_inds - 1).clamp(min=0)], -1)
        return gt_inds, max_overlaps, prior_labels

    def _match(self, priors: Tensor, boxes: Tensor) -> '_Matches':
        """Finds the maxima of the overlaps of M priors and K boxes."""
        matches = _Matches(len(priors), len(boxes), self._overlaps(boxes[:1].T, priors[:1].T))
        for batch in self._near_overlaps(priors, boxes):
            matches.add(*batch, self.min_pos_iou, self.gt_max_assign_all)
        matches.add_boxes_without_overlap(self.min_pos_iou, self.gt_max_assign_all)
        return matches

    def _gt_inds(self, max_overlaps: Tensor, best_box: Tensor, low_quality: Tensor) -> Tensor:
        """Applies the thresholds of the stock class to all priors (N,), in the same order, and returns gt_inds (N,)."""
        gt_inds = best_box.new_full(best_box.shape, -1)
        if isinstance(self.neg_iou_thr, float):
            gt_inds[(max_overlaps >= 0) & (max_overlaps < self.neg_iou_thr)] = 0
        elif isinstance(self.neg_iou_thr, tuple):
            lowest, highest = self.neg_iou_thr
            gt_inds[(max_overlaps >= lowest) & (max_overlaps < highest)] = 0
        gt_inds = torch.where(max_overlaps >= self.pos_iou_thr, best_box + 1, gt_inds)
        return torch.where(low_quality > 0, low_quality, gt_inds) if self.match_low_quality else gt_inds

    def _are_ignored(self, priors: Tensor, ignore_boxes: Tensor) -> Tensor:
        """Returns for each prior (N,) bool whether its IoF with any of the boxes is above ``ignore_iof_thr``."""
        ignored = torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
        for prior_index, _, iofs in self._near_overlaps(priors, ignore_boxes, 'iof'):
            ignored[prior_index[iofs > self.ignore_iof_thr]] = True
        return ignored

    def _near_overlaps(self, priors: Tensor, boxes: Tensor,
                       mode: str = 'iou') -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields prior_index, box_index and overlap, (P,) each, of all pairs whose overlap may be greater than 0."""
        # Coordinates are read and written in columns, which is three times as fast as in rows.
        prior_columns, box_columns = priors.T.contiguous(), boxes.T.contiguous()
        for prior_index, box_index in iterate_near_pairs(self._as_compared(priors), self._as_compared(boxes)):
            yield prior_index, box_index, self._overlaps(
                box_columns.index_select(1, box_index), prior_columns.index_select(1, prior_index), mode)

    def _overlaps(self, box_columns: Tensor, prior_columns: Tensor, mode: str = 'iou') -> Tensor:
        """Returns overlaps (P,) of boxes (4, P) with priors (4, P); the stock class passes them in the same order."""
        pair = box_columns.T, prior_columns.T
        if mode == 'iof' and self.ignore_wrt_candidates:
            pair = pair[::-1]
        return self.iou_calculator(*pair, mode=mode, is_aligned=True)


class _Matches:
    """Maxima of the columns and rows of the K x N matrix of IoUs, gathered from batches of its positive entries.

    A batch contains all positive entries of its boxes, and boxes come in ascending order over all batches.

    Example with 4 priors, 2 boxes and min_pos_iou = .3. The pairs (prior, box, IoU) are (0, 0, .6), (1, 0, .4),
    (1, 1, .4) and (2, 1, .2). Then max_overlaps = [.6, .4, .2, 0] and best_box = [0, 0, 1, 0]: for prior 1, box 0 is
    the first of two equal boxes, and prior 3 has no box. box_max = [.6, .4] are the greatest IoUs of the boxes: box 0
    takes prior 0 and box 1 takes prior 1. Hence low_quality = [1, 2, 0, 0], with boxes numbered from 1.

    Attributes:
        max_overlaps: Greatest IoU (N,) of each prior.
        box_max: Greatest IoU (K,) of each box so far.
        best_box: Index (N,) int64 of the first box with which the prior has its greatest IoU; 0 where this IoU is 0.
        low_quality: Number (N,) int64, from 1, of the last box that takes the prior as its best prior; 0 for no box.
    """

    def __init__(self, n_priors: int, n_boxes: int, like: Tensor) -> None:
        self.max_overlaps = like.new_zeros(n_priors)
        self.box_max = like.new_zeros(n_boxes)
        self.best_box = torch.zeros(n_priors, dtype=torch.int64, device=like.device)
        self.low_quality = torch.zeros_like(self.best_box)

    def add(self, prior_index: Tensor, box_index: Tensor, ious: Tensor, min_pos_iou: float, all_ties: bool) -> None:
        """Adds a batch of P pairs: their indices (P,) and IoUs (P,).

        A box takes its best prior if their IoU is at least ``min_pos_iou``, and with ``all_ties`` all priors with it.
        """
        self._update_best_box(prior_index, box_index, ious)
        self.box_max.scatter_reduce_(0, box_index, ious, 'amax')
        # No IoU equals -1, so that boxes whose greatest IoU is too small take no prior. In the example of the class,
        # the greatest IoUs of the boxes of the four pairs are [.6, .6, .4, .4]; the first and the third pair have them.
        is_high_enough = (self.box_max > 0) & (self.box_max >= min_pos_iou)
        is_best = ious == self.box_max.where(is_high_enough, -1).index_select(0, box_index)
        # Pairs that do not count stay in the tensors with values that change no minimum or maximum: to select the
        # others, a device would be waited for. In the stock class, later boxes overwrite earlier boxes. Here the
        # greatest index is taken.
        if all_ties:
            self.low_quality.scatter_reduce_(0, prior_index, torch.where(is_best, box_index + 1, 0), 'amax')
        else:
            n_priors, n_boxes = len(self.low_quality), len(self.box_max)
            first = prior_index.new_full((n_boxes,), n_priors).scatter_reduce_(
                0, box_index, torch.where(is_best, prior_index, n_priors), 'amin')
            numbers = torch.arange(1, n_boxes + 1, device=first.device)
            self.low_quality.scatter_reduce_(
                0, first.clamp(max=n_priors - 1), torch.where(first < n_priors, numbers, 0), 'amax')

    def _update_best_box(self, prior_index: Tensor, box_index: Tensor, ious: Tensor) -> None:
        # Boxes of later batches have greater indices, so that only a greater IoU can change the best box of a prior. If
        # max_overlaps was [.5, .4] and the batch has the pairs (0, 7, .5), (1, 7, .6) and (1, 8, .6), only prior 1 has
        # risen, and its best box becomes the first with .6, box 7.
        before = self.max_overlaps.clone()
        self.max_overlaps.scatter_reduce_(0, prior_index, ious, 'amax')
        has_risen = self.max_overlaps > before
        is_best = ious == self.max_overlaps.where(has_risen, -1).index_select(0, prior_index)
        # The old value gives way to K, which is greater than all indices, before the minimum is taken.
        n_boxes = len(self.box_max)
        self.best_box.masked_fill_(has_risen, n_boxes)
        self.best_box.scatter_reduce_(0, prior_index, torch.where(is_best, box_index, n_boxes), 'amin')

    def add_boxes_without_overlap(self, min_pos_iou: float, all_ties: bool) -> None:
        """Lets boxes without any overlap, whose IoU is 0 with all priors, take priors; called after the last batch.

        Only the last of these boxes counts, because later boxes overwrite earlier boxes.
        """
        if min_pos_iou <= 0:
            numbers = torch.arange(1, len(self.box_max) + 1, device=self.box_max.device)
            last = torch.where(self.box_max == 0, numbers, 0).amax()
            takes = slice(None) if all_ties else slice(1)
            self.low_quality[takes] = self.low_quality[takes].maximum(last)


def _areas(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
