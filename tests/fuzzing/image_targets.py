"""Reads image files in all ways that mmcell has, which must agree."""

import numpy as np

from mmcell.errors import MmcellError
from mmcell.images.image_file import open_image, read_image
from mmcell.layouts.label_files import read_label_file


def read_image_in_all_ways(path):
    """Reads an image as a whole, in parts, by announced parts, and at a smaller level; the pixels must be the same.

    Images whose values have no known range are read with a stretch of their contrast.
    """
    try:
        whole = read_image(path)
    except MmcellError as error:
        # Parts of an image may be sound, so that they may be read; what is read of them is not compared.
        _read_parts(path, None)
        if 'pixels of type' not in str(error):
            raise
        whole = read_image(path, percentiles=(1, 99))
        _compare_parts(path, whole, (1, 99))
        return
    _compare_parts(path, whole, None)
    with open_image(path) as image:
        assert image.mpp is None or .01 <= image.mpp <= 20
        assert image.n_colors in (1, 3)
        image.check_pixels()
        _compare_with_tifffile(image)
    _compare_levels(path)


def read_label_map_in_all_ways(path):
    """Reads a label map of an image of its own size, as to_coco.py does."""
    with open_image(path.parent / 'image.tif') as image:
        label_map = read_label_file(path, image)
    assert label_map.dtype == np.int32 and label_map.min() >= 0
    assert label_map.shape == (image.height, image.width)


def _rectangles(height, width):
    """Returns rectangles that overlap the borders of strips and tiles in several ways."""
    y, x = height // 3, width // 3
    return [(0, 0, width, height), (x, y, min(x + 19, width), min(y + 17, height)), (width - 1, 0, width, height),
            (0, height - 1, width, height), (0, y, max(x, 1), max(2 * y, y + 1))]


def _read_parts(path, percentiles, is_announced=False):
    """Yields each rectangle with its pixels; None if it is refused."""
    parts = []
    with open_image(path, percentiles=percentiles) as image:
        rects = _rectangles(image.height, image.width)
        if is_announced:
            image.expect(rects)
        for rect in rects:
            try:
                parts.append((rect, image.read(*rect)))
            except MmcellError:
                parts.append((rect, None))
    return parts


def _compare_parts(path, whole, percentiles):
    for is_announced in (False, True):
        for (x0, y0, x1, y1), part in _read_parts(path, percentiles, is_announced):
            assert part is not None, f'the part {x0, y0, x1, y1} of an image that can be read is refused'
            assert np.array_equal(part, whole[y0:y1, x0:x1]), f'the part {x0, y0, x1, y1} has other pixels'


def _compare_levels(path):
    with open_image(path) as image, image.level_for(2) as level:
        height, width = level.size
        try:
            whole = level.read(0, 0, width, height)
        except MmcellError:
            return
        assert whole.shape == (height, width, 3) and whole.dtype == np.uint8
        for x0, y0, x1, y1 in _rectangles(height, width):
            assert np.array_equal(level.read(x0, y0, x1, y1), whole[y0:y1, x0:x1]), 'a level differs from its parts'


def _compare_with_tifffile(image):
    """Compares the stored samples of a TIFF with those that tifffile's own reader of pages gives, if it gives any."""
    for reader in getattr(image._stored, '_readers', ()):
        samples, page = reader.read(0, 0, reader.width, reader.height), reader.page
        try:
            expected = page.asarray().reshape(page.shaped)
        except Exception:  # it reads less than mmcell, or other things
            continue
        expected = expected[:, 0].transpose(1, 2, 0, 3).reshape(samples.shape)
        assert np.array_equal(samples, expected, equal_nan=samples.dtype.kind in 'fc'), 'tifffile gives other samples'
