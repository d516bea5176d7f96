import tracemalloc

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.label_map_pairs import ImageCells, pairs_of

from mmcell.annotations.coco_json import AnnotationError
from mmcell.evaluation.pairs import centroids_xy, pair_coco
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import ResultsError

SIZE = (6, 5)


def encode(masks):
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def bar(first, last):
    """Returns a mask of one row of 8 px whose pixels from ``first`` up to, but without, ``last`` are covered."""
    mask = np.zeros((1, 8), bool)
    mask[0, first:last] = True
    return mask


MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 6), st.just(SIZE[0]), st.just(SIZE[1])))


@given(MASKS, st.data(), st.sampled_from([.0, .25, .5, .75, 2]))
def test_a_threshold_after_painting_equals_a_threshold_before_painting(masks, data, threshold):
    scores = np.array(data.draw(st.lists(st.sampled_from([.25, .5, .75]), min_size=len(masks), max_size=len(masks))))
    rles = encode(masks)
    true_rles, is_kept = encode(np.tri(SIZE[0], SIZE[1])[None]), np.flatnonzero(scores >= threshold)

    def pair(indices):
        return pairs_of(ImageCells(SIZE, true_rles, np.array([1]), [rles[i] for i in indices], indices % 3 + 1,
                                   scores[indices])).painted[0]

    after, before = pair(np.arange(len(masks))).above(threshold), pair(is_kept)
    assert after.overlaps.intersections_px.tolist() == before.overlaps.intersections_px.tolist()
    assert after.overlaps.pred_areas_px.tolist() == before.overlaps.pred_areas_px.tolist()
    assert after.pred_classes.tolist() == before.pred_classes.tolist()
    np.testing.assert_array_equal(after.pred_centroids_xy, before.pred_centroids_xy)


def test_overlapping_truth_shows_the_smaller_cell_whatever_the_order():
    for rles in (encode([bar(0, 8), bar(2, 4)]), encode([bar(2, 4), bar(0, 8)])):
        painted, = pairs_of(ImageCells((1, 8), rles, np.array([1, 1]), [], np.zeros(0, int), np.zeros(0))).painted
        assert sorted(painted.overlaps.true_areas_px.tolist()) == [2, 6]


def test_images_are_painted_at_their_own_size_beside_others_that_are_taller_or_wider():
    sizes = [(20_000, 3), (2, 20_000)]
    masks = []
    for size in sizes:
        bitmap = np.zeros(size, np.uint8, order='F')
        bitmap[1:3, 1:3] = 1
        masks.append(pycocotools.mask.encode(bitmap))
    document = dict(
        images=[dict(id=i, file_name=f'{i}.tif', height=height, width=width)
                for i, (height, width) in enumerate(sizes)],
        categories=[dict(id=4, name='a')],
        annotations=[dict(id=i + 1, image_id=i, category_id=4, segmentation={**mask, 'counts': mask['counts'].decode()},
                          bbox=[1, 1, 2, 2 - i], area=4 - 2 * i, iscrowd=0) for i, mask in enumerate(masks)])
    pairs = pair_coco(document, [])
    tracemalloc.start()
    painted = pairs.painted
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [image.overlaps.true_areas_px.tolist() for image in painted] == [[4], [2]]
    assert [image.true_centroids_xy.tolist() for image in painted] == [[[1.5, 1.5]], [[1.5, 1.]]]
    # A map of the largest height and the largest width would take 1.6 GB.
    assert peak < 10_000_000


def test_centroids_are_mean_pixel_positions():
    label_map = np.array([[0, 7, 7, 7], [0, 0, 0, 0], [2, 0, 0, 0]])
    assert centroids_xy(label_map, np.array([2, 7])).tolist() == [[0, 2], [2, 0]]
    assert centroids_xy(np.zeros((3, 4), int), np.zeros(0, int)).shape == (0, 2)


def crowd():
    """Returns COCO annotations of one image with two cells, and the same cells as COCO results."""
    encoded = encode_label_map(np.array([[1, 1, 0], [0, 2, 2]]))
    cells = [dict(image_id=83, category_id=4, segmentation=rle, bbox=bbox) for rle, bbox in zip(
        encoded.rles, encoded.bboxes_xywh.tolist(), strict=True)]
    document = dict(images=[dict(id=83, file_name='a.tif', height=2, width=3)], categories=[dict(id=4, name='a')],
                    annotations=[dict(cell, id=number, area=2, iscrowd=0) for number, cell in enumerate(cells, 1)])
    return document, [dict(cell, score=.5) for cell in cells]


def test_annotations_and_results_in_memory_are_paired():
    pairs = pair_coco(*crowd())
    assert pairs.overlaps.ious.tolist() == [1, 1] and pairs.predictions.scores.tolist() == [.5, .5]


@pytest.mark.parametrize('change', [
    dict(image_id=5), dict(image_id=None), dict(image_id=[83]), dict(category_id=0), dict(category_id='a'),
    dict(segmentation=None), dict(segmentation=dict(size=[3, 2], counts='06')),
    dict(segmentation=dict(size=[2, 3], counts='é')), dict(bbox=[1, 2]), dict(image_id=...), dict(category_id=...),
])
def test_records_of_unknown_images_and_classes_and_bad_masks_end_in_a_message(change):
    for side, error in ((0, AnnotationError), (1, ResultsError)):
        document, results = crowd()
        record = (document['annotations'], results)[side][1]
        record.update(change)
        for key in [key for key, value in change.items() if value is ...]:
            del record[key]
        with pytest.raises(error):
            pair_coco(document, results)


@pytest.mark.parametrize(('key', 'message'), [('images', 'images must be a list, but is missing'),
                                              ('categories', 'categories must be a list, but is missing')])
def test_documents_without_a_section_end_in_a_message(key, message):
    document, results = crowd()
    del document[key]
    with pytest.raises(AnnotationError, match=f'the annotation file: {message}'):
        pair_coco(document, results)
    with pytest.raises(AnnotationError, match='has no category'):
        pair_coco({**crowd()[0], 'categories': []}, [])
