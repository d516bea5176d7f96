import base64
import json
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.cells import fill_path
from support.label_map_pairs import SIZE
from support.masks import paint_rles
from support.report_pages import CLASSES, read_pixels, rows_of, synthetic_pairs, with_lower_scores

from mmcell.evaluation.error_types import judge_predictions
from mmcell.evaluation.pairs import Pairs, cells_of_image
from mmcell.evaluation.per_image import worst_images
from mmcell.reports.gallery import encode_picture, gallery_of, order_images
from mmcell.visualization.colors import class_colors


def unpack(text):
    return json.loads(zlib.decompress(base64.b64decode(text)))


def open_picture(address):
    kind, text = address.split(',')
    assert kind == 'data:image/webp;base64'
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.fixture
def pairs(rng):
    return synthetic_pairs(rng)


def test_a_gallery_has_the_pictures_the_outlines_and_the_classes(pairs):
    packed = gallery_of(['first', 'second'], [pairs, with_lower_scores(pairs)], .5, read_pixels)
    assert json.loads(json.dumps(packed)) == packed
    assert [image['name'] for image in packed['images']] == pairs.truth.file_names
    assert [(entry['name'], entry['color']) for entry in packed['classes']] == [
        (category['name'], '#' + bytes(color).hex()) for category, color in zip(CLASSES, class_colors(4), strict=True)]
    assert [run['name'] for run in packed['runs']] == ['first', 'second']
    for place, image in enumerate(packed['images']):
        assert (image['height'], image['width']) == SIZE
        difference = open_picture(image['picture']).astype(int) - read_pixels(place)
        assert np.abs(difference).mean() < 3
        assert max(open_picture(image['thumbnail']).shape) == 144
        for side, text in ((pairs.truth, image['truth']), (pairs.predictions, image['predicted'][0])):
            rles = side.rles[cells_of_image(side.image_index, place)]
            paths = unpack(text)
            assert len(paths) == len(rles)
            for path, rle in zip(paths, rles, strict=True):
                assert np.array_equal(fill_path(path, SIZE), paint_rles([rle]) > 0)


@pytest.mark.parametrize('threshold', [0, .2, .5, .81, 1])
def test_the_verdicts_of_a_gallery_hold_for_every_threshold(pairs, threshold):
    packed = gallery_of(['first'], [pairs], .5, read_pixels)
    judged = judge_predictions(pairs, threshold)
    cells = unpack(packed['runs'][0]['cells'])
    scores = np.concatenate([image['scores'] for image in cells])
    kinds = np.array(packed['kinds'])[np.concatenate([image['kinds'] for image in cells]).astype(int)]
    assert scores.tolist() == pairs.predictions.scores.tolist()
    assert kinds[scores >= threshold].tolist() == judged.kinds.tolist()
    found = []
    for place, image in enumerate(cells):
        first = cells_of_image(pairs.truth.image_index, place).start
        found += [first + cell for cell, kind, score in zip(image['true'], image['kinds'], image['scores'], strict=True)
                  if packed['kinds'][kind] == 'correct' and score >= threshold]
    assert sorted(found) == np.flatnonzero(judged.is_found).tolist()
    # Some cells are found only by a second prediction, with a lower score.
    assert threshold or {'correct', 'duplicate', 'classification'} <= set(kinds.tolist())


@pytest.mark.parametrize('threshold', [.1, .5, .9])
def test_images_are_ordered_as_the_worst_images_of_the_tables(pairs, threshold):
    order = order_images(pairs.truth, judge_predictions(pairs, 0.), threshold).tolist()
    worst = [pairs.truth.image_ids.index(row['image_id']) for row in worst_images(rows_of(pairs, threshold), 4)]
    assert order[:len(worst)] == worst and len(worst) == 3
    # The image without cells is last.
    assert order[-1] == 2


def test_only_the_worst_images_are_shown_in_the_order_of_the_file(pairs):
    seen = []
    packed = gallery_of(['first'], [pairs], .5, lambda place: seen.append(place) or read_pixels(place), max_images=2)
    worst = sorted(order_images(pairs.truth, judge_predictions(pairs, 0.), .5)[:2].tolist())
    assert seen == worst and [image['name'] for image in packed['images']] == [
        pairs.truth.file_names[place] for place in worst]
    assert 'Of 4 images, the page has the 2 with the lowest F1 in first.' in packed['text']
    assert len(unpack(packed['truth'])) == len(unpack(packed['runs'][0]['cells'])) == 2


def test_masks_without_a_pixel_have_an_empty_outline(pairs):
    predictions = pairs.predictions
    empty = {'size': list(SIZE), 'counts': [SIZE[0] * SIZE[1]]}
    rles = [empty, *predictions.rles[1:]]
    packed = gallery_of(['first'], [Pairs(pairs.truth, replace(predictions, rles=rles))], .5, read_pixels)
    assert [path == '' for path in unpack(packed['images'][0]['predicted'][0])] == [True] + [False] * (
        int((predictions.image_index == 0).sum()) - 1)


def test_an_image_of_another_size_is_refused(pairs):
    with pytest.raises(ValueError, match=r'one.tif: the cells are those of an image of \[110, 150\].* is \[5, 6\]'):
        gallery_of(['first'], [pairs], .5, lambda place: np.zeros((5, 6, 3), np.uint8))


def test_pictures_keep_to_their_limits(rng):
    noise = rng.integers(0, 256, (300, 200, 3), np.uint8)
    whole = encode_picture(noise, 10 ** 6)
    assert cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR).shape == noise.shape
    small = encode_picture(noise, 5000)
    height, width = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert 2500 < len(small) <= 5000 and height / width == pytest.approx(1.5, abs=.05)
    # A limit that no picture keeps ends at a tiny one; a line of pixels stays one.
    assert len(encode_picture(noise, 1)) < 2000
    assert len(encode_picture(noise[:1], 1)) < 2000
    assert cv2.imdecode(np.frombuffer(encode_picture(noise, 10 ** 6, 100), np.uint8), 1).shape == (100, 67, 3)
