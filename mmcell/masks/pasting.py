"""Pastes predicted masks into an image, at a cost that depends on the boxes, not the image."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.masks.batches import batches_of_similar_size
from mmcell.masks.runs import MaskRuns


def paste_masks(probabilities: Tensor, bboxes_xyxy: Tensor, height: int, width: int, threshold: float,
                *, beyond_box: bool | None = None) -> MaskRuns:
    """Resamples the masks of N boxes to the pixels of the image, and finds the pixels that reach a threshold.

    The result is the same as from MMDetection's ``FCNMaskHead``, which samples bilinearly at pixel centres, with zeros
    around the mask. On the CPU the stock head samples up to one pixel around each box; on other devices it samples the
    whole image. This function does the same. It differs for a box without extent: where the stock head samples the
    whole image, it draws such a box as a band across the image, and this function does not.

    Args:
        probabilities: (N, h, w) float, from 0 to 1.
        bboxes_xyxy: (N, 4) float in px of the image. Boxes may leave the image.
        height: Height of the image in px.
        width: Width of the image in px.
        threshold: The least probability of a pixel that is inside. It must be greater than 0.
        beyond_box: Whether pixels are sampled that are more than one pixel away from the box. The default is what the
            stock head does on the device of the boxes.

    Returns:
        The N masks in the image. A mask is empty if no pixel reaches the threshold.
    """
    # Beyond the box, interpolation with the zeros around the mask gives values above 0, up to half a pixel of the mask
    # away. A mask 28 pixels wide in a box 60 px wide has pixels of 60 / 28 px. Half of that, 1.07 px, is rounded up to
    # 2 px, and 1 px is added against rounding errors: a margin of 3 px.
    margins = torch.ones_like(bboxes_xyxy[:, :2])
    if bboxes_xyxy.device.type != 'cpu' if beyond_box is None else beyond_box:
        sizes = bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]
        margins = (sizes / (2 * sizes.new_tensor(probabilities.shape[:0:-1]))).ceil() + 1
    frame = bboxes_xyxy.new_tensor([width, height])
    first_px = torch.minimum((bboxes_xyxy[:, :2].floor() - margins).clamp(min=0), frame)
    last_px = torch.minimum((bboxes_xyxy[:, 2:].ceil() + margins).clamp(min=0), frame)
    # A box with a coordinate that is not a number (NaN) gets no pixel.
    n_px = (last_px - first_px).clamp(min=0).nan_to_num(0).long()
    first_px = first_px.nan_to_num(0).long()
    runs = [np.zeros((3, 0), np.int64)]
    for batch, crop_size in batches_of_similar_size(n_px):
        inside = _sample(probabilities[batch], bboxes_xyxy[batch], first_px[batch], crop_size) >= threshold
        # Crops of a batch are padded to one size. The padding does not belong to the mask.
        x, y = (torch.arange(size, device=inside.device) for size in crop_size)
        inside &= (x < n_px[batch, :1])[:, None, :] & (y < n_px[batch, 1:])[:, :, None]
        crop_of_run, run_starts, run_ends = _find_column_runs(
            inside.cpu().numpy(), first_px[batch].cpu().numpy(), height)
        runs.append(np.stack([batch.cpu().numpy()[crop_of_run], run_starts, run_ends]))
    instances, starts, ends = np.concatenate(runs, axis=1)
    order = np.lexsort((starts, instances))
    n_runs = np.bincount(instances, minlength=len(probabilities))
    return MaskRuns(starts[order], ends[order], n_runs, height, width)


def _sample(masks: Tensor, bboxes_xyxy: Tensor, first_px: Tensor, crop_size: tuple[int, int]) -> Tensor:
    """Samples masks at ``crop_size`` (width, height) pixel centres of the image, from ``first_px`` (K, 2) on.

    The order of operations is the same as in MMDetection, so that rounding puts values at the threshold on the same
    side.
    """
    # ``relative`` is -1 at the first and 1 at the last border of the box. A mask with the two values 0 and 1 in a box
    # from x = 2 to x = 6, sampled at the 6 pixels from x = 1 on, gives [0, 0, 0.25, 0.75, 0.75, 0.25].
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


def _find_column_runs(inside: np.ndarray, first_px: np.ndarray,
                      height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the runs down the columns of crops (K, h, w) that begin at the pixels ``first_px`` (K, 2), x and y.

    Returns:
        The crop, the first position in the image and one past the last position of each run, (R,) int64 each.
    """
    # The columns of a crop [[1, 0, 0], [1, 1, 0], [0, 1, 0]] are [1, 1, 0], [0, 1, 1] and [0, 0, 0]. With a 0 before
    # and behind each column, the differences are [1, 0, -1, 0], [0, 1, 0, -1] and [0, 0, 0, 0]: runs begin at y = 0
    # and 1 and end at y = 2 and 3. If the crop begins at (x, y) = (5, 2) of an image of height 10, its columns begin
    # at 5 * 10 + 2 = 52, 62 and 72, and the runs are [52, 54) and [63, 65).
    columns = np.zeros((inside.shape[0], inside.shape[2], inside.shape[1] + 2), np.int8)
    columns[:, :, 1:-1] = inside.transpose(0, 2, 1)
    changes = np.diff(columns, axis=2)
    crop, x, y_begin = np.nonzero(changes == 1)
    y_end = np.nonzero(changes == -1)[2]
    offset = (first_px[crop, 0] + x) * height + first_px[crop, 1]
    return crop, offset + y_begin, offset + y_end
