"""RoIAlign of instances straight from layers of label maps: the targets of a mask head.

What is computed is ``roi_align(bitmap, roi, out_shape, spatial_scale=1, sampling_ratio=0, aligned=True)`` of each
instance's bitmap (He et al. 2017, section 3, in the form of torchvision's and mmcv's kernels). Its sample points lie
on a grid, so that the average over a bin is a product of three small matrices: weights of the rows, the crop of the
bitmap, weights of the columns. Only crops around the RoIs are made, and they are multiplied in batches of like size.
"""

import torch
from torch import Tensor

from mmcell.masks.batches import batches_of_like_size


def roi_averages(layers: Tensor, layer_indices: Tensor, ids: Tensor, rois_xyxy: Tensor,
                 out_shape: tuple[int, int]) -> Tensor:
    """RoIAlign averages of instances.

    Args:
        layers: (L, H, W) int32 label maps.
        layer_indices: (K,) int64, the layer of the instance that each RoI looks at.
        ids: (K,) its id in that layer.
        rois_xyxy: (K, 4) float in px; a RoI may leave the frame, where everything counts as 0.
        out_shape: (height, width) of the output.

    Returns:
        (K, height, width) in the dtype of the RoIs, between 0 and 1: the part of each bin that is inside. It is 0 for
        a RoI without extent, or with coordinates that are not finite. All tensors are on one device.
    """
    if rois_xyxy.dtype not in (torch.float32, torch.float64):
        rois_xyxy = rois_xyxy.float()
    rois_xyxy = rois_xyxy.where(rois_xyxy.isfinite().all(dim=1, keepdim=True), 0)
    averages = rois_xyxy.new_zeros((len(rois_xyxy), *out_shape))
    starts, ends = rois_xyxy[:, [1, 0]] - .5, rois_xyxy[:, [3, 2]] - .5
    frame = torch.tensor(layers.shape[1:], device=layers.device)
    first_px = torch.minimum(starts.clamp(min=0), frame - 1).long()
    # One pixel more than needed, since sample points are rounded.
    n_px = (torch.minimum(ends.clamp(min=0) + 3, frame).long() - first_px).clamp(min=1)
    for batch, crop_shape in batches_of_like_size(n_px):
        crops = _crop_instances(layers, layer_indices[batch], ids[batch], first_px[batch], crop_shape)
        rows, columns = (
            _bin_weights(starts[batch, axis], ends[batch, axis], first_px[batch, axis], out_shape[axis],
                         crop_shape[axis], layers.shape[1 + axis]) for axis in (0, 1))
        averages[batch] = _multiply(rows, crops, columns).to(averages.dtype)
    return averages


def _crop_instances(layers: Tensor, layer_indices: Tensor, ids: Tensor, first_px: Tensor,
                    crop_shape: tuple[int, int]) -> Tensor:
    """Bitmaps (K, height, width) bool of the instances, from the pixel ``first_px`` (K, 2: y, x) on.

    Where a crop leaves the frame the last row or column is repeated; no sample point lies there.
    """
    height, width = layers.shape[1:]
    y = (first_px[:, :1] + torch.arange(crop_shape[0], device=layers.device)).clamp(max=height - 1)
    x = (first_px[:, 1:] + torch.arange(crop_shape[1], device=layers.device)).clamp(max=width - 1)
    row_begins = (layer_indices[:, None] * height + y) * width
    return layers.reshape(-1)[row_begins[:, :, None] + x[:, None, :]] == ids[:, None, None]


def _bin_weights(start: Tensor, end: Tensor, first_px: Tensor, n_bins: int, n_px: int, frame_size: int) -> Tensor:
    """Weights (K, n_bins, n_px) of the crop's pixels along one axis in the average of each bin.

    The order of operations is that of the kernels, so that in float32 the sample points are theirs.
    """
    bin_size = (end - start) / n_bins
    n_samples = bin_size.ceil().clamp(min=0)
    max_samples = int(n_samples.max())
    sample = torch.arange(max_samples, device=start.device, dtype=start.dtype)
    bins = torch.arange(n_bins, device=start.device, dtype=start.dtype)
    offset = (sample + .5) * bin_size[:, None] / n_samples[:, None].clamp(min=1)
    point = (start[:, None] + bins * bin_size[:, None])[:, :, None] + offset[:, None, :]
    counts = (point >= -1) & (point <= frame_size) & (sample < n_samples[:, None])[:, None, :]
    point = point.clamp(0, frame_size - 1)
    low = point.floor()
    high_weight = point - low
    weight = counts / n_samples[:, None, None].clamp(min=1).to(_precise_dtype(start.device))
    index = (low.long() - first_px[:, None, None]).clamp(0, n_px - 1)
    weights = weight.new_zeros((len(start), n_bins, n_px + 1))
    weights.scatter_add_(2, index, (1 - high_weight) * weight)
    weights.scatter_add_(2, index + 1, high_weight * weight)
    return weights[:, :, :n_px]


def _multiply(rows: Tensor, crops: Tensor, columns: Tensor) -> Tensor:
    """rows (K, P, h) @ crops (K, h, w) @ columns (K, Q, w) transposed, in full precision under autocast, too."""
    with torch.autocast(crops.device.type, enabled=False):
        return rows @ crops.to(rows.dtype) @ columns.transpose(1, 2)


def _precise_dtype(device: torch.device) -> torch.dtype:
    """float64, which a GPU does not multiply as TF32, where the device has it (Apple's has not)."""
    return torch.float32 if device.type == 'mps' else torch.float64
