"""Converts weights of torchvision's Mask R-CNN to MMDetection: names, order of classes, epsilon of frozen norms.

The names come from torchvision.models.detection (mask_rcnn.py, faster_rcnn.py, rpn.py, backbone_utils.py) and
torchvision.models (resnet.py, convnext.py) of torchvision 0.29. Files with the names of older versions are accepted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.errors import MmcellError, list_some

# The epsilon of torch.nn.BatchNorm2d, which MMDetection uses.
BN_EPS = 1e-5
# The published maskrcnn_resnet50_fpn was trained when FrozenBatchNorm2d had no epsilon. torchvision sets the epsilon to
# 0 with overwrite_eps when it loads these weights, which are recognised here by their layout and number of classes.
PUBLISHED_FROZEN_BN_EPS = 0.
PUBLISHED_WITH_FROZEN_BN = ('ResNet, v1 heads', 90)

_AFFINE = ('weight', 'bias')
_BATCH_NORM = (*_AFFINE, 'running_mean', 'running_var')
_COUNTER = '.num_batches_tracked'
# torchvision's _load_from_state_dict renames these tensors in files from before version 2 of their modules.
_OLD_NAMES = (
    (r'^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$', r'\1.0.\2'),
    (r'^rpn\.head\.conv\.(weight|bias)$', r'rpn.head.conv.0.0.\1'),
    (r'^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$',
     lambda match: f'roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}'),
)


class TorchvisionWeightsError(MmcellError):
    """A state dict does not belong to a Mask R-CNN of torchvision that can be converted."""


class Converted(NamedTuple):
    """Result of :func:`convert_mask_rcnn`."""

    state_dict: dict[str, Tensor]  # with MMDetection's names
    layout: str  # for example 'ResNet, v2 heads'
    n_classes: int  # without the background
    frozen_bn_eps: float | None  # epsilon of torchvision's frozen norms; None if no norm is frozen


class _Layer(NamedTuple):
    """Name of a layer in torchvision (theirs) and in MMDetection (ours), and the names of its tensors in both."""

    theirs: str
    ours: str
    tensors: tuple[str, ...]


def convert_mask_rcnn(state_dict: Mapping[str, Tensor], frozen_bn_eps: float | None = None) -> Converted:
    """Converts weights of a torchvision Mask R-CNN: a ResNet with bottlenecks or a ConvNeXt, with "v1" or "v2" heads.

    The heads of ``maskrcnn_resnet50_fpn`` are called v1, and the heads of ``maskrcnn_resnet50_fpn_v2`` are called v2.
    The converted weights fit the models of ``configs/_base_/mask-rcnn_r50_torchvision.py`` and of the configs that
    inherit from it. Background is the first class in torchvision and the last class in MMDetection, which predicts no
    box or mask for it.

    Args:
        state_dict: Weights of ``maskrcnn_resnet50_fpn``, of ``maskrcnn_resnet50_fpn_v2``, or of a ``MaskRCNN`` with a
            ``BackboneWithFPN`` of ``convnext_*().features`` with outputs 1, 3, 5 and 7.
        frozen_bn_eps: Number that torchvision added to the variances in the backbone's ``FrozenBatchNorm2d``.
            MMDetection adds 1e-5, and the weights of these layers are scaled to compensate for the difference. None
            chooses the number if the state dict has frozen norms: 0 for v1 heads with 90 classes, because torchvision
            computes that way with its published weights (``overwrite_eps``), and otherwise 1e-5.

    Returns:
        The converted weights, and a description of the model that they belong to.

    Raises:
        TorchvisionWeightsError: Tensors are missing or unknown, or their shapes contradict each other.
    """
    state = _with_new_names(state_dict)
    layers, layout = _layers(state)
    _check_names(state, layers)
    n_classes = _count_classes(state)
    converted = {f'{layer.ours}.{name}': state[f'{layer.theirs}.{name}'] for layer in layers for name in layer.tensors}
    frozen = []
    for layer in (layer for layer in layers if layer.tensors == _BATCH_NORM):
        # Only BatchNorm2d counts batches, so that a norm without this counter is a FrozenBatchNorm2d. All norms of
        # MMDetection are BatchNorm2d and need the counter.
        converted[layer.ours + _COUNTER] = state.get(layer.theirs + _COUNTER, torch.tensor(0))
        is_frozen = layer.theirs + _COUNTER not in state
        if layer.ours.startswith('backbone.') and (is_frozen or frozen_bn_eps is not None):
            frozen.append(layer.ours)
    if frozen_bn_eps is None:
        frozen_bn_eps = PUBLISHED_FROZEN_BN_EPS if (layout, n_classes) == PUBLISHED_WITH_FROZEN_BN else BN_EPS
    for name in frozen:
        # The output contains weight * (x - mean) / sqrt(variance + epsilon). If the variance is 3e-5 and the epsilon
        # grows from 0 to 1e-5, the denominator grows by a factor of sqrt(4e-5 / 3e-5) = 1.155, and so must the weight.
        variance = converted[f'{name}.running_var']
        scale = ((variance + BN_EPS) / (variance + frozen_bn_eps)).sqrt()
        converted[f'{name}.weight'] = converted[f'{name}.weight'] * scale
    _reorder_classes(converted, n_classes)
    for name in [name for name in converted if name.endswith('.layer_scale')]:
        # The scale has the shape (C, 1, 1) in torchvision and (C,) in MMPretrain.
        converted[name.removesuffix('layer_scale') + 'gamma'] = converted.pop(name).flatten()
    # Tensors are copied, because a slice of a tensor would be saved together with the whole tensor.
    return Converted({name: tensor.clone() for name, tensor in converted.items()}, layout, n_classes,
                     frozen_bn_eps if frozen else None)


def _with_new_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in _OLD_NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    return state


def _layers(state: Mapping[str, Tensor]) -> tuple[list[_Layer], str]:
    """Returns all layers of the model, as far as the names in its state dict reveal them, and its layout."""
    for name, meaning in (('roi_heads.mask_predictor.mask_fcn_logits.weight', 'a mask head'),
                          ('backbone.fpn.inner_blocks.0.0.weight', 'a feature pyramid')):
        if name not in state:
            raise TorchvisionWeightsError(
                f"not the weights of a torchvision Mask R-CNN with {meaning}: no tensor {name} among {len(state)} "
                f'entries, which begin with {list_some(list(state))}')
    is_convnext = 'backbone.body.0.0.weight' in state
    with_convs = 'roi_heads.box_head.0.0.weight' in state
    layers = [*(_convnext if is_convnext else _resnet)(state), *_neck_and_rpn(state), *_heads(state, with_convs)]
    return layers, f"{'ConvNeXt' if is_convnext else 'ResNet'}, {'v2' if with_convs else 'v1'} heads"


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Returns how many numbered modules follow the prefix: for 'conv.0.weight' and 'conv.1.weight' there are 2."""
    numbers = (name[len(prefix):].partition('.')[0] for name in state if name.startswith(prefix))
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def _conv_norm(state: Mapping[str, Tensor], theirs: str, ours: str) -> Iterator[_Layer]:
    """Yields the layers of a Conv2dNormActivation, a ConvModule in mmcv, with a bias only if no norm follows."""
    with_norm = any(name.startswith(f'{theirs}.1.') for name in state)
    yield _Layer(f'{theirs}.0', f'{ours}.conv', ('weight',) if with_norm else _AFFINE)
    if with_norm:
        yield _Layer(f'{theirs}.1', f'{ours}.bn', _BATCH_NORM)


