import json
import math

import numpy as np
import pytest
from support.label_map_pairs import ImageCells, image_pair, pairs_of, synthetic_maps
from support.synthetic_data import discs

from mmcell.evaluation.error_types import ERROR_KINDS, count_errors, judge_predictions
from mmcell.evaluation.mistakes import confusion_matrix, error_report, merges_and_splits, reliability
from mmcell.masks.rle import encode_label_map

CATEGORIES = [dict(id=4, name='big'), dict(id=7, name='small')]


def boxes(*rectangles, size=(40, 100)):
    """Returns the RLEs of rectangles (y, x, height, width) in px."""
    masks = [np.zeros(size, int) for _ in rectangles]
    for mask, (y, x, height, width) in zip(masks, rectangles, strict=True):
        mask[y:y + height, x:x + width] = 1
    return [encode_label_map(mask).rles[0] for mask in masks]


def report_of(*images, threshold=0.):
    pairs = pairs_of(*images, classes=CATEGORIES)
    return error_report([image.above(threshold) for image in pairs.painted], judge_predictions(pairs, threshold),
                        pairs.truth.class_names, threshold)


def judge(image, threshold=0.):
    return judge_predictions(pairs_of(image, classes=CATEGORIES), threshold)


def paint(image, classes=CATEGORIES):
    return pairs_of(image, classes=classes).painted[0]


def pair_of(true, pred, true_classes=None, pred_classes=None, scores=None):
    """Returns the pair of true and predicted rectangles, which may overlap; the defaults are class 4 and score 1."""
    return ImageCells((40, 100), boxes(*true), np.array(true_classes or [4] * len(true), np.int64), boxes(*pred),
                      np.array(pred_classes or [4] * len(pred), np.int64), np.array(scores or [1.] * len(pred), float))


@pytest.mark.parametrize('rectangle, pred_class, kind', [
    ((0, 0, 10, 10), 4, 'correct'),
    ((0, 0, 10, 6), 4, 'correct'),             # IoU .6
    ((0, 0, 10, 5), 4, 'localisation'),        # IoU .5
    ((0, 0, 10, 2), 4, 'localisation'),        # IoU .2
    ((0, 0, 10, 1), 4, 'background'),          # IoU .1
    ((20, 50, 10, 10), 4, 'background'),
    ((0, 0, 10, 10), 7, 'classification'),
    ((0, 0, 10, 5), 7, 'both'),
    ((0, 0, 10, 1), 7, 'background'),
])
def test_kinds_of_error(rectangle, pred_class, kind):
    judged = judge(pair_of([(0, 0, 10, 10)], [rectangle], pred_classes=[pred_class]))
    assert judged.kinds.tolist() == [kind] and judged.is_found.tolist() == [kind == 'correct']


def test_a_second_prediction_of_a_cell_is_a_duplicate():
    pair = pair_of([(0, 0, 10, 10)], [(0, 0, 10, 9), (0, 0, 10, 10), (0, 0, 10, 8)], scores=[.5, .9, .2])
    assert judge(pair).kinds.tolist() == ['duplicate', 'correct', 'duplicate']
    assert judge(pair, .5).kinds.tolist() == ['duplicate', 'correct']
    # A prediction is correct if a cell of its class matches, even if it overlaps a cell of another class more.
    pair = pair_of([(0, 0, 10, 10), (0, 0, 10, 8)], [(0, 0, 10, 10)], true_classes=[7, 4])
    assert judge(pair).kinds.tolist() == ['correct']


@pytest.mark.parametrize('order', [[0, 1], [1, 0]])
def test_the_cell_that_is_overlapped_most_decides_the_kind(order):
    true, true_classes = [(0, 0, 10, 10), (0, 10, 10, 10)], [7, 4]
    pair = pair_of([true[i] for i in order], [(0, 3, 10, 11)], true_classes=[true_classes[i] for i in order])
    # The IoU is 7/14 with the cell of class 7, and 4/17 with the cell of the prediction's own class.
    judged = judge(pair)
    assert judged.kinds.tolist() == ['both'] and judged.nearest_true.tolist() == [order.index(0)]


def test_errors_are_counted_and_mended():
    true = [(0, x, 10, 10) for x in (0, 20, 40, 60, 80)]
    pred = [(0, 0, 10, 10), (0, 20, 10, 10), (0, 21, 10, 9), (0, 40, 10, 4), (20, 0, 9, 9), (0, 0, 10, 9)]
    pair = pair_of(true, pred, pred_classes=[4, 7, 7, 4, 4, 4], scores=[.9, .8, .7, .6, .5, .4])
    counts = count_errors(judge(pair))
    assert {kind: entry['n'] for kind, entry in counts['kinds'].items()} == dict(
        classification=2, localisation=1, both=0, duplicate=1, background=1, missed=2)
    assert counts['n_correct'] == 1 and counts['n_true'] == 5 and counts['n_predicted'] == 6
    assert counts['F1'] == 2 * 1 / 11
    mended = {kind: entry['F1_if_mended'] for kind, entry in counts['kinds'].items()}
    assert mended == dict(classification=2 * 2 / (5 + 5), localisation=2 * 2 / (6 + 5), both=2 / 11, duplicate=2 / 10,
                          background=2 / 10, missed=2 * 3 / (8 + 5))


