"""The functions of ``mmcv._ext`` that torchvision can answer, with mmcv's calling convention.

The signatures are those with which ``mmcv/ops/*.py`` (mmcv 2.3) calls its extension: mmcv allocates the outputs and
passes them in; each function here computes with torchvision's kernel and copies the result into them. Tensors are
NCHW; boxes are xyxy in pixels of the input image.

Half precision: torchvision has no half-precision CPU kernels for some of these, so that on the CPU everything
below float32 is computed in float32 and rounded once at the end.
"""

from collections.abc import Callable
from typing import NoReturn

import torch
import torchvision  # loads the kernels into torch.ops.torchvision
from torch import Tensor

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
]


class MissingOpError(RuntimeError):
    """An op of ``mmcv.ops`` was called that torchvision has no kernel for."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f'mmcv op {op!r} needs a compiled mmcv: torchvision, which mmcell uses instead, has no such kernel. '
            'Either choose a module that needs only NMS, RoIAlign (average) or deformable convolution, or build '
            'mmcv with its ops: MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary onedl-mmcv onedl-mmcv '
            '(takes a C++ compiler, and a CUDA toolkit for ops on a GPU).')


def __getattr__(name: str) -> Callable:
    """Any other function of the extension: a stand-in that raises when it is called."""
    if name.startswith('__'):
        raise AttributeError(name)

    def raise_missing_op(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOpError(name)

    return raise_missing_op


def get_compiler_version() -> str:
    """What mmcv's environment report prints as its compiler."""
    return 'not compiled: kernels of torchvision ' + torchvision.__version__


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report prints as its CUDA compiler."""
    return torch.version.cuda or 'not available'


def _computable(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the dtype of the first, or in float32 where the CPU has no kernel for that dtype."""
    dtype = tensors[0].dtype
    if tensors[0].device.type == 'cpu' and dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32
    return [tensor.to(dtype) for tensor in tensors]


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) int64 of the boxes kept by greedy NMS, by descending score.

    Args:
        bboxes: (N, 4) xyxy.
        scores: (N,).
        iou_threshold: a box goes when its IoU with a kept one is greater.
        offset: 1 where a box from x1 to x2 is x2 - x1 + 1 wide. Widening every box by one pixel is the same,
            since intersections then widen by one pixel too.
    """
    bboxes = bboxes.float() if bboxes.dtype in (torch.float16, torch.bfloat16) else bboxes
    if offset:
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(bboxes, scores.to(bboxes.dtype), iou_threshold)


def _require_average_pooling(pool_mode: int) -> None:
    if pool_mode != 1:
        raise MissingOpError("roi_align(pool_mode='max')")


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, *,
                      aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """RoIAlign of ``rois`` (K, 5: batch index, xyxy) into ``output`` (K, C, aligned_height, aligned_width)."""
    _require_average_pooling(pool_mode)
    if len(rois) == 0:
        return
    features, boxes = _computable(input, rois)
    output.copy_(torch.ops.torchvision.roi_align(
        features, boxes, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, *,
                       aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Adds the gradient of :func:`roi_align_forward` with respect to its input to ``grad_input`` (N, C, H, W)."""
    _require_average_pooling(pool_mode)
    if len(rois) == 0:
        return
    grad, boxes = _computable(grad_output, rois)
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad, boxes, spatial_scale, aligned_height, aligned_width, *grad_input.shape, sampling_ratio, aligned)


def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
                        *, im2col_step: int, group: int, deformable_group: int, **geometry: int) -> None:
    """Deformable convolution v1 (Dai et al. 2017) into ``output`` (N, C_out, H_out, W_out)."""
    mask, bias = _absent_mask(offset), weight.new_zeros(weight.shape[0])
    output.copy_(torch.ops.torchvision.deform_conv2d(
        *_computable(input, weight, offset, mask, bias), *_geometry_v1(geometry), group, deformable_group, False))


def deform_conv_backward_input(input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor,
                               grad_offset: Tensor, weight: Tensor, columns: Tensor, *, im2col_step: int, group: int,
                               deformable_group: int, **geometry: int) -> None:
    """Adds the gradients of :func:`deform_conv_forward` to ``grad_input`` and ``grad_offset``."""
    grads = _deform_conv_backward(grad_output, input, weight, offset, geometry, group, deformable_group)
    grad_input += grads[0]
    grad_offset += grads[2]


def deform_conv_backward_parameters(input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor,
                                    columns: Tensor, ones: Tensor, *, scale: float, im2col_step: int, group: int,
                                    deformable_group: int, **geometry: int) -> None:
    """Adds ``scale`` times the gradient of :func:`deform_conv_forward` to ``grad_weight``."""
    # The values of the weight do not enter its own gradient; its shape does.
    weight = torch.zeros_like(grad_weight)
    grad_weight += scale * _deform_conv_backward(
        grad_output, input, weight, offset, geometry, group, deformable_group)[1]


def _deform_conv_backward(grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, geometry: dict[str, int],
                          group: int, deformable_group: int) -> tuple[Tensor, ...]:
    """Gradients with respect to input, weight, offset, (unused) mask and bias."""
    mask, bias = _absent_mask(offset), weight.new_zeros(weight.shape[0])
    return torch.ops.torchvision._deform_conv2d_backward(
        *_computable(grad_output, input, weight, offset, mask, bias), *_geometry_v1(geometry), group,
        deformable_group, False)


def _absent_mask(offset: Tensor) -> Tensor:
    """The mask argument of a deformable convolution without one; torchvision wants it (N, 1)."""
    return offset.new_zeros((len(offset), 1))


def _geometry_v1(geometry: dict[str, int]) -> list[int]:
    """torchvision's order (stride, padding, dilation, each height first) of mmcv's v1 names; kernel sizes go."""
    return [geometry[name] for name in ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW')]


def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                  mask: Tensor, output: Tensor, columns: Tensor, *, group: int, deformable_group: int,
                                  with_bias: bool, **geometry: int) -> None:
    """Modulated deformable convolution v2 (Zhu et al. 2019) into ``output`` (N, C_out, H_out, W_out)."""
    bias = bias if with_bias else weight.new_zeros(weight.shape[0])
    output.copy_(torch.ops.torchvision.deform_conv2d(
        *_computable(input, weight, offset, mask, bias), *_geometry_v2(geometry), group, deformable_group, True))


def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                   mask: Tensor, columns: Tensor, grad_input: Tensor, grad_weight: Tensor,
                                   grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor, *,
                                   group: int, deformable_group: int, with_bias: bool, **geometry: int) -> None:
    """Adds the gradients of :func:`modulated_deform_conv_forward` to the ``grad_*`` tensors."""
    used_bias = bias if with_bias else weight.new_zeros(weight.shape[0])
    grads = torch.ops.torchvision._deform_conv2d_backward(
        *_computable(grad_output, input, weight, offset, mask, used_bias), *_geometry_v2(geometry), group,
        deformable_group, True)
    for total, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads, strict=False):
        total += grad
    if with_bias:
        grad_bias += grads[4]


def _geometry_v2(geometry: dict[str, int]) -> list[int]:
    """torchvision's order of mmcv's v2 names."""
    return [geometry[name] for name in ('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w')]