def _resnet(state: Mapping[str, Tensor]) -> Iterator[_Layer]:
    """Yields the layers of a ResNet with bottleneck blocks; torchvision and MMDetection name them alike."""
    pairs = [('conv1', 'bn1')]
    for stage in (f'layer{i}' for i in range(1, 5)):
        for block in range(max(1, _count(state, f'backbone.body.{stage}.'))):
            pairs += [(f'{stage}.{block}.conv{i}', f'{stage}.{block}.bn{i}') for i in range(1, 4)]
        pairs.append((f'{stage}.0.downsample.0', f'{stage}.0.downsample.1'))
    for conv, norm in pairs:
        yield _Layer(f'backbone.body.{conv}', f'backbone.{conv}', ('weight',))
        yield _Layer(f'backbone.body.{norm}', f'backbone.{norm}', _BATCH_NORM)


def _convnext(state: Mapping[str, Tensor]) -> Iterator[_Layer]:
    # In torchvision, features 0, 2, 4 and 6 are the stem and the downsampling layers, the others are the stages.
    inside = {'block.0': 'depthwise_conv', 'block.2': 'norm', 'block.3': 'pointwise_conv1',
              'block.5': 'pointwise_conv2'}
    for stage in range(4):
        for i in range(2):
            yield _Layer(f'backbone.body.{2 * stage}.{i}', f'backbone.downsample_layers.{stage}.{i}', _AFFINE)
        feature = f'backbone.body.{2 * stage + 1}'
        for block in range(max(1, _count(state, f'{feature}.'))):
            theirs, ours = f'{feature}.{block}', f'backbone.stages.{stage}.{block}'
            yield _Layer(theirs, ours, ('layer_scale',))
            yield from (_Layer(f'{theirs}.{a}', f'{ours}.{b}', _AFFINE) for a, b in inside.items())


