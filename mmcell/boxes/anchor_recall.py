"""How well the anchors of an RPN can cover given boxes, before anything is learned.

In training, MMDetection's RPN takes as positives the anchors whose IoU with a box is at least .7, and else the best
anchors of a box from .3 on (Ren et al. 2015, and ``train_cfg.rpn.assigner``): a cell below has none.
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
    """The cells of one size or class, and how well anchors cover them; NaN where there is no cell."""

    name: str
    n_cells: int
    recalls: tuple[float, ...]  # part of the cells, 0 to 1, with an anchor of at least each of IOU_THRESHOLDS
    mean_best_iou: float


def lay_anchors(generator: AnchorGenerator, pad_shape: tuple[int, int], img_shape: tuple[int, int],
                allowed_border: int = -1) -> Tensor:
    """All anchors that MMDetection's RPN trains on in an image.

    Args:
        generator: or any other that has ``strides``, (x, y) px, and ``grid_priors``.
        pad_shape: (height, width) in px of the image with its padding.
        img_shape: (height, width) in px without what the batch is padded with.
        allowed_border: px by which an anchor may stick out of the image; negative for any.

    Returns:
        (N, 4) float32 xyxy in px.

    Raises:
        MmcellError: the generator makes points and no boxes.
    """
    sizes = [(-(-pad_shape[0] // stride_y), -(-pad_shape[1] // stride_x))
             for stride_x, stride_y in map(_pair, generator.strides)]
    anchors = torch.cat([get_box_tensor(level) for level in generator.grid_priors(sizes, device='cpu')])
    if anchors.shape[1:] != (4,):
        raise MmcellError(f'{type(generator).__name__} makes priors of shape {tuple(anchors.shape[1:])}, anchors are '
                          'boxes of shape (4,)')
    is_valid = torch.ones(len(anchors), dtype=torch.bool)
    return anchors[anchor_inside_flags(anchors, is_valid, img_shape, allowed_border)]


def best_ious(anchors_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """The greatest IoU of each box with an anchor; memory goes with the pairs that overlap, a part of them at a time.

    Args:
        anchors_xyxy: (N, 4) floating point, in px.
        boxes_xyxy: (K, 4) likewise.

    Returns:
        (K,) in the boxes' type, 0 to 1; 0 where no anchor overlaps.
    """
    best = boxes_xyxy.new_zeros(len(boxes_xyxy))
    for anchor_index, box_index in iterate_near_pairs(anchors_xyxy, boxes_xyxy):
        ious = bbox_overlaps(boxes_xyxy[box_index], anchors_xyxy[anchor_index], is_aligned=True)
        best.scatter_reduce_(0, box_index, ious, 'amax')
    return best


def box_sizes_px(boxes_xyxy: Tensor) -> Tensor:
    """Square roots (K,) of the areas of boxes (K, 4)."""
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1).sqrt()


def recall_rows(best: Tensor, sizes_px: Tensor, labels: Tensor, class_names: Sequence[str]) -> list[RecallRow]:
    """Rows of all cells, of each size and of each class.

    Args:
        best: (K,) greatest IoU of each cell's box with an anchor.
        sizes_px: (K,) square roots of the boxes' areas.
        labels: (K,) int64 classes from 0.
        class_names: of all classes.
    """
    size_bins = torch.bucketize(sizes_px, torch.tensor(SIZE_EDGES_PX, dtype=sizes_px.dtype), right=True)
    parts = [('all', torch.ones_like(labels, dtype=torch.bool))]
    parts += [(name, size_bins == i) for i, name in enumerate(size_names())]
    parts += [(name, labels == i) for i, name in enumerate(class_names)]
    return [RecallRow(name, int(part.sum()),
                      tuple((best[part] >= threshold).double().mean().item() for threshold in IOU_THRESHOLDS),
                      best[part].double().mean().item()) for name, part in parts]


def size_names() -> list[str]:
    """Names of the size bins: a size that is an edge belongs to the upper one."""
    between = [f'{low} to {high} px' for low, high in pairwise(SIZE_EDGES_PX)]
    return [f'below {SIZE_EDGES_PX[0]} px', *between, f'{SIZE_EDGES_PX[-1]} px and more']
