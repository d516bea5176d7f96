"""BatchNorm folded into the convolutions before it, for models that only predict."""

from collections.abc import Iterator
from itertools import pairwise

from mmcv.cnn import ConvModule
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmcell.models.winograd import WinogradConv2d


def fold_batch_norm(model: nn.Module) -> int:
    """Multiplies the weights of convolutions by the factors of the BatchNorm that follows, and removes the BatchNorm.

    Predictions differ in the sixth digit. The model can no longer be trained or saved as the model that it was: its
    state dict has other names. ``mmcv.cnn.fuse_conv_bn`` goes by the order in which layers are defined; this function
    changes only modules that are known to call them in this order.

    Args:
        model: A model in evaluation mode, which is changed.

    Returns:
        The number of folded layers.
    """
    pairs = [(parent, *names) for parent in model.modules() for names in _pairs(parent)]
    for parent, conv, norm in pairs:
        fused = fuse_conv_bn_eval(parent.get_submodule(conv), parent.get_submodule(norm))
        parent.set_submodule(conv, fused.requires_grad_(False))
        parent.set_submodule(norm, nn.Identity())
    return len(pairs)


def _pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Yields the names of a convolution and of the BatchNorm that the module applies to its output."""
    names = []
    if isinstance(parent, ConvModule) and parent.order[:2] == ('conv', 'norm') and parent.with_norm:
        names = [('conv', parent.norm_name)]
    elif isinstance(parent, BasicBlock | Bottleneck | ResNet):
        names = [(f'conv{i}', getattr(parent, f'norm{i}_name', '')) for i in (1, 2, 3)]
    elif type(parent) is nn.Sequential:
        names = list(pairwise(dict(parent.named_children())))
    for conv, norm in names:
        if _can_fold(getattr(parent, conv, None), getattr(parent, norm, None)):
            yield conv, norm


def _can_fold(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    # Subclasses may change their weights before they use them, as weight standardisation does.
    return (type(conv) in (nn.Conv2d, WinogradConv2d) and type(norm) is nn.BatchNorm2d
            and norm.track_running_stats and not norm.training)
