"""3x3 convolutions on CPUs with a quarter of the multiplications: the algorithm F(4x4, 3x3) of Winograd.

Lavin and Gray 2015 ("Fast Algorithms for Convolutional Neural Networks", section 4.3) cut the output into tiles of 4x4
pixels. The 6x6 input pixels d of a tile and the 3x3 weights g are transformed, multiplied value by value, and
transformed back: Y = A^T [(G g G^T) * (B^T d B)] A. A direct convolution multiplies 16 x 9 = 144 times per tile, input
and output channel, this one 36 times. The sums over the input channels are 36 matrix products.

The transforms round more: outputs differ from those of the direct convolution in the sixth digit, as the tests state.
GPUs and processors with bfloat16 have better algorithms of their own, so that only float32 on the CPU is computed here.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

# The matrices of F(4x4, 3x3) for the points 0, 1, -1, 2, -2 and infinity, with the names of the paper.
_B_T = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
_G = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
      [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
_A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _of_both_axes(rows: list[list[float]]) -> Tensor:
    """Returns the matrix that transforms flattened squares: M d M^T of a square d becomes one product."""
    matrix = torch.tensor(rows, dtype=torch.float64, device='cpu')
    return torch.kron(matrix, matrix).float()


_INPUT_TRANSFORM, _WEIGHT_TRANSFORM, _OUTPUT_TRANSFORM = map(_of_both_axes, (_B_T, _G, _A_T))  # 36x36, 36x9, 16x36

# Tiles that are computed at once. Their transformed values (36 x 128 x 256 float32, 5 MB) stay in the cache of the CPU.
_BLOCK_TILES = 128
# With fewer channels or tiles the transforms take longer than the multiplications that they save. Measured with two
# threads and with one thread on an AMD EPYC with AVX2 (benchmarks/convolutions.py).
MIN_CHANNELS, MIN_TILES = 128, 128


class WinogradConv2d(nn.Conv2d):
    """``nn.Conv2d`` with 3x3 weights, stride 1 and padding 1, which computes large float32 inputs on the CPU faster.

    All other inputs, also under autocast, are computed by ``nn.Conv2d``. The output is in the memory format
    channels-last. Parameters and state dict are those of ``nn.Conv2d``.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the convolution (N, K, H, W) of the input (N, C, H, W)."""
        if (input.device.type != 'cpu' or input.dtype != torch.float32 or input.ndim != 4
                or torch.is_autocast_enabled('cpu') or _count_tiles(input) < MIN_TILES):
            return super().forward(input)
        return _Convolution.apply(input.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def use_winograd(module: nn.Module) -> int:
    """Turns the convolutions of a module for which it pays into :class:`WinogradConv2d`, and returns their number.

    Only the class of the layers changes: parameters, hooks and state dict stay as they are.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Conv2d and _is_suitable(layer)]
    for layer in layers:
        layer.__class__ = WinogradConv2d
    return len(layers)


def _is_suitable(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size == (3, 3) and layer.stride == layer.dilation == (1, 1) and layer.padding == (1, 1)
            and layer.padding_mode == 'zeros' and layer.groups == 1
            and min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS)


