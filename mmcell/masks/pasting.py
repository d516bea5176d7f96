"""Pastes predicted masks into an image, at a cost that depends on the boxes, not the image."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.masks.batches import CropBatch, batches_of_similar_size
from mmcell.masks.runs import MaskRuns
from mmcell.ragged import elements_of, groups_of, offsets_of

# The pixels of crops that are held at once, as bool: 64 MiB. 1,000 cells of 30x30 px have one million.
_MOST_FLAGS = 1 << 26
# A coordinate far outside of all masks, which reach from -1 to 1. Its value is 0, even beyond the first and last pixel.
_OUTSIDE = 8.
_NO_RUNS = [np.zeros(0, np.int64)] * 4


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
    reaches_beyond = bboxes_xyxy.device.type != 'cpu' if beyond_box is None else beyond_box
    begins, sizes = [], []
    # Sides of the image and of the masks are numbers and not tensors: a device would be waited for to send them there.
    for axis, side in enumerate((width, height)):
        low, high = bboxes_xyxy[:, axis], bboxes_xyxy[:, axis + 2]
        margin = ((high - low) / (2 * probabilities.shape[2 - axis])).ceil() + 1 if reaches_beyond else 1
        begins.append((low.floor() - margin).clamp(0, side))
        sizes.append((high.ceil() + margin).clamp(0, side) - begins[axis])
    # A box with a coordinate that is not a number (NaN) gets no pixel.
    crops = torch.stack(begins + sizes, dim=1).nan_to_num(0).long()
    return _trace_runs(probabilities, bboxes_xyxy, crops, height, width, threshold)


def _trace_runs(probabilities: Tensor, bboxes_xyxy: Tensor, crops: Tensor, height: int, width: int,
                threshold: float) -> MaskRuns:
    """Samples masks in their crops (N, 4), which are given by x, y, width and height in px, and finds the runs.

    A device is waited for three times: for the crops, for the number of runs, and for the runs. Only crops that have
    more than ``_MOST_FLAGS`` pixels together take more turns.
    """
    on_cpu = crops.cpu()
    parts = []
    for batches in _split_batches(list(batches_of_similar_size(on_cpu[:, 2:], crops.device))):
        flags = _flag_pixels(probabilities, bboxes_xyxy, crops, batches, threshold)
        # Flags change where a run begins, and where it has ended.
        changes = (flags[1:] ^ flags[:-1]).nonzero().flatten().cpu().numpy()
        parts.append(_runs_in_image(changes, batches, on_cpu.numpy(), height))
    members, n_runs, starts, ends = (np.concatenate(arrays) for arrays in zip(_NO_RUNS, *parts, strict=True))
    in_order = elements_of(n_runs, np.argsort(members))
    n_runs_of_mask = np.zeros(len(crops), np.int64)
    n_runs_of_mask[members] = n_runs
    return MaskRuns(starts[in_order], ends[in_order], n_runs_of_mask, height, width)


def _split_batches(batches: list[CropBatch]) -> list[list[CropBatch]]:
    """Divides batches of crops into lists with at most ``_MOST_FLAGS`` pixels, or with one batch."""
    lists, n_flags = [], 0
    for batch in batches:
        n_flags += _count_flags(batch)
        if not lists or n_flags > _MOST_FLAGS:
            lists.append([])
            n_flags = _count_flags(batch)
        lists[-1].append(batch)
    return lists


def _count_flags(batch: CropBatch) -> int:
    return len(batch.index) * batch.size[0] * (batch.size[1] + 1)


def _flag_pixels(probabilities: Tensor, bboxes_xyxy: Tensor, crops: Tensor, batches: list[CropBatch],
                 threshold: float) -> Tensor:
    """Returns flags (1 + P,) bool: False, and whether each pixel of the crops reaches the threshold.

    Crops follow one another as in the batches, their columns from left to right, and the pixels of a column downwards.
    Each column is followed by a False, so that no run goes on into the next column.
    """
    n_flags = [_count_flags(batch) for batch in batches]
    flags = torch.empty(1 + sum(n_flags), dtype=torch.bool, device=crops.device)
    flags[:1] = False
    for (index, _, (width, height)), part in zip(batches, flags[1:].split(n_flags), strict=True):
        columns = _sample_columns(probabilities[index], bboxes_xyxy[index], crops[index], (width, height + 1))
        torch.ge(columns, threshold, out=part.view(columns.shape))
    return flags


def _sample_columns(masks: Tensor, bboxes_xyxy: Tensor, crops: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples K masks at the pixel centres of their crops (K, 4), padded with zeros to ``size`` (width, height).

    The order of operations is the same as in MMDetection, so that rounding puts values at the threshold on the same
    side.

    Returns:
        (K, width, height) float32, the values column by column.
    """
    # ``relative`` is -1 at the first and 1 at the last border of the box. A mask with the two values 0 and 1 in a box
    # from x = 2 to x = 6, sampled at the 6 pixels from x = 1 on, gives [0, 0, 0.25, 0.75, 0.75, 0.25].
    coordinates = []
    for axis, n_px in enumerate(size):
        begin, end = bboxes_xyxy[:, axis:axis + 1], bboxes_xyxy[:, axis + 2:axis + 3]
        pixel = torch.arange(n_px, device=masks.device)
        centers = (crops[:, axis:axis + 1] + pixel).to(torch.float32) + .5
        relative = (centers - begin) / (end - begin) * 2 - 1
        relative = relative.masked_fill(relative.isinf(), 0)
        coordinates.append(relative.masked_fill(pixel >= crops[:, axis + 2:axis + 3], _OUTSIDE))
    x, y = coordinates
    shape = (len(masks), *size)
    grid = torch.stack([x[:, :, None].expand(shape), y[:, None, :].expand(shape)], dim=3)
    return F.grid_sample(masks[:, None].to(torch.float32), grid, align_corners=False)[:, 0]


def _runs_in_image(changes: np.ndarray, batches: list[CropBatch], crops: np.ndarray,
                   height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Moves runs from the flags of crops to an image of the given height.

    Args:
        changes: (2R,) int64 ascending, the positions in the flags where a run begins, where it has ended, where the
            next one begins …
        batches: The batches of K crops that the flags were made from.
        crops: (N, 4) int64, x, y, width and height in px of all crops.
        height: Height of the image in px.

    Returns:
        The indices (K,) of the crops, their numbers of runs (K,), and the first position in the image and one past the
        last position of each run, (R,) each; all int64.
    """
    # The columns of a crop [[1, 0, 0], [1, 1, 0], [0, 1, 0]], each with a False behind it, have the flags 1 1 0 0,
    # 0 1 1 0 and 0 0 0 0, which change at [0, 2, 5, 7]: the runs are [0, 2) and [5, 7), at (x, y) = (0, 0) and (1, 1).
    # If the crop begins at (x, y) = (5, 2) of an image of height 10, they are [52, 54) and [63, 65) there.
    begins, ends = changes[::2], changes[1::2]
    members = torch.cat([batch.index_on_cpu for batch in batches]).numpy()
    n_crops = [len(batch.index_on_cpu) for batch in batches]
    widths, pitches = np.repeat([(batch.size[0], batch.size[1] + 1) for batch in batches], n_crops, axis=0).T
    offsets = offsets_of(widths * pitches)
    n_runs = np.diff(np.searchsorted(begins, offsets))
    crop = groups_of(n_runs)
    x, y = np.divmod(begins - offsets[crop], pitches[crop])
    first_x, first_y = crops[members[crop], :2].T
    starts = (first_x + x) * height + first_y + y
    return members, n_runs, starts, starts + ends - begins
