"""Compares Winograd's convolution with torch's on the shapes of Mask R-CNN with ResNet-50 and FPN.

Both get the same weights and inputs in the memory format channels-last, and take turns. The first two columns are for
computing only the output: the milliseconds of torch and of mmcell, and the median of their ratios with its range. The
next two columns are the same for output and gradients. The last column has the largest difference between the two, of
the outputs and of the gradients of the weights, divided by the largest value.
"""

import argparse

import numpy as np
import torch
from _measure import time_alternately
from torch import Tensor, nn

from mmcell.models.winograd import WinogradConv2d

EXAMPLE = """example:
  python benchmarks/convolutions.py --threads 2
"""
# What is computed, and batch, channels in and out, height and width.
SHAPES = [
    ('mask head, 64 RoIs', 64, 256, 256, 14, 14),
    ('mask head, 128 RoIs', 128, 256, 256, 14, 14),
    ('FPN or RPN, stride 4, two crops of 512 px', 2, 256, 256, 128, 128),
    ('FPN or RPN, stride 8', 2, 256, 256, 64, 64),
    ('FPN or RPN, stride 16', 2, 256, 256, 32, 32),
    ('mask head, 8 RoIs', 8, 256, 256, 14, 14),
    ('layer2', 2, 128, 128, 64, 64),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--threads', type=int, default=1, help='number of threads (default: 1)')
    parser.add_argument('--rounds', type=int, default=5, help='how often each shape is timed (default: 5)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    print(f'{"":42} {"output, ms":>15} {"ratio":>16} {"with gradients":>17} {"ratio":>16} {"differences":>17}')
    for name, *shape in SHAPES:
        print(f'{name:42} {compare(*shape, rounds=args.rounds)}', flush=True)


def compare(n: int, n_in: int, n_out: int, height: int, width: int, rounds: int) -> str:
    """Returns the columns of one shape."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(n_in, n_out, 3, padding=1).to(memory_format=torch.channels_last) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].__class__ = WinogradConv2d
    inputs = torch.randn(n, n_in, height, width).relu().contiguous(memory_format=torch.channels_last)
    inputs.requires_grad_()
    grads = torch.randn(n, n_out, height, width).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def predict(layer: nn.Module) -> Tensor:
        return layer(inputs)

    def train(layer: nn.Module) -> Tensor:
        return torch.autograd.grad(layer(inputs), [inputs, *layer.parameters()], grads)[1]

    columns, differences = [], []
    for work in (predict, train):
        results = [work(layer) for layer in layers]
        differences.append(((results[1] - results[0]).abs().max() / results[0].abs().max()).item())
        times = time_alternately(lambda: work(layers[0]), lambda: work(layers[1]), rounds)  # noqa: B023  called here
        ratios = times[0] / times[1]
        milliseconds = ' / '.join(f'{np.median(part) * 1e3:.1f}' for part in times)
        columns += [f'{milliseconds:>15}', f'{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})']
    return ' '.join(f'{column:>16}' for column in columns) + '   ' + ' '.join(f'{value:.1e}' for value in differences)


if __name__ == '__main__':
    main()
