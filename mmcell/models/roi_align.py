"""RoIAlign on CPUs as weighted sums of feature vectors, which uses all channels of a position at once.

The value of a bin is a weighted sum of the features at a few positions (He et al. 2017, section 3, in the form of
torchvision's and mmcv's kernels). ``embedding_bag`` computes sums like these, and their gradient, in all threads.
torchvision's kernel for CPUs sums one channel after the other, and its gradient uses one thread.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

# The positions that are listed at once: 12 bytes each. A bin of a usual RoI needs 4 to 25 positions.
_MAX_POSITIONS = 1 << 22
# RoIs with more samples than this, which only boxes far outside of an image have, are left to torchvision.
_MAX_SAMPLES = 1 << 25


def roi_align(features: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int,
              aligned: bool) -> Tensor:
    """Computes what ``torchvision.ops.roi_align`` computes; sums are rounded in another order.

    Args:
        features: (B, C, H, W) float32.
        rois: (K, 5) float32, the index of the image in the batch and the box xyxy in px of the image.
        output_size: (height, width) of the output in bins.
        spatial_scale: px of the features per px of the image.
        sampling_ratio: Number of samples per side of a bin; 0 for as many as a bin has px, rounded up.
        aligned: Whether boxes are shifted by half a pixel, so that pixel centres are at whole numbers.

    Returns:
        (K, C, height, width) in the memory format channels-last.
    """
    if not len(rois):
        return features.new_zeros(0, features.shape[1], *output_size) + features.sum() * 0  # a gradient of zeros
    boxes = rois[:, 1:] * spatial_scale - (.5 if aligned else 0.)
    sizes = boxes[:, 2:] - boxes[:, :2]
    # Coordinates that are not numbers fail this comparison, too.
    is_usual = bool((sizes.abs() < _MAX_SAMPLES / len(rois)).all())
    if not is_usual:
        return torchvision.ops.roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned)
    x, y = (_find_positions(boxes[:, axis], boxes[:, axis + 2], output_size[1 - axis], features.shape[3 - axis],
                            sampling_ratio, aligned) for axis in (0, 1))
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    first_rows = rois[:, 0].long() * features.shape[2]
    output = features.new_empty(len(rois), *output_size, features.shape[1])
    for group, n_x, n_y in _groups_of_equal_windows(x, y):
        rows = first_rows[group, None, None] + y.window(group, n_y)
        positions = rows[:, :, None, :, None] * features.shape[3] + x.window(group, n_x)[:, None, :, None, :]
        weights = y.weights[group, :, None, :n_y, None] * x.weights[group, None, :, None, :n_x]
        output[group] = F.embedding_bag(
            positions.flatten(end_dim=2).flatten(start_dim=1), table, mode='sum',
            per_sample_weights=weights.flatten(end_dim=2).flatten(start_dim=1)).view(len(group), *output_size, -1)
    return output.permute(0, 3, 1, 2)


class _Positions(NamedTuple):
    """The positions along one axis that count in each bin of K RoIs, and their weights.

    Attributes:
        first: (K, n_bins) int64, the first position of each bin.
        weights: (K, n_bins, L) float32, the weights of the L positions from the first one on.
        n_px: (K,) int64, how many of the L positions the bins of each RoI need.
        size: Number of positions of the whole axis.
    """

    first: Tensor
    weights: Tensor
    n_px: Tensor
    size: int

    def window(self, rois: Tensor, n_px: int) -> Tensor:
        """Returns the first ``n_px`` positions (k, n_bins, n_px) of some RoIs (k,).

        Positions behind the last one of the axis, whose weight is 0, are replaced by the last one.
        """
        return (self.first[rois, :, None] + torch.arange(n_px, device=rois.device)).clamp(max=self.size - 1)


def _find_positions(starts: Tensor, ends: Tensor, n_bins: int, size: int, sampling_ratio: int,
                    aligned: bool) -> _Positions:
    """Finds the positions along an axis of ``size`` positions for RoIs from ``starts`` to ``ends`` (K,)."""
    # A RoI from 0.5 to 3.5 with two bins and two samples per bin has samples at 0.875 and 1.625 in its first bin. They
    # lie between the positions 0 and 1, and 1 and 2. The bin begins at position 0 and needs 3 positions. Each sample
    # counts one half: the weights are 0.125 / 2, (0.875 + 0.375) / 2 and 0.625 / 2.
    lengths = ends - starts if aligned else (ends - starts).clamp(min=1)
    bin_sizes = lengths / n_bins
    n_samples = torch.full_like(bin_sizes, sampling_ratio) if sampling_ratio > 0 else bin_sizes.ceil().clamp(min=0)
    sample = torch.arange(max(int(n_samples.amax()), 1), dtype=starts.dtype)
    bin_starts = starts[:, None] + torch.arange(n_bins, dtype=starts.dtype) * bin_sizes[:, None]
    points = bin_starts[:, :, None] + ((sample + .5) * (bin_sizes / n_samples.clamp(min=1))[:, None])[:, None, :]
    # RoIs have different numbers of samples: the surplus ones do not count. Samples more than one position outside of
    # the features count as 0.
    is_sample = (sample < n_samples[:, None])[:, None, :]
    share = ((points >= -1) & (points <= size) & is_sample) / n_samples.clamp(min=1)[:, None, None]
    points = points.clamp(0, size - 1)
    low = points.floor()
    first = low.where(is_sample, size - 1).amin(dim=2)
    last = low.where(is_sample, 0).amax(dim=2)
    n_px = (last - first).amax(dim=1).clamp(min=0).long() + 2
    weights = share.new_zeros(len(starts), n_bins, int(n_px.amax()))
    place = (low - first[:, :, None]).long().clamp(0, weights.shape[2] - 2)
    weights.scatter_add_(2, place, share * (low + 1 - points))
    weights.scatter_add_(2, place + 1, share * (points - low))
    return _Positions(first.long(), weights, n_px, size)


def _groups_of_equal_windows(x: _Positions, y: _Positions) -> Iterator[tuple[Tensor, int, int]]:
    """Yields the indices (k,) of RoIs whose bins need equally many positions, and these numbers along x and y."""
    sizes, group_of_roi, n_rois = torch.stack([x.n_px, y.n_px], dim=1).unique(
        dim=0, return_inverse=True, return_counts=True)
    n_bins = x.first.shape[1] * y.first.shape[1]
    for (n_x, n_y), group in zip(sizes.tolist(), group_of_roi.argsort(stable=True).split(n_rois.tolist()),
                                 strict=True):
        for part in group.split(max(_MAX_POSITIONS // (n_bins * n_x * n_y), 1)):
            yield part, n_x, n_y