def _count_tiles(input: Tensor) -> int:
    return len(input) * -(-input.shape[2] // 4) * -(-input.shape[3] // 4)


class _Convolution(torch.autograd.Function):
    """The convolution of an input (N, H, W, C) with weights (K, C, 3, 3) and a bias (K,), and its gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _convolve(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        # The gradient of the input is the convolution with the weights turned by 180 degrees.
        return (_convolve(grad_output, weight.flip(2, 3).transpose(0, 1)) if needs_input else None,
                _weight_gradient(input, grad_output) if needs_weight else None,
                grad_output.sum((0, 1, 2)) if needs_bias else None)


def _convolve(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns the convolution (N, H, W, K) of an input (N, H, W, C) with weights (K, C, 3, 3)."""
    n_out, n_in = weight.shape[:2]
    transformed_weight = (_WEIGHT_TRANSFORM @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, n_in, n_out)
    output = input.new_empty(*input.shape[:3], n_out)
    buffers = _Buffers(input)
    for images in _groups_of_images(input):
        tiles, output_of_images = _cut(input[images], 6), output[images]
        for rows in _groups_of_rows(tiles):
            inputs = _transform(_INPUT_TRANSFORM, tiles[:, :, :, rows], buffers)
            products = torch.bmm(inputs.view(36, -1, n_in), transformed_weight,
                                 out=buffers.get('products', 36, inputs.shape[1] // n_in, n_out))
            pixels = torch.mm(_OUTPUT_TRANSFORM, products.view(36, -1),
                              out=buffers.get('pixels', 16, products.numel() // 36))
            joined = _join(pixels.view(4, 4, *tiles[:, :, :, rows].shape[2:5], n_out))
            # Tiles at the right and at the bottom may leave the image.
            part = output_of_images[:, 4 * rows.start:4 * rows.stop]
            part.copy_(joined[:, :part.shape[1], :part.shape[2]])
            if bias is not None:
                part += bias
    return output


def _weight_gradient(input: Tensor, grad_output: Tensor) -> Tensor:
    """Returns the gradient (K, C, 3, 3) of the weights: the transposes of all transforms, in reverse order."""
    n_in, n_out = input.shape[3], grad_output.shape[3]
    total = input.new_zeros(36, n_in, n_out)
    buffers, grad_buffers = _Buffers(input), _Buffers(input)
    for images in _groups_of_images(input):
        tiles, grad_tiles = _cut(input[images], 6), _cut(grad_output[images], 4)
        for rows in _groups_of_rows(tiles):
            inputs = _transform(_INPUT_TRANSFORM, tiles[:, :, :, rows], buffers).view(36, -1, n_in)
            grads = _transform(_OUTPUT_TRANSFORM.T, grad_tiles[:, :, :, rows], grad_buffers).view(36, -1, n_out)
            total.baddbmm_(inputs.transpose(1, 2), grads)
    return (_WEIGHT_TRANSFORM.T @ total.view(36, -1)).view(3, 3, n_in, n_out).permute(3, 2, 0, 1)


def _groups_of_images(images: Tensor) -> Iterator[slice]:
    """Yields slices of images (N, H, W, C) that together have about ``_BLOCK_TILES`` tiles, or of one larger image."""
    n = max(_BLOCK_TILES // (-(-images.shape[1] // 4) * -(-images.shape[2] // 4)), 1)
    return (slice(begin, min(begin + n, len(images))) for begin in range(0, len(images), n))


def _groups_of_rows(tiles: Tensor) -> Iterator[slice]:
    """Yields slices of the rows of tiles (s, s, n, rows, columns, C) that have about ``_BLOCK_TILES`` tiles."""
    n_images, n_rows, n_columns = tiles.shape[2:5]
    n = max(_BLOCK_TILES // (n_images * n_columns), 1)
    return (slice(begin, min(begin + n, n_rows)) for begin in range(0, n_rows, n))


def _cut(images: Tensor, side: int) -> Tensor:
    """Cuts images (n, H, W, C) into tiles of ``side`` px, one every 4 px: a view (side, side, n, rows, columns, C).

    The images are padded with zeros to whole tiles. Tiles of 6 px begin one pixel outside of the image, as far as a
    convolution with padding 1 reads, and share two rows and columns with their neighbours.
    """
    n, height, width, channels = images.shape
    rows, columns, border = -(-height // 4), -(-width // 4), (side - 4) // 2
    padded = F.pad(images, (0, 0, border, 4 * columns - width + border, border, 4 * rows - height + border))
    padded = padded.contiguous()
    image, y, x, channel = padded.stride()
    return padded.as_strided((side, side, n, rows, columns, channels), (y, x, image, 4 * y, 4 * x, channel))


def _join(tiles: Tensor) -> Tensor:
    """Joins tiles (4, 4, n, rows, columns, K) that do not overlap to images (n, 4 * rows, 4 * columns, K)."""
    _, _, n, rows, columns, channels = tiles.shape
    return tiles.permute(2, 3, 0, 4, 1, 5).reshape(n, 4 * rows, 4 * columns, channels)


def _transform(matrix: Tensor, tiles: Tensor, buffers: '_Buffers') -> Tensor:
    """Transforms tiles (s, s, n, rows, columns, C) by a matrix (m, s * s); returns (m, n * rows * columns * C)."""
    n_values = tiles[0, 0].numel()
    gathered = buffers.get('tiles', matrix.shape[1], n_values)
    gathered.view(tiles.shape).copy_(tiles)
    return torch.mm(matrix, gathered, out=buffers.get('transformed', len(matrix), n_values))


class _Buffers:
    """Memory that all blocks of one convolution use, so that it stays in the processor's cache."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._memory: dict[str, Tensor] = {}

    def get(self, name: str, *shape: int) -> Tensor:
        """Returns uninitialised memory of a shape, the same memory for the same name."""
        n_values = math.prod(shape)
        if name not in self._memory or len(self._memory[name]) < n_values:
            self._memory[name] = self._like.new_empty(n_values)
        return self._memory[name][:n_values].view(shape)