def _neck_and_rpn(state: Mapping[str, Tensor]) -> Iterator[_Layer]:
    for level in range(4):
        yield from _conv_norm(state, f'backbone.fpn.inner_blocks.{level}', f'neck.lateral_convs.{level}')
        yield from _conv_norm(state, f'backbone.fpn.layer_blocks.{level}', f'neck.fpn_convs.{level}')
    n_convs = max(1, _count(state, 'rpn.head.conv.'))
    for i in range(n_convs):
        # MMDetection's head has a plain convolution instead of a list if there is only one convolution.
        yield _Layer(f'rpn.head.conv.{i}.0', 'rpn_head.rpn_conv' + (f'.{i}.conv' if n_convs > 1 else ''), _AFFINE)
    yield _Layer('rpn.head.cls_logits', 'rpn_head.rpn_cls', _AFFINE)
    yield _Layer('rpn.head.bbox_pred', 'rpn_head.rpn_reg', _AFFINE)


def _heads(state: Mapping[str, Tensor], with_convs: bool) -> Iterator[_Layer]:
    box_head, mask_head = 'roi_head.bbox_head', 'roi_head.mask_head'
    if with_convs:
        for i in range(4):
            yield from _conv_norm(state, f'roi_heads.box_head.{i}', f'{box_head}.shared_convs.{i}')
        # Module 4 flattens the features and has no tensors.
        yield _Layer('roi_heads.box_head.5', f'{box_head}.shared_fcs.0', _AFFINE)
    else:
        yield _Layer('roi_heads.box_head.fc6', f'{box_head}.shared_fcs.0', _AFFINE)
        yield _Layer('roi_heads.box_head.fc7', f'{box_head}.shared_fcs.1', _AFFINE)
    yield _Layer('roi_heads.box_predictor.cls_score', f'{box_head}.fc_cls', _AFFINE)
    yield _Layer('roi_heads.box_predictor.bbox_pred', f'{box_head}.fc_reg', _AFFINE)
    for i in range(4):
        yield from _conv_norm(state, f'roi_heads.mask_head.{i}', f'{mask_head}.convs.{i}')
    yield _Layer('roi_heads.mask_predictor.conv5_mask', f'{mask_head}.upsample', _AFFINE)
    yield _Layer('roi_heads.mask_predictor.mask_fcn_logits', f'{mask_head}.conv_logits', _AFFINE)


def _check_names(state: Mapping[str, Tensor], layers: list[_Layer]) -> None:
    required = {f'{layer.theirs}.{name}' for layer in layers for name in layer.tensors}
    counters = {layer.theirs + _COUNTER for layer in layers if layer.tensors == _BATCH_NORM}
    for names, problem in ((required - state.keys(), 'missing'), (state.keys() - required - counters, 'unknown')):
        if names:
            raise TorchvisionWeightsError(
                f'{len(names)} tensors of a torchvision Mask R-CNN are {problem}: {list_some(sorted(names))}')


def _count_classes(state: Mapping[str, Tensor]) -> int:
    """Returns the number of classes without the background, which must be the same in all heads."""
    rows = {name: len(state[f'roi_heads.{name}.weight'])
            for name in ('box_predictor.cls_score', 'box_predictor.bbox_pred', 'mask_predictor.mask_fcn_logits')}
    n = rows['box_predictor.cls_score']
    if n < 2 or list(rows.values()) != [n, 4 * n, n]:
        raise TorchvisionWeightsError('the heads have different numbers of classes: the numbers of rows must be n, 4 n '
                                      f'and n, with n of at least 2, got {rows}')
    return n - 1


def _reorder_classes(converted: dict[str, Tensor], n_classes: int) -> None:
    """Moves the background from the first to the last row of the classifier, and removes it from boxes and masks."""
    # Example with 4 classes: the rows [background, 1, 2, 3, 4] of the classifier become [1, 2, 3, 4, background]. Of
    # the 5 * 4 = 20 rows of box deltas the last 16 are kept, and of the 5 rows of masks the last 4.
    for name in _AFFINE:
        scores, deltas, masks = (f'roi_head.{layer}.{name}' for layer in (
            'bbox_head.fc_cls', 'bbox_head.fc_reg', 'mask_head.conv_logits'))
        converted[scores] = converted[scores].roll(-1, dims=0)
        converted[deltas] = converted[deltas][-4 * n_classes:]
        converted[masks] = converted[masks][-n_classes:]
