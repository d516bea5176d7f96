"""Parts of torchvision's Mask R-CNN that no option of MMDetection or MMPretrain can reproduce."""

from copy import copy

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import MODELS, TASK_UTILS
from mmpretrain.models.backbones import ConvNeXt
from torch import Tensor, nn


@TASK_UTILS.register_module()
class TorchvisionAnchorGenerator(AnchorGenerator):
    """``AnchorGenerator`` with torchvision's anchors, bit for bit (``torchvision.models.detection.anchor_utils``).

    - Corners are rounded to whole pixels, halves to the even number: at 32 px and ratio 2 an anchor measures 22x46 px,
      not 22.63x45.25 px.
    - The distance of neighbouring anchors in a level is the side of the padded image divided by the side of the feature
      map, rounded down. This is the stride, except in the last, pooled level: an image that is 96 px wide has two
      columns of anchors 48 px apart there, not 64 px.

    The finest level must fill the padded image completely, as it does when images are padded to multiples of 32 px.

    Args: The arguments of ``AnchorGenerator``.
    """

    def gen_single_level_base_anchors(self, *args, **kwargs) -> Tensor:
        """Returns the A anchors of one position, (A, 4) xyxy in px relative to the position."""
        return super().gen_single_level_base_anchors(*args, **kwargs).round()

    def grid_priors(self, featmap_sizes: list[tuple[int, int]], dtype: torch.dtype = torch.float32,
                    device: str | torch.device = 'cuda') -> list[Tensor]:
        """Returns the anchors of each level, (H * W * A, 4) xyxy in px, for feature maps of the sizes (H, W)."""
        height, width = featmap_sizes[0]
        width_px, height_px = width * self.strides[0][0], height * self.strides[0][1]
        # The strides depend on the image, hence a copy: the generator itself must keep its nominal strides.
        fitted = copy(self)
        fitted.strides = [(width_px // w, height_px // h) for h, w in featmap_sizes]
        return super(TorchvisionAnchorGenerator, fitted).grid_priors(featmap_sizes, dtype, device)


@MODELS.register_module()
class PlainOutputConvNeXt(ConvNeXt):
    """``mmpretrain.ConvNeXt`` that returns the outputs of its stages without normalising them.

    The outputs equal the outputs of ``features`` 1, 3, 5 and 7 of torchvision's ConvNeXt. The stock class always
    normalises each output, for which it has two more tensors per stage.

    Args: The arguments of ``mmpretrain.ConvNeXt`` except ``gap_before_final_norm``.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(gap_before_final_norm=False, **kwargs)
        for stage in self.out_indices:
            setattr(self, f'norm{stage}', nn.Identity())
