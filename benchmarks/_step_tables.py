"""What a training step of the benchmark was: its time, its parts and its losses, as tables in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _parts import OTHER

from mmcell.errors import MmcellError

# Losses of mmcell and of the other kinds differ at most by this share. In bfloat16, numbers have three digits, and
# proposals come in another order.
TOLERANCES = {'fp32': 1e-3, 'bf16': 5e-2}
COMPARED = {'torchvision': ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'loss_mask'),
            'stock': ('loss_rpn_cls', 'loss_cls', 'loss_bbox')}


@dataclass(frozen=True)
class Step:
    """A measured training step.

    Attributes:
        seconds: Seconds of the clock.
        cpu_seconds: Seconds that the processor spent on this process.
        peak_mib: By how much the memory of the process, or of the GPU, grew at most.
        parts: Seconds per part.
        losses: The losses by MMDetection's names.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    parts: dict[str, float]
    losses: dict[str, float]


def format_losses(losses: dict[str, dict[str, float]]) -> str:
    """Returns a Markdown table of losses by kind and name."""
    names = next(iter(losses.values()))
    lines = ['| first step | ' + ' | '.join(names) + ' |', '| --- |' + ' --- |' * len(names)]
    lines += [f'| {kind} | ' + ' | '.join(f'{values[name]:.5f}' for name in names) + ' |'
              for kind, values in losses.items()]
    return '\n'.join(lines)


def refuse_other_losses(losses: dict[str, dict[str, float]], tolerance: float) -> None:
    """Compares the losses that mmcell and another kind compute alike.

    Args:
        losses: The losses by kind and name.
        tolerance: By which share they may differ.

    Raises:
        MmcellError: Two of them differ by more.
    """
    for kind in losses.keys() & COMPARED.keys() if 'mmcell' in losses else ():
        for name in COMPARED[kind]:
            ours, theirs = losses['mmcell'][name], losses[kind][name]
            if not abs(ours - theirs) <= tolerance * abs(theirs):
                raise MmcellError(f'{name} of the first step is {ours:.6f} in mmcell, but {theirs:.6f} in {kind}; they '
                                  f'may differ by {tolerance:.1%}')


def format_steps(steps: dict[str, list[Step]], batch_size: int) -> str:
    """Returns a Markdown table of the steps of each kind; ratios to mmcell are of the same round."""
    lines = ['| kind | s/step | CPU s/step | images/s | time / mmcell | CPU time / mmcell | peak MiB |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for kind, measured in steps.items():
        times = np.array([(step.seconds, step.cpu_seconds) for step in measured]).T
        ours = np.array([(step.seconds, step.cpu_seconds) for step in steps.get('mmcell', ())]).T
        ratios = [_spread(values, 2) for values in times / ours] if 'mmcell' in steps else ['-', '-']
        lines.append(f'| {kind} | {_spread(times[0], 1)} | {_spread(times[1], 1)} | '
                     f'{batch_size / np.median(times[0]):.3f} | {ratios[0]} | {ratios[1]} | '
                     f'{max(step.peak_mib for step in measured):.0f} |')
    return '\n'.join(lines)


def _spread(values: np.ndarray, digits: int) -> str:
    """Returns the median with the range in brackets."""
    median, low, high = np.median(values), values.min(), values.max()
    return f'{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})'


def median_of_parts(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the median seconds of each part over several measurements; a part that one of them lacks has 0 there."""
    names = dict.fromkeys(name for seconds in measured for name in seconds)
    return {name: float(np.median([seconds.get(name, 0.) for seconds in measured])) for name in names}


def format_parts(seconds: dict[str, dict[str, float]]) -> str:
    """Returns a Markdown table with a row per part and a column per kind: seconds, and the share of the kind's sum."""
    names = [name for name in dict.fromkeys(name for parts in seconds.values() for name in parts) if name != OTHER]
    lines = ['| part | ' + ' | '.join(f'{kind}, s' for kind in seconds) + ' |', '| --- |' + ' --- |' * len(seconds)]
    for name in [*names, OTHER]:
        cells = [f'{parts[name]:.2f} ({parts[name] / sum(parts.values()):.0%})' if name in parts else '-'
                 for parts in seconds.values()]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    sums = ' | '.join(f'{sum(parts.values()):.2f}' for parts in seconds.values())
    return '\n'.join([*lines, f'| sum | {sums} |'])
