"""Attention over channels and positions, in or after the blocks of a ResNet.

Source: Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018. There it lies inside a block,
before the residual addition (figure 3): a plugin of MMDetection's ResNet. :class:`CBAMResNet` has it after each block.
"""

import math
from collections.abc import Sequence

import torch
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# The narrowest of the paper's networks: 64 channels of a ResNet-18 with a reduction of 16.
MIN_HIDDEN_CHANNELS = 4


@MODELS.register_module()
class CBAM(BaseModule):
    """Scales a feature map by a gate for each channel, then by one for each position (equation 1 of the paper).

    ``M_c(F) = sigmoid(MLP(AvgPool(F)) + MLP(MaxPool(F)))``, pooled over positions (equation 2), and
    ``M_s(F') = sigmoid(conv([AvgPool(F'); MaxPool(F')]))``, pooled over channels (equation 3), with
    ``F' = M_c(F) * F`` and the result ``M_s(F') * F'``. Both layers of the MLP and the convolution have a bias. The
    authors' code has a BatchNorm after the convolution, their equations have none, nor has this class: it works on a
    single image and has no statistics of its own.

    As a plugin of a ResNet of bottlenecks: ``plugins=[dict(cfg=dict(type='CBAM', reduction=16),
    stages=(False, True, True, True), position='after_conv3')]``.

    Args:
        in_channels: C, of the map.
        reduction: the hidden layer of the MLP has C // reduction channels, but 4 at least.
        kernel_size: of the convolution, odd, in positions of the map.
        initial_gate: value in (0, 1) that all gates of an untrained module have. None: PyTorch's initialisation, with
            gates about .5 for small inputs. Near 1 pretrained features stay what they were, but the gates learn more
            slowly (the slope of the sigmoid is .01 at .99).

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, in_channels: int, reduction: int = 16, kernel_size: int = 7,
                 initial_gate: float | None = None) -> None:
        super().__init__()
        if in_channels < 1 or reduction < 1:
            raise ValueError(f'in_channels and reduction of CBAM must be at least 1, not {in_channels} and {reduction}')
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of CBAM must be odd (7 in the paper), not {kernel_size}')
        if initial_gate is not None and not 0 < initial_gate < 1:
            raise ValueError(f'initial_gate of CBAM must lie between 0 and 1, or be None, not {initial_gate}')
        self.initial_gate = initial_gate
        hidden_channels = max(in_channels // reduction, MIN_HIDDEN_CHANNELS)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels), nn.ReLU(inplace=True), nn.Linear(hidden_channels, in_channels))
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws PyTorch's initial weights; those that the gates depend on become constants with ``initial_gate``."""
        for layer in (self.mlp[0], self.mlp[2], self.conv):
            layer.reset_parameters()
        if self.initial_gate is not None:
            logit = math.log(self.initial_gate / (1 - self.initial_gate))
            # The MLP's output is added up for two descriptors.
            for layer, bias in ((self.mlp[2], logit / 2), (self.conv, logit)):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, bias)

    def init_weights(self) -> None:
        """Undoes what the ``init_cfg`` of a surrounding ResNet does to every convolution."""
        self.reset_parameters()
        super().init_weights()

    def forward(self, features: Tensor) -> Tensor:
        """Scales features (N, C, H, W), floating point; same shape and dtype, under autocast too."""
        descriptors = torch.stack([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))])
        channel_gates = self.mlp(descriptors).sum(dim=0).sigmoid().to(features.dtype)
        features = features * channel_gates[:, :, None, None]
        descriptors = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return features * self.conv(descriptors).sigmoid().to(features.dtype)


class _GatedBlock:
    """Mixed into a block of ResNet: its output, after the addition and ReLU, goes through a CBAM.

    ``with_cp`` recomputes the CBAM in the backward pass too. Its name differs from that of a CBAM plugin in the block.
    """

    def __init__(self, inplanes: int, planes: int, *, cbam: dict, **kwargs) -> None:
        super().__init__(inplanes, planes, **kwargs)
        self.output_cbam = CBAM(planes * self.expansion, **cbam)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self.with_cp and out.requires_grad:
            return checkpoint(self.output_cbam, out, use_reentrant=False)
        return self.output_cbam(out)


class _GatedBasicBlock(_GatedBlock, BasicBlock):
    pass


class _GatedBottleneck(_GatedBlock, Bottleneck):
    pass


@MODELS.register_module()
class CBAMResNet(ResNet):
    """ResNet with a CBAM after each block's output, that is after the residual addition and its ReLU.

    The paper puts it before the addition, which is :class:`CBAM` as a plugin, for bottlenecks. The parameters of the
    ResNet keep their names, so that weights of a ResNet load; those of the CBAMs are ``layer*.*.output_cbam.*``.
    The CBAMs of ``frozen_stages`` are frozen as well: leave a stage without, or load weights that have them.

    Untrained gates of about .5, twice a block, leave little of pretrained features where BatchNorm keeps its statistics
    (``norm_eval``): on an image of cells, with ImageNet weights of a ResNet-50, the mean of the last stage falls from
    .35 to .0001; with ``cbam=dict(initial_gate=.99)`` it is .26, and the features have a cosine of .96 with the stock.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_stages: of the ResNet.
        stages: for each stage, whether its blocks have a CBAM.
        cbam: arguments of :class:`CBAM` but for ``in_channels``.
        kwargs: as ``mmdet.models.ResNet``.

    Raises:
        ValueError: ``stages`` has not one entry for each stage.
    """

    def __init__(self, depth: int, *, num_stages: int = 4, stages: Sequence[bool] = (False, True, True, True),
                 cbam: dict | None = None, **kwargs) -> None:
        if len(stages) != num_stages:
            raise ValueError(f'stages of CBAMResNet must have {num_stages} entries, one a stage, not {len(stages)}')
        # Before the parent's __init__, which makes the layers.
        self.cbam_stages = tuple(stages)
        self.cbam_args = dict(cbam or {})
        super().__init__(depth, num_stages=num_stages, **kwargs)

    def make_res_layer(self, block: type[BasicBlock | Bottleneck], **kwargs) -> nn.Module:
        """Makes the next stage, of blocks with a CBAM where the stage has them."""
        if self.cbam_stages[len(self.res_layers)]:
            block = {BasicBlock: _GatedBasicBlock, Bottleneck: _GatedBottleneck}[block]
            kwargs['cbam'] = self.cbam_args
        return super().make_res_layer(block=block, **kwargs)
