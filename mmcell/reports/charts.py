"""Line and bar charts as inline SVG, whose colours follow the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

# The size of a chart in units of the SVG, and the margins for the labels.
WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 40


@dataclass(frozen=True)
class Series:
    """One curve, or the bars of one set of values.

    Attributes:
        name: Its name in the key.
        color: A CSS colour.
        x: The N positions along the x axis, ascending.
        y: The N values; NaN leaves a gap.
        low: The N lower ends of a band around the curve; empty without a band.
        high: The N upper ends.
        marked: The index of a point that gets a mark, for example the best epoch; None without a mark.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marked: int | None = None


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: What it shows, with its unit.
        low: Where it begins.
        high: Where it ends.
        is_log: Whether it is logarithmic; low and high are then above 0.
    """

    label: str
    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Returns where a value lies on the axis, from 0 at its beginning to 1 at its end."""
        if self.is_log:
            return (math.log(max(value, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Returns about five round values on the axis."""
        if self.is_log:
            exponents = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10. ** exponent for exponent in exponents]
        step = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(step))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= step * .999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis_over(label: str, values: Sequence[float], *, from_zero: bool = False, is_log: bool = False) -> Axis:
    """Returns an axis that holds all values that are numbers."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    low, high = (min(known), max(known)) if known else ((1, 10) if is_log else (0, 1))
    if from_zero:
        low = min(low, 0)
    if high <= low:
        high = low * 10 if is_log else low + 1
    return Axis(label, low, high, is_log)


def draw_chart(series: Sequence[Series], x: Axis, y: Axis, title: str, bar_width: float = 0) -> Markup:
    """Draws a chart.

    Args:
        series: The curves.
        x: The horizontal axis.
        y: The vertical axis.
        title: What the chart shows, for people who do not see it.
        bar_width: The width of bars on the x axis; 0 draws curves.
    """
    def left(value: float) -> float:
        return LEFT + x.share(value) * (WIDTH - LEFT - RIGHT)

    def top(value: float) -> float:
        return HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in y.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top(tick):.1f}" y2="{top(tick):.1f}"/>'
                     f'<text x="{LEFT - 6}" y="{top(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in x.ticks():
        parts.append(f'<line class="grid" x1="{left(tick):.1f}" x2="{left(tick):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                     f'<text x="{left(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x.label)}</text>'
                 f'<text x="12" y="{TOP + 4}" text-anchor="start" dominant-baseline="hanging" '
                 f'transform="rotate(-90 12 {HEIGHT - BOTTOM}) translate(0 {HEIGHT - BOTTOM - TOP - 4})">'
                 f'{escape(y.label)}</text>')
    for one in series:
        parts.append(f'<g style="--series:{one.color}"><title>{escape(one.name)}</title>')
        if bar_width:
            for position, value in zip(one.x, one.y, strict=True):
                if math.isfinite(value):
                    begin, end = left(position), left(position + bar_width)
                    parts.append(f'<rect class="bar" x="{begin + 1:.1f}" y="{top(value):.1f}" '
                                 f'width="{max(end - begin - 2, 1):.1f}" height="{top(y.low) - top(value):.1f}"/>')
        else:
            if len(one.low):
                around = [*zip(one.x, one.high, strict=True), *list(zip(one.x, one.low, strict=True))[::-1]]
                parts.append(f'<path class="band" d="{_path(around, left, top)}"/>')
            parts.append(f'<path class="curve" d="{_path(list(zip(one.x, one.y, strict=True)), left, top)}"/>')
            if one.marked is not None:
                parts.append(f'<circle class="bar" cx="{left(one.x[one.marked]):.1f}" cy="{top(one.y[one.marked]):.1f}" '
                             'r="4"/>')
        parts.append('</g>')
    return Markup(''.join([*parts, '</svg>']))


def _path(points: Sequence[tuple[float, float]], left: object, top: object) -> str:
    """Returns the SVG path through points; it has a gap where a value is NaN."""
    steps, is_down = [], False
    for x, y in points:
        if math.isfinite(y):
            steps.append(f'{"L" if is_down else "M"}{left(x):.1f} {top(y):.1f}')
        is_down = math.isfinite(y)
    return ''.join(steps)


def _number(value: float) -> str:
    return f'{value:.3g}'.replace('e+0', 'e').replace('e-0', 'e-') if abs(value) >= 1e-12 else '0'
