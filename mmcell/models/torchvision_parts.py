"""What torchvision's Mask R-CNN does in its own way, and no option of MMDetection or MMPretrain asks for."""

from copy import copy

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import MODELS, TASK_UTILS
from mmpretrain.models.backbones import ConvNeXt
from torch import Tensor, nn


@TASK_UTILS.register_module()
class TorchvisionAnchorGenerator(AnchorGenerator):
    """``AnchorGenerator`` with torchvision's anchors, bit for bit (``torchvision.models.detection.anchor_utils``).

    - Corners are rounded to whole pixels, half to even: at 32 px and ratio 2 an anchor is 22x46, not 22.63x45.25.
    - The steps of a level are the sides of the padded image over those of its feature map, rounded down. They are the
      strides but for the last, pooled level: over 96 px it has two columns 48 px apart, not 64.

    Args: as ``AnchorGenerator``. The finest level must fill the padded image, as it does with padding to 32 px.
    """

    def gen_single_level_base_anchors(self, *args, **kwargs) -> Tensor:
        """Corners (A, 4) xyxy around 0, in px."""
        return super().gen_single_level_base_anchors(*args, **kwargs).round()

    def grid_priors(self, featmap_sizes: list[tuple[int, int]], dtype: torch.dtype = torch.float32,
                    device: str | torch.device = 'cuda') -> list[Tensor]:
        """Anchors (H * W * A, 4) xyxy of each level, in px, for feature maps of the sizes (H, W)."""
        height, width = featmap_sizes[0]
        width_px, height_px = width * self.strides[0][0], height * self.strides[0][1]
        fitted = copy(self)
        fitted.strides = [(width_px // w, height_px // h) for h, w in featmap_sizes]
        return super(TorchvisionAnchorGenerator, fitted).grid_priors(featmap_sizes, dtype, device)


@MODELS.register_module()
class PlainOutputConvNeXt(ConvNeXt):
    """``mmpretrain.ConvNeXt`` that gives the outputs of its stages as they are, as torchvision's features 1, 3, 5, 7.

    The stock class normalises each output (two tensors a stage more), whatever its arguments.

    Args: as ``mmpretrain.ConvNeXt``, without ``gap_before_final_norm``.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(gap_before_final_norm=False, **kwargs)
        for stage in self.out_indices:
            setattr(self, f'norm{stage}', nn.Identity())
