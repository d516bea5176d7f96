"""Padding of training batches."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class BatchMinSizePad(nn.Module):
    """Pads a training batch at the right and the bottom until no side is shorter than ``min_side``.

    An image of a few pixels, padded to 32x32 px, leaves one value per channel in the last stage of the backbone, and
    BatchNorm cannot be trained on a single value. MMDetection's ``BatchFixedSizePad`` does not serve here: if only one
    side is too short, it records its fixed size instead of the size of the padded batch.

    Args:
        min_side: Smallest height and width after padding, in px.
    """

    def __init__(self, min_side: int = 64) -> None:
        super().__init__()
        self.min_side = min_side

    def forward(self, inputs: Tensor, data_samples: list | None = None) -> tuple[Tensor, list | None]:
        """Pads inputs (N, C, H, W) and the masks in the data samples with 0, and records the new size there."""
        height, width = inputs.shape[-2:]
        shape = max(height, self.min_side), max(width, self.min_side)
        if shape == (height, width):
            return inputs, data_samples
        for sample in data_samples or ():
            sample.set_metainfo({'batch_input_shape': shape, 'pad_shape': shape})
            if 'masks' in sample.gt_instances:
                sample.gt_instances.masks = sample.gt_instances.masks.pad(shape, pad_val=0)
        return F.pad(inputs, (0, shape[1] - width, 0, shape[0] - height)), data_samples
