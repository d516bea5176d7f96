import re

import pytest
from support.paths import REPO

from mmcell.inference.prediction_plan import default_tile_px, prediction_plan

MEGAPIXEL = (1000, 1000)


@pytest.mark.parametrize('size, options, way, tile_px', [
    ((2000, 2000), {}, 'whole', None),
    ((1, 4_000_001), {}, 'tiled', 1024),
    ((5000, 5000), {}, 'tiled', 1024),
    ((5000, 5001), {}, 'tiled', 1024),
    ((5000, 5000), dict(reads_parts=True), 'tiled', 1024),
    ((5000, 5001), dict(reads_parts=True), 'streamed', 1024),
    # 4,000,000 / 8 = 500,000 px
    ((500, 1000), dict(n_views=8), 'whole', None),
    ((500, 1001), dict(n_views=8), 'tiled', 704),
    ((5000, 5001), dict(n_views=8, reads_parts=True), 'streamed', 704),
    (MEGAPIXEL, dict(n_views=4), 'whole', None),
    (MEGAPIXEL, dict(n_views=5), 'tiled', 864),
    ((1, 1), dict(tile_px=512), 'tiled', 512),
    ((5000, 5001), dict(tile_px=512), 'tiled', 512),
    ((5000, 5001), dict(tile_px=2048, n_views=8, reads_parts=True), 'streamed', 2048),
    # A pipeline that resizes images decides how large they are.
    ((5000, 5000), dict(keeps_size=False), 'whole', None),
    ((5000, 5000), dict(keeps_size=False, n_views=8), 'whole', None),
    ((5000, 5001), dict(keeps_size=False), 'tiled', 1024),
    ((100, 100), dict(keeps_size=False, tile_px=512), 'tiled', 512),
])
def test_ways(size, options, way, tile_px):
    plan = prediction_plan(size, **options)
    assert (plan.way, plan.tile_px, plan.refusal) == (way, tile_px, None)


@pytest.mark.parametrize('size, options, formats, refusal', [
    ((5000, 5000), {}, ('csv', 'overlay'), None),
    ((5000, 5001), {}, ('csv',), None),
    ((5000, 5001), dict(formats=['overlay']), (), 'too large for overlay: name another format with --formats'),
    ((5000, 5001), dict(keeps_size=False), ('csv',), 'the test pipeline of the model changes images'),
    ((5000, 5001), dict(keeps_size=False, tile_px=512), ('csv',), 'the test pipeline of the model changes images'),
    ((5000, 5000), dict(keeps_size=False), ('csv', 'overlay'), None),
])
def test_formats_and_refusals_of_images_that_can_be_read_in_parts(size, options, formats, refusal):
    plan = prediction_plan(size, **{'formats': ['csv', 'overlay'], **options}, reads_parts=True)
    assert plan.formats == formats
    assert plan.refusal is None if refusal is None else refusal in plan.refusal


@pytest.mark.parametrize('n_views, side_px', [(1, 1024), (2, 1024), (4, 992), (8, 704), (16, 480)])
def test_all_views_of_a_default_tile_have_at_most_the_pixels_of_a_whole_image(n_views, side_px):
    assert default_tile_px(n_views) == side_px
    assert side_px % 32 == 0 and n_views * side_px ** 2 <= 4_000_000


def test_the_table_of_the_guide_is_right():
    guide = (REPO / 'docs' / 'guides' / 'predict.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (\d+) × (\d+) px(?:, (PNG|TIFF))? \|(.*)\|$', guide, re.MULTILINE)
    assert len(rows) > 4
    for height, width, kind, cells in rows:
        for cell, options in zip(cells.split('|'), ({}, dict(n_views=8), dict(tile_px=512)), strict=True):
            plans = [prediction_plan((int(height), int(width)), **options, reads_parts=reads_parts)
                     for reads_parts in ([True, False] if kind == '' else [kind == 'TIFF'])]
            tiles = f'tiles of {plans[0].tile_px} px'
            assert {cell.strip()} == {{'whole': 'whole', 'tiled': tiles, 'streamed': f'from disk, {tiles}'}[plan.way]
                                      for plan in plans}
