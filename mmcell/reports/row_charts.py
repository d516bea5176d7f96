"""Charts as inline SVG whose rows have names: bars, and values with intervals."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from mmcell.reports.charts import RIGHT, WIDTH, Axis, Series, axis_over, number_text, to_svg

# The width of the names and the height of a row.
NAMES_WIDTH, ROW_HEIGHT = 128, 24
# The space behind the bars for a value, and the most letters of a name that are shown.
_VALUE_WIDTH, _MAX_LETTERS = 52, 20


def draw_bars(names: Sequence[str], series: Sequence[Series], axis: Axis, title: str, form: str = '+.3f') -> Markup:
    """Draws horizontal bars: a group of rows per name, with one bar per series and its value behind it.

    Args:
        names: N names.
        series: Sets of bars, of which ``y`` has the N values.
        axis: The axis of the values; it contains 0.
        title: What the chart shows, for people who do not see it.
        form: The format of the values.
    """
    def left(value: float) -> float:
        return NAMES_WIDTH + axis.share(value) * (WIDTH - NAMES_WIDTH - _VALUE_WIDTH)

    thickness = ROW_HEIGHT * .7 if len(series) == 1 else ROW_HEIGHT * .55
    pitch = thickness * len(series) + ROW_HEIGHT * .4
    parts = []
    for row, name in enumerate(names):
        parts.append(_row_name(name, 8 + pitch * row + (pitch - ROW_HEIGHT * .4) / 2))
        for number, each in enumerate(series):
            begin, value = 8 + pitch * row + thickness * number, each.y[row]
            if math.isfinite(value):
                ends = sorted((left(0), left(value)))
                parts.append(
                    f'<rect class="bar" style="--series:{escape(each.color)}" x="{ends[0]:.1f}" y="{begin:.1f}" '
                    f'width="{max(ends[1] - ends[0], 1):.1f}" height="{thickness - 2:.1f}">'
                    f'<title>{escape(each.name)}: {value:{form}}</title></rect>')
            parts.append(f'<text x="{max(left(value), left(0)) + 5 if math.isfinite(value) else left(0) + 5:.1f}" '
                         f'y="{begin + thickness / 2 + 3:.1f}">{format(value, form) if math.isfinite(value) else "–"}'
                         '</text>')
    return to_svg(parts, 12 + pitch * len(names), title)


def draw_intervals(names: Sequence[str], values: Sequence[float], ends: Sequence[tuple[float, float]], color: str,
                   label: str, title: str) -> Markup:
    """Draws values with intervals around them, one row per name, and a line at 0.

    Args:
        names: N names.
        values: N values; NaN leaves the row empty.
        ends: The N lower and upper ends.
        color: A CSS colour.
        label: What the axis shows.
        title: What the chart shows, for people who do not see it.
    """
    axis = axis_over(label, [*values, *(end for pair in ends for end in pair)])

    def left(value: float) -> float:
        return NAMES_WIDTH + 8 + axis.share(value) * (WIDTH - NAMES_WIDTH - 8 - 2 * RIGHT)

    bottom = 8 + ROW_HEIGHT * len(names)
    parts = []
    for tick in axis.ticks():
        parts.append(f'<line class="grid" x1="{left(tick):.1f}" x2="{left(tick):.1f}" y1="8" y2="{bottom}"/>'
                     f'<text x="{left(tick):.1f}" y="{bottom + 15}" text-anchor="middle">{number_text(tick)}</text>')
    parts.append(f'<line stroke="currentColor" x1="{left(0):.1f}" x2="{left(0):.1f}" y1="8" y2="{bottom}"/>'
                 f'<text x="{(NAMES_WIDTH + WIDTH) / 2}" y="{bottom + 32}" text-anchor="middle">{escape(label)}</text>')
    for row, (name, value, (low, high)) in enumerate(zip(names, values, ends, strict=True)):
        y = 8 + ROW_HEIGHT * (row + .5)
        parts.append(_row_name(name, y))
        if all(map(math.isfinite, (value, low, high))):
            parts.append(f'<g style="--series:{escape(color)}"><title>{escape(name)}: {value:+.3f}, {low:+.3f} to '
                         f'{high:+.3f}</title><path class="curve" d="M{left(low):.1f} {y}H{left(high):.1f}"/>'
                         f'<circle class="bar" cx="{left(value):.1f}" cy="{y}" r="4.5"/></g>')
    return to_svg(parts, bottom + 40, title)


def _row_name(name: str, middle: float) -> str:
    shown = name if len(name) <= _MAX_LETTERS else f'{name[:_MAX_LETTERS - 1]}…'
    return (f'<text x="{NAMES_WIDTH - 6}" y="{middle + 4:.1f}" text-anchor="end"><title>{escape(name)}</title>'
            f'{escape(shown)}</text>')
