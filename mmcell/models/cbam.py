"""Attention over channels and positions (CBAM), inside or after the blocks of a ResNet, or after its stages.

Source: Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018. In the paper the module lies
inside a block, before the residual addition (figure 3). :class:`CBAM` lies there too if it is a plugin of MMDetection's
ResNet. :class:`CBAMResNet` has the module after each block or each stage instead.
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

# The narrowest hidden layer in the paper's networks: 64 channels of a ResNet-18, divided by a reduction of 16.
MIN_HIDDEN_CHANNELS = 4


@MODELS.register_module()
class CBAM(BaseModule):
    """Scales a feature map by one gate per channel, then by one gate per position (equation 1 of the paper).

    ``M_c(F) = sigmoid(MLP(AvgPool(F)) + MLP(MaxPool(F)))``, pooled over positions (equation 2), and
    ``M_s(F') = sigmoid(conv([AvgPool(F'); MaxPool(F')]))``, pooled over channels (equation 3), with
    ``F' = M_c(F) * F`` and the result ``M_s(F') * F'``. Both layers of the MLP and the convolution have a bias. The
    authors' code has a BatchNorm after the convolution, but their equations have none. This class has none either, so
    that it works on a single image and keeps no statistics.

    As a plugin of a ResNet with bottleneck blocks: ``plugins=[dict(cfg=dict(type='CBAM', reduction=16),
    stages=(False, True, True, True), position='after_conv3')]``.

    Args:
        in_channels: Number C of channels of the feature map, at least 1.
        reduction: Divisor for the hidden layer of the MLP, at least 1: the layer has C // reduction channels, but never
            fewer than 4.
        kernel_size: Side of the convolution's kernel in positions of the feature map; an odd number.
        initial_gate: Value between 0 and 1 (exclusive) of all gates in an untrained module. None means PyTorch's
            initialisation, with gates of about .5 for small inputs. Gates near 1 leave pretrained features almost
            unchanged, but learn more slowly (at .99 the slope of the sigmoid is .01).

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, in_channels: int, reduction: int = 16, kernel_size: int = 7,
                 initial_gate: float | None = None) -> None:
        super().__init__()
        if in_channels < 1 or reduction < 1:
            raise ValueError('in_channels and reduction of CBAM must be at least 1, got '
                             f'in_channels={in_channels} and reduction={reduction}')
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of CBAM must be a positive odd number (7 in the paper), got {kernel_size}')
        if initial_gate is not None and not 0 < initial_gate < 1:
            raise ValueError(f'initial_gate of CBAM must be None or lie between 0 and 1, got {initial_gate}')
        self.initial_gate = initial_gate
        hidden_channels = max(in_channels // reduction, MIN_HIDDEN_CHANNELS)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels), nn.ReLU(inplace=True), nn.Linear(hidden_channels, in_channels))
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws PyTorch's initial weights and, with an ``initial_gate``, makes the last layers give constant gates."""
        for layer in (self.mlp[0], self.mlp[2], self.conv):
            layer.reset_parameters()
        if self.initial_gate is not None:
            logit = math.log(self.initial_gate / (1 - self.initial_gate))
            # The MLP's outputs for two descriptors (average and maximum) are added, hence half of the logit for each.
            for layer, bias in ((self.mlp[2], logit / 2), (self.conv, logit)):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, bias)

    def init_weights(self) -> None:
        """Restores the initial weights, because ``init_cfg`` of a ResNet initialises every convolution inside it."""
        self.reset_parameters()
        super().init_weights()

    def forward(self, features: Tensor) -> Tensor:
        """Scales floating-point features (N, C, H, W); the result has the same shape and dtype, even under autocast."""
        descriptors = torch.stack([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))])
        channel_gates = self.mlp(descriptors).sum(dim=0).sigmoid().to(features.dtype)
        features = features * channel_gates[:, :, None, None]
        descriptors = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return features * self.conv(descriptors).sigmoid().to(features.dtype)


class _GatedBlock:
    """Mixin for a block of a ResNet: the block's output, after the addition and ReLU, goes through a CBAM.

    The attribute is called ``output_cbam``, because a CBAM plugin inside the block is called ``cbam``.
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
    """ResNet with a CBAM after the output of each block, or of each stage: after the residual addition and its ReLU.

    The paper puts CBAM before the addition; for bottleneck blocks, :class:`CBAM` as a plugin does that. The parameters
    of the ResNet keep their names, so that weights of a plain ResNet load. The parameters of the CBAMs are called
    ``layer*.*.output_cbam.*``, or after stages ``layer*.output_cbam.*``. The CBAMs in ``frozen_stages`` are frozen as
    well: switch CBAM off in those stages, or load weights that contain trained CBAMs.

    Untrained gates of about .5, applied twice per block, destroy most of the pretrained features if BatchNorm keeps its
    statistics (``norm_eval``): on an image of cells, with ImageNet weights of a ResNet-50, the mean of the last stage
    falls from .35 to .0001. With ``cbam=dict(initial_gate=.99)`` the mean is .26, and the cosine similarity with the
    features of the stock ResNet is .96.

    Args:
        depth: Number of layers of the ResNet: 18, 34, 50, 101 or 152.
        num_stages: Number of stages of the ResNet.
        stages: One flag per stage that says whether it has CBAMs.
        after: 'block' for a CBAM after each block of these stages, 'stage' for one after the last block.
        cbam: Arguments of :class:`CBAM` except ``in_channels``.
        kwargs: Further arguments of ``mmdet.models.ResNet``.

    Raises:
        ValueError: The number of entries in ``stages`` differs from ``num_stages``, or ``after`` has another value.
    """

    def __init__(self, depth: int, *, num_stages: int = 4, stages: Sequence[bool] = (False, True, True, True),
                 after: str = 'block', cbam: dict | None = None, **kwargs) -> None:
        if len(stages) != num_stages:
            raise ValueError(f'stages of CBAMResNet must have {num_stages} entries, one per stage, got {len(stages)}')
        if after not in ('block', 'stage'):
            raise ValueError(f"after of CBAMResNet must be 'block' or 'stage', got {after!r}")
        # These are set before the parent's __init__, which calls make_res_layer.
        self.cbam_stages = tuple(stages)
        self.after = after
        self.cbam_args = dict(cbam or {})
        super().__init__(depth, num_stages=num_stages, **kwargs)

    def make_res_layer(self, block: type[BasicBlock | Bottleneck], **kwargs) -> nn.Module:
        """Makes the next stage, with CBAMs if ``stages`` says so."""
        if not self.cbam_stages[len(self.res_layers)]:
            return super().make_res_layer(block=block, **kwargs)
        if self.after == 'block':
            gated_block = {BasicBlock: _GatedBasicBlock, Bottleneck: _GatedBottleneck}[block]
            return super().make_res_layer(block=gated_block, cbam=self.cbam_args, **kwargs)
        stage = super().make_res_layer(block=block, **kwargs)
        stage.add_module('output_cbam', CBAM(kwargs['planes'] * block.expansion, **self.cbam_args))
        return stage
