"""Measures how well the anchors of an RPN can cover given boxes, before anything is learned.

In training, MMDetection's RPN takes as positive examples all anchors whose IoU with a box is at least .7 and, for each
box, its best anchors if their IoU is at least .3 (Ren et al. 2015, and ``train_cfg.rpn.assigner``). A cell whose best
anchor has an IoU below .3 has no positive example.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator, anchor_inside_flags
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor
from torch.nn.modules.utils import _pair

from mmcell.boxes.pairs import iterate_near_pairs
from mmcell.errors import MmcellError

IOU_THRESHOLDS = .3, .5, .7
SIZE_EDGES_PX = 16, 32, 64


class RecallRow(NamedTuple):
    """Cells of one size or class, and how well anchors cover them; the values are NaN if there is no cell."""

    name: str
    n_cells: int
    recalls: tuple[float, ...]  # for each of IOU_THRESHOLDS, the share (0 to 1) of cells with an anchor of that IoU
    mean_best_iou: float  # 0 to 1


def lay_anchors(generator: AnchorGenerator, pad_shape: tuple[int, int], img_shape: tuple[int, int],
                allowed_border: int = -1) -> Tensor:
    """Lays out all anchors that MMDetection's RPN trains on in an image.

    Args:
        generator: Anchor generator, or any other object with ``strides``, (x, y) in px, and ``grid_priors``.
        pad_shape: (height, width) of the image with its padding, in px.
        img_shape: (height, width) of the image without the padding of the batch, in px.
        allowed_border: Number of px by which an anchor may extend beyond the image; a negative number allows any
            distance.

    Returns:
        The anchors, (N, 4) float32 xyxy in px.

    Raises:
        MmcellError: The generator makes points instead of boxes.
    """
    # Feature maps have the size of the image divided by the stride, rounded up.
    sizes = [(-(-pad_shape[0] // stride_y), -(-pad_shape[1] // stride_x))
             for stride_x, stride_y in map(_pair, generator.strides)]
    anchors = torch.cat([get_box_tensor(level) for level in generator.grid_priors(sizes, device='cpu')])
    if anchors.shape[1:] != (4,):
        raise MmcellError(f'{type(generator).__name__} makes priors of shape {tuple(anchors.shape[1:])}, but anchors '
                          'must be boxes of shape (4,)')
    is_valid = torch.ones(len(anchors), dtype=torch.bool)
    return anchors[anchor_inside_flags(anchors, is_valid, img_shape, allowed_border)]


def best_ious(anchors_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Returns the greatest IoU of each box with any anchor.

    Only overlapping pairs are compared, in batches, so that no array of N x K pairs is held in memory.

    Args:
        anchors_xyxy: Anchors (N, 4), floating point, in px.
        boxes_xyxy: Boxes (K, 4), floating point, in px.

    Returns:
        The greatest IoU (K,) of each box in the dtype of the boxes, from 0 to 1; 0 where no anchor overlaps the box.
    """
    best = boxes_xyxy.new_zeros(len(boxes_xyxy))
    for anchor_index, box_index in iterate_near_pairs(anchors_xyxy, boxes_xyxy):
        ious = bbox_overlaps(boxes_xyxy[box_index], anchors_xyxy[anchor_index], is_aligned=True)
        best.scatter_reduce_(0, box_index, ious, 'amax')
    return best


def box_sizes_px(boxes_xyxy: Tensor) -> Tensor:
    """Returns the square roots (K,) of the areas of boxes (K, 4), in px."""
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1).sqrt()


def recall_rows(best: Tensor, sizes_px: Tensor, labels: Tensor, class_names: Sequence[str]) -> list[RecallRow]:
    """Returns one row for all cells, one row per size and one row per class.

    Args:
        best: Greatest IoU (K,) of each cell's box with an anchor.
        sizes_px: Square roots (K,) of the areas of the boxes, in px.
        labels: Classes (K,) int64 of the cells, from 0.
        class_names: Names of all classes, in the order of their labels.
    """
    between = [f'{low} to {high} px' for low, high in pairwise(SIZE_EDGES_PX)]
    # A size that equals an edge belongs to the upper bin.
    size_bins = torch.bucketize(sizes_px, torch.tensor(SIZE_EDGES_PX, dtype=sizes_px.dtype), right=True)
    groups = [('all', torch.ones_like(labels, dtype=torch.bool))]
    groups += [(name, size_bins == i) for i, name in enumerate(
        [f'below {SIZE_EDGES_PX[0]} px', *between, f'{SIZE_EDGES_PX[-1]} px and more'])]
    groups += [(name, labels == i) for i, name in enumerate(class_names)]
    return [RecallRow(name, int(is_member.sum()),
                      tuple((best[is_member] >= threshold).double().mean().item() for threshold in IOU_THRESHOLDS),
                      best[is_member].double().mean().item()) for name, is_member in groups]
