"""Pasting of predicted masks: the pixels of an image that are inside, straight to RLE, at the cost of the boxes."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.masks.batches import batches_of_like_size
from mmcell.masks.rle import encode_runs


def paste_to_rles(probabilities: Tensor, bboxes_xyxy: Tensor, height: int, width: int, threshold: float,
                  *, beyond_box: bool | None = None) -> list[dict]:
    """Resamples masks of N boxes to the pixels of the image and encodes those at or over a threshold.

    The pixels are those of MMDetection's ``FCNMaskHead``, which samples bilinearly at pixel centres, with zeros
    around the mask. On the CPU it looks no further than a pixel around each box, elsewhere at the whole image: so here.
    One case differs: a box without extent, which the stock head, where it looks at the whole image, draws out to a band
    across it, and this one does not.

    Args:
        probabilities: (N, h, w) float, between 0 and 1.
        bboxes_xyxy: (N, 4) in px of the image; they may leave it.
        height, width: of the image.
        threshold: greater than 0.
        beyond_box: whether to look further than a pixel around each box; None: as the stock head does on the device.

    Returns:
        N COCO RLEs with counts as str; without a pixel where nothing reaches the threshold.
    """
    # Sampled values are not 0 up to half a pixel of the mask from the box.
    margins = torch.ones_like(bboxes_xyxy[:, :2])
    if bboxes_xyxy.device.type != 'cpu' if beyond_box is None else beyond_box:
        sizes = bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]
        margins = (sizes / (2 * sizes.new_tensor(probabilities.shape[:0:-1]))).ceil() + 1
    frame = bboxes_xyxy.new_tensor([width, height])
    first_px = torch.minimum((bboxes_xyxy[:, :2].floor() - margins).clamp(min=0), frame)
    last_px = torch.minimum((bboxes_xyxy[:, 2:].ceil() + margins).clamp(min=0), frame)
    # A box that is no number has no pixel.
    n_px = (last_px - first_px).clamp(min=0).nan_to_num(0).long()
    first_px = first_px.nan_to_num(0).long()
    instances, starts, ends = [], [], []
    for batch, crop_size in batches_of_like_size(n_px):
        inside = _sample(probabilities[batch], bboxes_xyxy[batch], first_px[batch], crop_size) >= threshold
        steps = [torch.arange(size, device=inside.device) for size in crop_size]
        inside &= (steps[0] < n_px[batch, :1])[:, None, :] & (steps[1] < n_px[batch, 1:])[:, :, None]
        found, begins, stops = _column_runs(inside.cpu().numpy(), first_px[batch].cpu().numpy(), height)
        instances.append(batch.cpu().numpy()[found])
        starts.append(begins)
        ends.append(stops)
    none = np.zeros(0, np.int64)
    return encode_runs(*(np.concatenate([none, *parts]) for parts in (instances, starts, ends)),
                       len(probabilities), height, width)


def _sample(masks: Tensor, bboxes_xyxy: Tensor, first_px: Tensor, crop_size: tuple[int, int]) -> Tensor:
    """Values (K, height, width) of masks (K, h, w) at the pixel centres from ``first_px`` (K, 2: x, y) on.

    The order of operations is that of MMDetection, so that values at the threshold fall to the same side.
    """
    coordinates = []
    for axis, size in enumerate(crop_size):
        begin, end = bboxes_xyxy[:, axis:axis + 1], bboxes_xyxy[:, axis + 2:axis + 3]
        centers = (first_px[:, axis:axis + 1] + torch.arange(size, device=masks.device)).to(torch.float32) + .5
        relative = (centers - begin) / (end - begin) * 2 - 1
        coordinates.append(relative.masked_fill(relative.isinf(), 0))
    x, y = coordinates
    shape = (len(masks), crop_size[1], crop_size[0])
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
    return F.grid_sample(masks[:, None].to(torch.float32), grid, align_corners=False)[:, 0]


def _column_runs(inside: np.ndarray, first_px: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs down the columns of K crops (K, h, w) bool of an image: crop, first and one-past-last position, (R,) each.

    Positions count down the columns of the whole image; ``first_px`` (K, 2: x, y) is where each crop begins.
    """
    columns = np.zeros((inside.shape[0], inside.shape[2], inside.shape[1] + 2), np.int8)
    columns[:, :, 1:-1] = inside.transpose(0, 2, 1)
    changes = np.diff(columns, axis=2)
    crop, x, y_begin = np.nonzero(changes == 1)
    y_end = np.nonzero(changes == -1)[2]
    offset = (first_px[crop, 0] + x) * height + first_px[crop, 1]
    return crop, offset + y_begin, offset + y_end
