"""Replaces the functions of ``mmcv._ext`` for which torchvision has kernels, with mmcv's calling convention.

The functions have the parameters with which ``mmcv/ops/*.py`` (mmcv 2.3) calls its compiled extension: mmcv allocates
the outputs and passes them as arguments. Each function here computes with torchvision's kernel and copies the result
into the outputs. Tensors are NCHW; boxes are xyxy in px of the input image.

Border: for a point that a deformable convolution samples exactly one pixel above or left of the image (y = -1 or
x = -1, as at offset 0 with padding 1), the gradient of the offset is that of the bilinear interpolation on the side of
the image. In mmcv's kernel it is 0 there. Everywhere else, and in all outputs and other gradients, the kernels agree.

Half precision: torchvision lacks half-precision CPU kernels for some of these functions. On the CPU, every dtype below
float32 is therefore computed in float32 and rounded once at the end.
"""

from collections.abc import Callable
from typing import NoReturn

import torch
import torchvision  # loads the kernels into torch.ops.torchvision
from torch import Tensor


class MissingOpError(RuntimeError):
    """An op of ``mmcv.ops`` was called for which torchvision has no kernel."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f'mmcv op {op!r} needs a compiled mmcv: torchvision, which mmcell uses instead, has no kernel for this op. '
            'Either choose a module that needs only NMS, RoIAlign (average) or deformable convolution, or build '
            'mmcv with its ops: MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary onedl-mmcv onedl-mmcv '
            '(needs a C++ compiler and, for ops on a GPU, a CUDA toolkit).')


def __getattr__(name: str) -> Callable:
    """Returns a stand-in for any other function of the extension; the stand-in raises when it is called."""
    if name.startswith('__'):
        raise AttributeError(name)

    def raise_missing_op(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOpError(name)

    return raise_missing_op


def get_compiler_version() -> str:
    """Returns the text that mmcv's environment report prints as its compiler."""
    return 'not compiled: kernels of torchvision ' + torchvision.__version__


def get_compiling_cuda_version() -> str:
    """Returns the text that mmcv's environment report prints as its CUDA compiler."""
    return torch.version.cuda or 'not available'


def _computable(*tensors: Tensor) -> list[Tensor]:
    """Converts tensors to the dtype of the first one, or to float32 if the CPU has no kernel for that dtype."""
    dtype = tensors[0].dtype
    if tensors[0].device.type == 'cpu' and dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32
    return [tensor.to(dtype) for tensor in tensors]


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Returns the indices (K,) int64 of the boxes that greedy NMS keeps, in descending order of score.

    Args:
        bboxes: Boxes (N, 4) xyxy.
        scores: Scores (N,) of the boxes.
        iou_threshold: IoU with a kept box above which a box is removed.
        offset: Pixel that is added to widths and heights: 1 if a box from x1 to x2 is x2 - x1 + 1 wide, otherwise 0.
    """
    bboxes = bboxes.float() if bboxes.dtype in (torch.float16, torch.bfloat16) else bboxes
    # Widening every box by the offset has the same effect, because intersections become wider by the offset as well.
    # Boxes from x = 0 to 2 and from 1 to 3 with offset 1 become boxes from 0 to 3 and from 1 to 4, with 2 px in common.
    if offset:
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(bboxes, scores.to(bboxes.dtype), iou_threshold)


def _require_average_pooling(pool_mode: int) -> None:
    if pool_mode != 1:
        raise MissingOpError("roi_align(pool_mode='max')")


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, *,
                      aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """Writes RoIAlign of ``rois`` (K, 5: batch index, xyxy) to ``output`` (K, C, aligned_height, aligned_width)."""
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
    """Writes the deformable convolution v1 (Dai et al. 2017) to ``output`` (N, C_out, H_out, W_out)."""
    output.copy_(_call_deform_conv([input, weight, offset], None, None, geometry, group, deformable_group))


def deform_conv_backward_input(input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor,
                               grad_offset: Tensor, weight: Tensor, columns: Tensor, *, im2col_step: int, group: int,
                               deformable_group: int, **geometry: int) -> None:
    """Adds the gradients of :func:`deform_conv_forward` to ``grad_input`` and ``grad_offset``."""
    grads = _call_deform_conv([grad_output, input, weight, offset], None, None, geometry, group, deformable_group)
    grad_input += grads[0]
    grad_offset += grads[2]


def deform_conv_backward_parameters(input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor,
                                    columns: Tensor, ones: Tensor, *, scale: float, im2col_step: int, group: int,
                                    deformable_group: int, **geometry: int) -> None:
    """Adds ``scale`` times the gradient of :func:`deform_conv_forward` to ``grad_weight``."""
    # The gradient of the weight depends on the shape of the weight, but not on its values.
    weight = torch.zeros_like(grad_weight)
    grad_weight += scale * _call_deform_conv(
        [grad_output, input, weight, offset], None, None, geometry, group, deformable_group)[1]


def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                  mask: Tensor, output: Tensor, columns: Tensor, *, group: int, deformable_group: int,
                                  with_bias: bool, **geometry: int) -> None:
    """Writes the modulated deformable convolution v2 (Zhu et al. 2019) to ``output`` (N, C_out, H_out, W_out)."""
    output.copy_(_call_deform_conv(
        [input, weight, offset], mask, bias if with_bias else None, geometry, group, deformable_group))


def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                   mask: Tensor, columns: Tensor, grad_input: Tensor, grad_weight: Tensor,
                                   grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor, *,
                                   group: int, deformable_group: int, with_bias: bool, **geometry: int) -> None:
    """Adds the gradients of :func:`modulated_deform_conv_forward` to the ``grad_*`` tensors."""
    grads = _call_deform_conv([grad_output, input, weight, offset], mask, bias if with_bias else None, geometry, group,
                              deformable_group)
    for total, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads, strict=False):
        total += grad
    if with_bias:
        grad_bias += grads[4]


def _call_deform_conv(tensors: list[Tensor], mask: Tensor | None, bias: Tensor | None, geometry: dict[str, int],
                      group: int, deformable_group: int) -> Tensor | tuple[Tensor, ...]:
    """Computes a deformable convolution of input, weight and offset; with ``grad_output`` before them, its gradients.

    The gradients are those of input, weight, offset, mask and bias. The kernel's size is that of the weight. Of a
    convolution without mask (v1), torchvision expects a mask of the shape (N, 1).
    """
    weight, offset = tensors[-2:]
    used_mask = offset.new_zeros((len(offset), 1)) if mask is None else mask
    used_bias = weight.new_zeros(len(weight)) if bias is None else bias
    # Torchvision's order, with mmcv's names in v1 and v2.
    names = (('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW') if mask is None else
             ('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w'))
    ops = torch.ops.torchvision
    return (ops.deform_conv2d if len(tensors) == 3 else ops._deform_conv2d_backward)(
        *_computable(*tensors, used_mask, used_bias), *(geometry[name] for name in names), group, deformable_group,
        mask is not None)
