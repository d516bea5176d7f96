"""Each tile or strip of a TIFF is decoded once if the rectangles are known, and memory stays within its limit."""

from collections import Counter

import cv2
import numpy as np
import pytest
import tifffile
from support.image_files import TIFF_LAYOUTS

from mmcell.images import segment_cache
from mmcell.images.image_file import open_image, read_image
from mmcell.images.segment_cache import SegmentCache
from mmcell.tiles.tiling import make_grid

SIZE = 131, 150
SEGMENTED = {name: layout for name, layout in TIFF_LAYOUTS.items() if layout and 'plain' not in name}


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)


@pytest.fixture
def decoded(monkeypatch):
    """Counts how often each segment of each page is decoded, and records the bytes that are kept then."""
    class Recorder(Counter):
        most_bytes = 0

    def put(cache, index, segment):
        recorder[id(cache), index] += 1
        original(cache, index, segment)
        recorder.most_bytes = max(recorder.most_bytes, cache._n_bytes)

    recorder, original = Recorder(), SegmentCache.put
    monkeypatch.setattr(SegmentCache, 'put', put)
    return recorder


def write(path, image, layout, **settings):
    stored = np.moveaxis(image, -1, 0) if 'planarconfig' in layout else image
    tifffile.imwrite(path, stored, photometric='rgb', **layout, **settings)
    return path


def rects_of(size=SIZE):
    return make_grid(*size, 48, 8, 8).input_rects_xyxy.tolist()


def read_in_tiles(path, rects, whole, **settings):
    with open_image(path, **settings) as opened:
        opened.expect(rects)
        for x0, y0, x1, y1 in rects:
            assert np.array_equal(opened.read(x0, y0, x1, y1), whole[y0:y1, x0:x1])


@pytest.mark.parametrize('layout', SEGMENTED)
def test_each_segment_is_decoded_once(tmp_path, image, decoded, layout):
    path = write(tmp_path / 'a.tif', image, SEGMENTED[layout])
    whole = read_image(path)
    n_segments = len(decoded)
    assert n_segments >= 15 and set(decoded.values()) == {1}
    decoded.clear()
    decoded.most_bytes = 0
    read_in_tiles(path, rects_of(), whole)
    assert len(decoded) == n_segments and set(decoded.values()) == {1}
    # At most the segments of one row of rectangles, which are 48 px high, lie in memory.
    height = SEGMENTED[layout].get('rowsperstrip', 16)
    assert decoded.most_bytes <= (48 + 2 * height) * (SIZE[1] + 32) * 3


def test_without_a_plan_segments_are_decoded_again(tmp_path, image, decoded, monkeypatch):
    monkeypatch.setattr(segment_cache, 'LATEST_BYTES', 10_000)
    path = write(tmp_path / 'a.tif', image, SEGMENTED['strips'])
    with open_image(path) as opened:
        for rect in rects_of():
            opened.read(*rect)
    assert min(decoded.values()) > 1 and decoded.most_bytes <= 10_000


@pytest.mark.parametrize('orientation', [2, 3, 6, 8])
def test_rectangles_of_turned_images(tmp_path, image, decoded, orientation):
    path = write(tmp_path / 'a.tif', image, SEGMENTED['tiles'], extratags=[(274, 'H', 1, orientation, True)])
    whole = read_image(path)
    decoded.clear()
    read_in_tiles(path, rects_of(whole.shape[:2]), whole)
    assert set(decoded.values()) == {1}


@pytest.mark.parametrize('layout', ['tiles', 'strips'])
def test_with_a_stretch_the_image_is_gone_through_once_more(tmp_path, image, decoded, monkeypatch, layout):
    path = write(tmp_path / 'a.tif', image, SEGMENTED[layout])
    whole = read_image(path, percentiles=(5, 95))
    decoded.clear()
    # What is kept from the first pass is gone before the rectangles come to it.
    monkeypatch.setattr(segment_cache, 'LATEST_BYTES', 10_000)
    read_in_tiles(path, rects_of(), whole, percentiles=(5, 95))
    assert set(decoded.values()) <= {1, 2, 3} and 2 in decoded.values()


@pytest.mark.parametrize('layout', SEGMENTED)
def test_with_too_little_memory_a_part_is_kept(tmp_path, image, decoded, monkeypatch, layout):
    path = write(tmp_path / 'a.tif', image, SEGMENTED[layout])
    whole, rects = read_image(path), rects_of()
    n_decoded = []
    for n_bytes in (1, 12_000, 18_000, 10 ** 6):
        decoded.clear()
        decoded.most_bytes = 0
        monkeypatch.setattr(segment_cache, 'PLANNED_BYTES', n_bytes)
        read_in_tiles(path, rects, whole)
        n_decoded.append(decoded.total())
        # One segment is always kept.
        assert decoded.most_bytes <= max(n_bytes, 10_000)
    assert n_decoded == sorted(n_decoded, reverse=True) and n_decoded[0] > n_decoded[-1] == len(decoded)


def test_another_rectangle_ends_the_plan(tmp_path, image, decoded):
    path = write(tmp_path / 'a.tif', image, SEGMENTED['tiles'])
    whole, rects = read_image(path), rects_of()
    with open_image(path) as opened:
        opened.expect(rects[:1])
        for x0, y0, x1, y1 in [rects[-1], *rects[:2], *rects[:2]]:
            assert np.array_equal(opened.read(x0, y0, x1, y1), whole[y0:y1, x0:x1])
        cache = opened._stored._readers[0]._cache
        n_latest = len(cache)
        # A new plan drops what it does not need.
        opened.expect(rects[-2:])
        opened.read(*rects[-2])
        assert 0 < len(cache) < n_latest
    read_in_tiles(path, rects[::-1], whole)


def test_an_image_of_another_format_needs_no_plan(tmp_path, image):
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    read_in_tiles(tmp_path / 'a.png', rects_of(), image)
    read_in_tiles(write(tmp_path / 'plain.tif', image, {}), rects_of(), image)
