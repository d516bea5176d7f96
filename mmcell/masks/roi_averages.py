"""Applies RoIAlign to instances straight from layers of label maps. The results are the targets of a mask head.

The result is ``roi_align(bitmap, roi, out_shape, spatial_scale=1, sampling_ratio=0, aligned=True)`` of each
instance's bitmap (He et al. 2017, section 3, in the form of torchvision's and mmcv's kernels). The sample points lie
on a grid, so that the averages over all bins are a product of three small matrices: the weights of the rows, the crop
of the bitmap, and the weights of the columns. Only crops around the RoIs are made. They are multiplied in batches of
similar size.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mmcell.masks.batches import batches_of_similar_size


def roi_averages(layers: Tensor, layer_indices: Tensor, ids: Tensor, rois_xyxy: Tensor,
                 out_shape: tuple[int, int]) -> Tensor:
    """Computes the RoIAlign averages of one instance per RoI. All tensors must be on one device.

    Args:
        layers: (L, H, W) int32 label maps.
        layer_indices: (K,) int64, the layer of the instance that each RoI is applied to.
        ids: (K,) int64, the id of this instance in its layer.
        rois_xyxy: (K, 4) float in px. RoIs may leave the frame; everything outside counts as 0.
        out_shape: (height, width) of the output in bins.

    Returns:
        (K, height, width), from 0 to 1: the share of each bin that is inside the instance. The dtype is that of the
        RoIs if they are float32 or float64, float32 otherwise. All shares are 0 for a RoI without extent, or with
        coordinates that are not finite.
    """
    if rois_xyxy.dtype not in (torch.float32, torch.float64):
        rois_xyxy = rois_xyxy.float()
    rois_xyxy = rois_xyxy.where(rois_xyxy.isfinite().all(dim=1, keepdim=True), 0)
    averages = rois_xyxy.new_zeros((len(rois_xyxy), *out_shape))
    # Sizes and positions are in the order (y, x) from here on. Pixel centres are whole numbers (``aligned=True``).
    starts, ends = rois_xyxy[:, :2].flip(1) - .5, rois_xyxy[:, 2:].flip(1) - .5
    first_px = _stack_axes(lambda axis: starts[:, axis].clamp(0, layers.shape[1 + axis] - 1).long())
    # The crop is one pixel larger than needed, because sample points are rounded.
    n_px = _stack_axes(lambda axis: (ends[:, axis].clamp(min=0) + 3).clamp(max=layers.shape[1 + axis]).long())
    n_px = (n_px - first_px).clamp(min=1)
    n_samples = _stack_axes(lambda axis: _count_samples(starts[:, axis], ends[:, axis], out_shape[axis]).long())
    # The only place where a device is waited for.
    n_px, n_samples = torch.cat([n_px, n_samples], dim=1).cpu().split(2, dim=1)
    for batch, on_cpu, crop_shape in batches_of_similar_size(n_px, layers.device):
        most_samples = n_samples[on_cpu].amax(dim=0).tolist()
        crops = _crop_instances(layers, layer_indices[batch], ids[batch], first_px[batch], crop_shape)
        rows, columns = (
            _bin_weights(starts[batch, axis], ends[batch, axis], first_px[batch, axis], out_shape[axis],
                         crop_shape[axis], layers.shape[1 + axis], most_samples[axis]) for axis in (0, 1))
        with torch.autocast(crops.device.type, enabled=False):
            averages[batch] = (rows @ crops.to(rows.dtype) @ columns.transpose(1, 2)).to(averages.dtype)
    return averages


def _stack_axes(values_of_axis: Callable[[int], Tensor]) -> Tensor:
    """Returns (K, 2), with the values (K,) of the axes y and x. Sides of images remain numbers on the host."""
    return torch.stack([values_of_axis(axis) for axis in (0, 1)], dim=1)


def _count_samples(start: Tensor, end: Tensor, n_bins: int) -> Tensor:
    """Returns the number (K,) of samples per bin along one axis, in the dtype of the RoIs."""
    return ((end - start) / n_bins).ceil().clamp(min=0)


def _crop_instances(layers: Tensor, layer_indices: Tensor, ids: Tensor, first_px: Tensor,
                    crop_shape: tuple[int, int]) -> Tensor:
    """Cuts out the bitmaps (K, height, width) bool of instances, from the pixels ``first_px`` (K, 2), y and x, on."""
    # Where a crop leaves the frame, the last row or column is repeated. No sample point lies there.
    height, width = layers.shape[1:]
    y = (first_px[:, :1] + torch.arange(crop_shape[0], device=layers.device)).clamp(max=height - 1)
    x = (first_px[:, 1:] + torch.arange(crop_shape[1], device=layers.device)).clamp(max=width - 1)
    row_begins = (layer_indices[:, None] * height + y) * width
    return layers.reshape(-1)[row_begins[:, :, None] + x[:, None, :]] == ids[:, None, None]


def _bin_weights(start: Tensor, end: Tensor, first_px: Tensor, n_bins: int, n_px: int, frame_size: int,
                 max_samples: int) -> Tensor:
    """Computes the weights (K, n_bins, n_px) of a crop's pixels in the average of each bin, along one axis.

    RoIs lie from ``start`` to ``end`` (K,) in px with pixel centres at whole numbers, and have at most ``max_samples``
    samples per bin. The order of operations is the same as in the kernels, so that the sample points are equal in
    float32.
    """
    # A RoI from 0.5 to 3.5 has two bins of 1.5 px, and ceil(1.5) = 2 samples in each: at 0.875 and 1.625, at 2.375 and
    # 3.125. The sample at 0.875 lies between the pixels 0 and 1, with the weights 0.125 and 0.875, the one at 1.625
    # between 1 and 2, with 0.375 and 0.625. Each sample counts one half: [0.0625, 0.625, 0.3125, 0, 0] are the weights
    # of the first five pixels in the first bin, [0, 0, 0.3125, 0.625, 0.0625] in the second. The extra column at the
    # end of ``weights`` takes the second pixel of samples at the last pixel of the crop, whose weight is 0.
    bin_size = (end - start) / n_bins
    n_samples = _count_samples(start, end, n_bins)
    sample = torch.arange(max_samples, device=start.device, dtype=start.dtype)
    bins = torch.arange(n_bins, device=start.device, dtype=start.dtype)
    offset = (sample + .5) * bin_size[:, None] / n_samples[:, None].clamp(min=1)
    point = (start[:, None] + bins * bin_size[:, None])[:, :, None] + offset[:, None, :]
    # RoIs have different numbers of samples; the surplus ones of the table do not count, nor do those outside.
    is_counted = (point >= -1) & (point <= frame_size) & (sample < n_samples[:, None])[:, None, :]
    point = point.clamp(0, frame_size - 1)
    low = point.floor()
    high_weight = point - low
    weight = is_counted / n_samples[:, None, None].clamp(min=1).to(_precise_dtype(start.device))
    index = (low.long() - first_px[:, None, None]).clamp(0, n_px - 1)
    weights = weight.new_zeros((len(start), n_bins, n_px + 1))
    weights.scatter_add_(2, index, (1 - high_weight) * weight)
    weights.scatter_add_(2, index + 1, high_weight * weight)
    return weights[:, :, :n_px]


def _precise_dtype(device: torch.device) -> torch.dtype:
    """Returns float64, which GPUs never multiply in the coarser TF32; float32 on Apple's GPUs, which lack float64."""
    return torch.float32 if device.type == 'mps' else torch.float64
