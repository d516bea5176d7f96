"""torchvision's ConvNeXt, whose stages have no normalisation at their outputs."""

from mmdet.registry import MODELS
from mmpretrain.models.backbones import ConvNeXt
from torch import nn


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
