"""Curves and histograms as inline SVG, whose colours follow the page."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

# The size of a chart in units of the SVG, and the margins for the labels.
WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 22, 40
# Colours of runs that people with colour-vision deficiencies can tell apart, on light and on dark pages. The contrast
# to both is about 3 : 1. If there are more runs, the colours return with dashed lines.
RUN_COLORS = ('#0072b2', '#d55e00', '#009e73', '#c2619b', '#b58900', '#808080')
DASHES = ('', '7 3', '2 3')
# Curves of more points are thinned: a chart is about this many pixels wide.
_MAX_POINTS = 500
# Colours that are lighter than this, of 255, are hardly seen on white, and get an edge.
_PALE = 155


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
        dash: The lengths of dashes and gaps of the line, as SVG has them; '' for a line without gaps.
        has_points: Whether each value gets a dot.
        is_thin: Whether the line is thin, for what is less important.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marked: int | None = None
    dash: str = ''
    has_points: bool = False
    is_thin: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: What it shows, with its unit.
        low: Where it begins.
        high: Where it ends, above ``low``.
    """

    label: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """Returns where a value lies on the axis, from 0 at its beginning to 1 at its end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Returns about five round values on the axis."""
        step = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(step))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= step * .999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis_over(label: str, values: Sequence[float]) -> Axis:
    """Returns an axis that holds 0 and all finite values."""
    known = [0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    return Axis(label, low, high if high > low else low + 1)


def style_of_run(number: int) -> tuple[str, str]:
    """Returns the colour and the dashes of the lines of a run, the first of which has the number 0."""
    return RUN_COLORS[number % len(RUN_COLORS)], DASHES[number // len(RUN_COLORS) % len(DASHES)]


def thin_out(series: Series) -> Series:
    """Returns a series of at most about 500 evenly spread points, with the last and the marked one among them."""
    step = -(-len(series.x) // _MAX_POINTS)
    if step <= 1:
        return series
    kept = sorted({*range(0, len(series.x), step), len(series.x) - 1, *({series.marked} - {None})})
    chosen = {name: [values[index] for index in kept] if len(values := getattr(series, name)) else ()
              for name in ('x', 'y', 'low', 'high')}
    marked = None if series.marked is None else kept.index(series.marked)
    return replace(series, **chosen, marked=marked)


def draw_chart(series: Sequence[Series], x: Axis, y: Axis, title: str, bar_width: float = 0) -> Markup:
    """Draws curves, or the bars of a histogram.

    Args:
        series: The curves, or sets of bars, of which later ones cover earlier ones.
        x: The horizontal axis.
        y: The vertical axis.
        title: What the chart shows, for people who do not see it.
        bar_width: The width of bars on the x axis, which begin at their positions; 0 draws curves.
    """
    def left(value: float) -> float:
        return LEFT + x.share(value) * (WIDTH - LEFT - RIGHT)

    def top(value: float) -> float:
        return HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM)

    parts = list(_grid(x, y, left, top))
    for each in map(thin_out, series):
        parts.append(f'<g style="--series:{escape(each.color)}"><title>{escape(each.name)}</title>')
        parts += _bars(each, bar_width, left, top, top(y.low)) if bar_width else _curve(each, left, top)
        parts.append('</g>')
    return to_svg(parts, HEIGHT, title)


def to_svg(parts: Sequence[str], height: float, title: str) -> Markup:
    """Returns a chart of parts in SVG; the title is for people who do not see it."""
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
                  f'{"".join(parts)}</svg>')


def _grid(x: Axis, y: Axis, left: Callable, top: Callable) -> Iterator[str]:
    """Yields lines and numbers of both axes, and their labels."""
    for tick in y.ticks():
        yield (f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top(tick):.1f}" y2="{top(tick):.1f}"/>'
               f'<text x="{LEFT - 6}" y="{top(tick) + 4:.1f}" text-anchor="end">{number_text(tick)}</text>')
    for tick in x.ticks():
        yield (f'<line class="grid" x1="{left(tick):.1f}" x2="{left(tick):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
               f'<text x="{left(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number_text(tick)}</text>')
    yield (f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x.label)}</text>'
           f'<text x="4" y="12">{escape(y.label)}</text>')


def _bars(series: Series, width: float, left: Callable, top: Callable, bottom: float) -> Iterator[str]:
    for position, value in zip(series.x, series.y, strict=True):
        if math.isfinite(value) and value:
            begin, end = left(position), left(position + width)
            yield (f'<rect class="bar" x="{begin + .5:.1f}" y="{top(value):.1f}" width="{max(end - begin - 1, 1):.1f}" '
                   f'height="{bottom - top(value):.1f}"><title>{escape(series.name)}, {number_text(position)} to '
                   f'{number_text(position + width)}: {number_text(value)}</title></rect>')


def _curve(series: Series, left: Callable, top: Callable) -> Iterator[str]:
    if len(series.low):
        upper, lower = (list(zip(series.x, ends, strict=True)) for ends in (series.high, series.low))
        yield f'<path class="band" d="{_path([*upper, *lower[::-1]], left, top)}"/>'
    path = _path(list(zip(series.x, series.y, strict=True)), left, top)
    if _is_pale(series.color):
        yield f'<path class="curve" style="stroke:currentColor;stroke-width:3.5" d="{path}"/>'
    style = f' stroke-dasharray="{escape(series.dash)}"' if series.dash else ''
    style += ' style="stroke-width:1"' if series.is_thin else ''
    yield f'<path class="curve"{style} d="{path}"/>'
    for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if math.isfinite(y) and (series.has_points or index == series.marked):
            yield (f'<circle class="bar" cx="{left(x):.1f}" cy="{top(y):.1f}" r="{5 if index == series.marked else 3}">'
                   f'<title>{escape(series.name)}, {number_text(x)}: {y:.4g}</title></circle>')


def _is_pale(color: str) -> bool:
    """Whether a colour of the form #rrggbb is hardly seen on white."""
    if not color.startswith('#'):
        return False
    red, green, blue = bytes.fromhex(color[1:])
    return .299 * red + .587 * green + .114 * blue > _PALE


def _path(points: Sequence[tuple[float, float]], left: Callable, top: Callable) -> str:
    """Returns the SVG path through points; it has a gap where a value is NaN or infinite."""
    steps, is_down = [], False
    for x, y in points:
        if math.isfinite(y):
            steps.append(f'{"L" if is_down else "M"}{left(x):.1f} {top(y):.1f}')
        is_down = math.isfinite(y)
    return ''.join(steps)


def number_text(value: float) -> str:
    """Returns a number for an axis: 0.25, 10000, 1.5e-4."""
    if abs(value) < 1e-12:
        return '0'
    if .001 <= abs(value) < 1e6:
        return f'{value:.4g}' if abs(value) < 1000 else f'{value:.6g}'
    # Without exponent, 0.00015 would be wider than the margin of a chart.
    digits, exponent = f'{value:.2e}'.split('e')
    return f'{float(digits):g}e{int(exponent)}'