def test_confusions_have_missed_and_spurious_cells():
    true_map = discs((40, 200), [(i + 1, 20, 20 + 40 * i, 8) for i in range(4)])
    pred_map = discs((40, 200), [(i + 1, 20, 20 + 40 * i, 8) for i in (0, 1, 3, 4)])
    pair = image_pair(true_map, pred_map, [4, 4, 7, 7], [4, 7, 4, 4])
    report = report_of(pair, pair)
    assert report['confusion'] == {
        'rows_true': ['big', 'small', 'spurious'], 'columns_predicted': ['big', 'small', 'missed'],
        'counts': [[2, 2, 0], [2, 0, 2], [2, 0, 0]]}
    no_prediction_left = report_of(pair, threshold=1.1)
    assert no_prediction_left['confusion']['counts'] == [[0, 0, 2], [0, 0, 2], [0, 0, 0]]


def test_two_halves_of_a_cell_are_spurious_and_the_cell_is_missed():
    true_map, pred_map = np.ones((10, 20), int), np.repeat([1, 2], 10)[None].repeat(10, axis=0)
    report = report_of(image_pair(true_map, pred_map, [4], [4, 4]))
    assert report['confusion']['counts'] == [[0, 0, 1], [0, 0, 0], [2, 0, 0]]


def test_only_correct_predictions_count_as_correct_for_the_reliability():
    label_map = discs((40, 80), [(1, 20, 20, 8), (2, 20, 60, 8)])
    report = report_of(image_pair(label_map, label_map, [4, 4], [4, 7]))
    assert report['error_kinds']['n_correct'] == 1
    assert report['reliability']['expected_calibration_error'] == .5


def test_every_cell_is_in_the_confusions_once():
    pair = image_pair(*synthetic_maps(2))
    counts = confusion_matrix(paint(pair, None), 3)
    assert counts[:-1].sum(1).tolist() == np.bincount(pair.true_classes)[1:].tolist()
    assert counts[:, :-1].sum(0).tolist() == np.bincount(pair.pred_classes)[1:].tolist()
    assert counts[-1, -1] == 0


def test_merges_and_splits():
    three, joined = [(0, 0, 10, 10), (0, 10, 10, 10), (0, 20, 10, 10)], [(0, 0, 10, 30)]
    elsewhere = [(20, 50, 10, 10)]
    merged, split = (merges_and_splits(paint(pair_of(true + elsewhere, pred + elsewhere)))
                     for true, pred in ((three, joined), (joined, three)))
    assert merged == dict(n_merges=1, n_merged_true_cells=3, n_splits=0, n_split_pieces=0)
    assert split == dict(n_merges=0, n_merged_true_cells=0, n_splits=1, n_split_pieces=3)
    # A cell of which only half lies in another cell is not merged.
    half = merges_and_splits(paint(pair_of([(0, 0, 10, 10), (0, 10, 10, 10)], [(0, 0, 10, 15)])))
    assert half['n_merges'] == 0


def test_reliability_by_hand():
    scores = np.array([0., .05, .1, .62, .68, .9, 1.])
    is_correct = np.array([0, 0, 1, 1, 0, 1, 1], bool)
    result = reliability(scores, is_correct, n_bins=10)
    assert [(row['n'], row['from'], row['to']) for row in result['bins']] == [
        (3, 0, .1), (2, .6, .7), (1, .8, .9), (1, .9, 1)]
    gaps = [abs(1 / 3 - .05), abs(.5 - .65), .1, 0]
    assert result['expected_calibration_error'] == pytest.approx(np.dot([3, 2, 1, 1], gaps) / 7)


def test_the_calibration_error_is_0_for_calibrated_scores_and_1_for_sure_mistakes():
    scores = np.repeat([.25, .75], 400)
    is_correct = np.arange(800) % 4 < np.repeat([1, 3], 400)
    assert reliability(scores, is_correct)['expected_calibration_error'] == 0
    assert reliability(np.ones(5), np.zeros(5, bool))['expected_calibration_error'] == 1


def test_a_report_without_cells_or_images():
    for pairs in ([], [pair_of([], [])]):
        report = report_of(*pairs, threshold=.5)
        assert np.sum(report['confusion']['counts']) == 0
        assert math.isnan(report['error_kinds']['F1'])
        assert report['error_kinds']['kinds'].keys() == {*ERROR_KINDS, 'missed'}
        assert set(report['merges_and_splits'].values()) == {0}
        assert math.isnan(report['reliability']['expected_calibration_error'])
    only_missed = report_of(pair_of([(0, 0, 5, 5)], []), threshold=.5)
    assert only_missed['error_kinds']['kinds']['missed'] == {'n': 1, 'F1_if_mended': 1.}
    only_spurious = report_of(pair_of([], [(0, 0, 5, 5)]), threshold=.5)
    assert only_spurious['error_kinds']['kinds']['background']['n'] == 1


def test_a_report_is_json_and_the_truth_has_no_errors():
    true_map, _, classes, _ = synthetic_maps(0)
    classes = np.where(classes == 1, 4, 7)
    pair = image_pair(true_map, true_map, classes, classes)
    report = json.loads(json.dumps(report_of(pair, pair, threshold=.5)))
    assert report['score_threshold'] == .5 and report['error_kinds']['F1'] == 1
    assert {entry['n'] for entry in report['error_kinds']['kinds'].values()} == {0}
    assert report['confusion']['counts'] == [[36, 0, 0], [0, 72, 0], [0, 0, 0]]
    assert set(report['merges_and_splits'].values()) == {0}
    assert report['reliability']['expected_calibration_error'] == 0
