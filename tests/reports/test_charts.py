import math
import re
from xml.etree import ElementTree

import pytest

from mmcell.reports.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Series,
    axis_over,
    draw_chart,
    number_text,
    style_of_run,
    thin_out,
)
from mmcell.reports.row_charts import draw_bars, draw_intervals

UNIT = Axis('x', 0, 1)
NAN = math.nan


def elements(svg, tag, of_class):
    return [element.attrib for element in ElementTree.fromstring(svg).iter(tag) if element.get('class') == of_class]


@pytest.mark.parametrize('axis, ticks', [
    (Axis('', 0, 1), [0, .2, .4, .6, .8, 1]),
    (Axis('', 0, 320), [0, 100, 200, 300]),
    (Axis('', -.06, .05), [-.05, 0, .05]),
    (Axis('', -.06, .03), [-.06, -.04, -.02, 0, .02]),
    (Axis('', 0, 1e-7), [0, 2e-8, 4e-8, 6e-8, 8e-8, 1e-7]),
])
def test_ticks_are_round_and_inside(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks, abs=1e-15)


@pytest.mark.parametrize('values, low, high', [
    ([3, 5], 0, 5), ([-2, -1], -2, 0), ([NAN, math.inf, 4], 0, 4), ([], 0, 1), ([0, 0], 0, 1), ([NAN], 0, 1)])
def test_an_axis_holds_zero_and_all_finite_values(values, low, high):
    axis = axis_over('loss', values)
    assert (axis.low, axis.high) == (low, high)


def test_a_curve_lies_where_its_values_are():
    [curve] = elements(draw_chart([Series('a', '#0072b2', [0, .5, 1], [0, 1, .5])], UNIT, UNIT, 't'), 'path', 'curve')
    middle, bottom = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM
    assert curve['d'] == f'M{LEFT:.1f} {bottom:.1f}L{middle:.1f} {TOP:.1f}L{WIDTH - RIGHT:.1f} {(TOP + bottom) / 2:.1f}'


def test_values_that_are_no_numbers_are_gaps():
    svg = draw_chart([Series('a', '#0072b2', range(5), [0, NAN, 1, math.inf, 1], marked=2, has_points=True)],
                     Axis('x', 0, 4), UNIT, 't')
    [curve] = elements(svg, 'path', 'curve')
    assert re.sub(r'[\d. ]', '', curve['d']) == 'MMM' and 'nan' not in svg and 'inf' not in svg
    assert [circle['r'] for circle in elements(svg, 'circle', 'bar')] == ['3', '5', '3']


def test_a_band_goes_around_its_curve():
    svg = draw_chart([Series('a', '#0072b2', [0, 1], [.5, .5], [.2, .2], [.8, .8])], UNIT, UNIT, 't')
    [band] = elements(svg, 'path', 'band')
    heights = [float(number) for number in re.findall(r' ([\d.]+)', band['d'])]
    span = HEIGHT - TOP - BOTTOM
    assert heights == pytest.approx([HEIGHT - BOTTOM - share * span for share in (.8, .8, .2, .2)], abs=.06)


def test_bars_of_a_histogram_stand_on_the_axis():
    svg = draw_chart([Series('cells', '#0072b2', [0, .5], [1, 0])], UNIT, UNIT, 't', bar_width=.5)
    [bar] = elements(svg, 'rect', 'bar')  # no bar for 0
    assert float(bar['y']) + float(bar['height']) == pytest.approx(HEIGHT - BOTTOM) and float(bar['y']) == TOP


def test_odd_names_and_titles_are_escaped():
    name = '<script>"&\''
    series = [Series(name, '#0072b2', [0, 1], [0, 1], has_points=True)]
    axis = Axis(name, 0, 1)
    for svg in (draw_chart(series, axis, axis, name), draw_bars([name, name], series, axis, name),
                draw_intervals([name], [.1], [(0, .2)], '#0072b2', name, name)):
        root = ElementTree.fromstring(svg)
        assert root.get('aria-label') == name and root.get('role') == 'img'
        assert name in {element.text for element in root.iter()}
        assert not list(root.iter('script'))


def test_long_curves_are_thinned_and_keep_marks_and_ends():
    series = Series('a', 'red', range(10_001), [float(x) for x in range(10_001)], marked=7777)
    thin = thin_out(series)
    assert len(thin.x) <= 502 and thin.x[-1] == 10_000 and thin.x[thin.marked] == thin.y[thin.marked] == 7777
    short = Series('a', 'red', range(500), [0.] * 500)
    assert thin_out(short) is short


def test_pale_colours_get_an_edge():
    yellow, green = (elements(draw_chart([Series('a', color, [0, 1], [0, 1])], UNIT, UNIT, 't'), 'path', 'curve')
                     for color in ('#f0e442', '#009e73'))
    assert len(yellow) == 2 and 'currentColor' in yellow[0]['style'] and len(green) == 1


def test_runs_look_different():
    assert len({style_of_run(number) for number in range(18)}) == 18 and style_of_run(18) == style_of_run(0)


def test_bars_with_names():
    series = [Series('a', '#0072b2', [0, 1], [.5, -.25]), Series('b', '#d55e00', [0, 1], [NAN, 0])]
    svg = draw_bars(['first', 'second'], series, axis_over('', [.5, -.25]), 't')
    bars = elements(svg, 'rect', 'bar')
    assert float(bars[0]['width']) == pytest.approx(2 * float(bars[1]['width']), abs=.2)
    # The bar below 0 ends where the bar above 0 begins.
    assert float(bars[1]['x']) + float(bars[1]['width']) == pytest.approx(float(bars[0]['x']), abs=.2)
    texts = [element.text for element in ElementTree.fromstring(svg).iter('text')]
    assert {'+0.500', '-0.250', '–', '+0.000'} <= set(texts)


def test_intervals_with_names():
    svg = draw_intervals(['a', 'b'], [.1, NAN], [(0, .2), (NAN, NAN)], '#0072b2', 'new minus old', 't')
    [line] = elements(svg, 'path', 'curve')
    [dot] = elements(svg, 'circle', 'bar')
    low, high = map(float, re.fullmatch(r'M([\d.]+) [\d.]+H([\d.]+)', line['d']).groups())
    assert float(dot['cx']) == pytest.approx((low + high) / 2, abs=.2) and 'a: +0.100, +0.000 to +0.200' in svg


def test_small_numbers_are_no_wider_than_the_margin():
    texts = [number_text(value) for value in (0, .25, 10000, 1e-5, .00015, -2.5e-4, 1.25e7, .0015)]
    assert texts == ['0', '0.25', '10000', '1e-5', '1.5e-4', '-2.5e-4', '1.25e7', '0.0015']
