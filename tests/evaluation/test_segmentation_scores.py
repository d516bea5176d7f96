import json
import math

import numpy as np
import pytest
from evaluation import pair_unchecked
from support.label_map_pairs import SIZE, image_pair, pairs_of, synthetic_maps
from support.synthetic_data import discs, write_annotations

from mmcell.evaluation.evaluation import SWEEP_THRESHOLDS, SWEPT_SCORES, sweep
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.segmentation_scores import resampled_segmentation_scores, segmentation_scores

NAMES = ['a', 'b', 'c']


def statistics_of(*images, threshold=0.):
    return [image_statistics(image.above(threshold), 3) for image in pairs_of(*images).painted]


def scores_of(*images, threshold=0., weights=None):
    return segmentation_scores(statistics_of(*images, threshold=threshold), NAMES, weights)


def bars(first_px, n_px=30, n_rows=4, label=1):
    label_map = np.zeros((12, 60), int)
    label_map[4:4 + n_rows, first_px:first_px + n_px] = label
    return label_map


def empty(pair, true=False, pred=False):
    """Returns the pair without its true cells, its predicted cells, or both."""
    none = np.zeros(0, np.int64)
    if true:
        pair = pair._replace(true_rles=[], true_classes=none)
    return pair._replace(pred_rles=[], pred_classes=none, pred_scores=np.zeros(0)) if pred else pair


@pytest.mark.parametrize('new_ids', [np.arange(1, 55), np.random.default_rng(0).permutation(np.arange(1, 55) * 7)])
def test_the_truth_scores_one_whatever_its_ids(new_ids):
    true_map, _, classes, _ = synthetic_maps(0)
    scores = scores_of(image_pair(true_map, np.append(0, new_ids)[true_map], classes, classes[np.argsort(new_ids)],
                                  np.linspace(1, .1, 54)))
    # There are 26 scores of all cells, 4 scores of each of 3 classes, and mPQ, all of them pooled and averaged.
    assert len(scores) == 2 * (26 + 4 * 3 + 1) and set(scores.values()) == {1.}


def test_permuted_ids_change_nothing():
    true_map, pred_map, true_classes, pred_classes = synthetic_maps(1)
    ids = np.random.default_rng(0).permutation(np.arange(1, pred_map.max() + 1)) * 3
    permuted = image_pair(true_map, np.append(0, ids)[pred_map], true_classes, pred_classes[np.argsort(ids)])
    assert scores_of(permuted) == pytest.approx(scores_of(image_pair(true_map, pred_map, true_classes, pred_classes)))


@pytest.mark.parametrize('distance_px', [10, 20, 30])
def test_discs_have_the_overlap_of_geometry(distance_px):
    radius = 40
    lens = 2 * radius**2 * math.acos(distance_px / 2 / radius) - distance_px / 2 * math.sqrt(
        4 * radius**2 - distance_px**2)
    iou, dice = lens / (2 * math.pi * radius**2 - lens), lens / (math.pi * radius**2)
    pair = image_pair(*(discs((100, 150), [(1, 50, 50 + shift, radius)]) for shift in (0, distance_px)))
    scores = scores_of(pair)
    assert [scores['AJI_pooled'], scores['AJI+_pooled']] == pytest.approx([iou, iou], abs=.005)
    assert scores['Dice_pooled'] == pytest.approx(dice, abs=.005)
    assert scores['PQ_pooled'] == pytest.approx(iou if iou > .5 else 0, abs=.005)
    assert scores['F_d_pooled'] == (distance_px <= 12)
    for percent in range(50, 95, 5):
        assert scores[f'F1@IoU.{percent}_pooled'] == (iou >= percent / 100)


def test_panoptic_quality_needs_an_iou_above_a_half():
    above, at = (scores_of(image_pair(bars(0), bars(shift_px))) for shift_px in (9, 10))
    assert above['PQ_pooled'] == 21 / 39 and above['DQ_pooled'] == 1
    # The IoU is 20 / 40: F1 counts an IoU that is equal to the threshold.
    assert at['PQ_pooled'] == at['DQ_pooled'] == 0 and math.isnan(at['SQ_pooled'])
    assert at['F1@IoU.50_pooled'] == 1 and at['F1@IoU.55_pooled'] == 0


def test_two_halves_match_once():
    halves = bars(0, 15) + bars(15, 15, label=2)
    scores = scores_of(image_pair(bars(0), halves))
    assert scores['PQ_pooled'] == 0
    assert scores['F1@IoU.50_pooled'] == 2 / 3 and scores['detection_Jaccard@IoU.50_pooled'] == 1 / 2
    assert scores['Dice_pooled'] == 1 and scores['AJI_pooled'] == scores['AJI+_pooled'] == 60 / (120 + 60)


def test_aji_may_use_a_prediction_twice_and_aji_plus_may_not():
    scores = scores_of(image_pair(bars(0, 20) + bars(20, 10, label=2), bars(0)))
    assert scores['AJI_pooled'] == 120 / (120 + 120)
    assert scores['AJI+_pooled'] == 80 / (120 + 40)


def test_a_spurious_class_lowers_its_own_quality_and_the_mean():
    true_map, _, classes, _ = synthetic_maps(0)
    classes = np.where(classes == 3, 1, classes)
    spurious = true_map.copy()
    spurious[:3, :3] = 900
    without = scores_of(image_pair(true_map, true_map, classes, classes))
    with_one = scores_of(image_pair(true_map, spurious, classes, np.append(classes, 3)))
    assert without['mPQ_pooled'] == without['mPQ_image_mean'] == 1 and math.isnan(without['PQ_pooled/c'])
    assert with_one['PQ_pooled/a'] == with_one['PQ_pooled/b'] == 1
    assert with_one['PQ_pooled/c'] == with_one['PQ_image_mean/c'] == with_one['F_c_pooled/c'] == 0
    assert with_one['mPQ_pooled'] == with_one['mPQ_image_mean'] == pytest.approx(2 / 3)
    assert with_one['PQ_pooled'] == pytest.approx(54 / 54.5)


def test_a_wrong_class_costs_two_classes_and_no_class_agnostic_score():
    scores = scores_of(image_pair(bars(0), bars(0), [1], [2]))
    assert scores['PQ_pooled'] == scores['F_d_pooled'] == 1
    assert [scores[f'PQ_pooled/{name}'] for name in 'ab'] == [scores[f'F_c_pooled/{name}'] for name in 'ab'] == [0, 0]
    assert scores['type_accuracy_pooled'] == 0 and math.isnan(scores['PQ_pooled/c'])


def test_the_weights_of_hover_net():
    # Class 1 has one correct pair, one pair whose prediction is of class 2, and one missed cell. Class 2 also has one
    # spurious cell.
    true_map = discs((40, 200), [(1, 20, 20, 8), (2, 20, 60, 8), (3, 20, 100, 8)])
    pred_map = discs((40, 200), [(1, 20, 20, 8), (2, 20, 60, 8), (3, 20, 180, 8)])
    scores = scores_of(image_pair(true_map, pred_map, [1, 1, 1], [1, 2, 2]))
    assert scores['F_d_pooled'] == 4 / (4 + 1 + 1)
    assert scores['F_c_pooled/a'] == 2 / (2 + 2 * 0 + 2 * 1 + 0 + 1)
    assert scores['F_c_pooled/b'] == 0
    assert scores['type_accuracy_pooled'] == .5


def test_images_without_cells():
    pair = image_pair(*synthetic_maps(0))
    nothing, all_missed, all_spurious = (scores_of(empty(pair, true, pred))
                                         for true, pred in ((True, True), (False, True), (True, False)))
    assert all(math.isnan(value) for value in nothing.values())
    for scores in all_missed, all_spurious:
        undefined = {name for name, value in scores.items() if math.isnan(value)}
        assert undefined == {name for name in scores if name.startswith(('SQ_', 'type_accuracy_'))}
        assert {scores[name] for name in scores.keys() - undefined} == {0.}
    # An image without cells takes no part in a mean; an image with only missed cells counts 0.
    one, three = scores_of(pair), scores_of(pair, empty(pair, True, True), empty(pair, pred=True))
    for name in ('PQ', 'AJI', 'Dice', 'F1@IoU.50', 'F_d', 'DQ'):
        assert three[f'{name}_image_mean'] == pytest.approx(one[f'{name}_image_mean'] / 2)
    assert three['mPQ_image_mean'] == pytest.approx(one['mPQ_image_mean'] / 2)
    assert three['SQ_image_mean'] == one['SQ_image_mean']


def test_pooled_and_averaged_differ_as_named():
    # In one image 1 of 1 cell is found, in the other one 1 of 3 cells.
    many = bars(0, 10) + bars(20, 10, label=2) + bars(40, 10, label=3)
    scores = scores_of(image_pair(bars(0), bars(0)), image_pair(many, bars(0, 10)))
    assert scores['PQ_pooled'] == pytest.approx(2 / (2 + 2 / 2))
    assert scores['PQ_image_mean'] == pytest.approx((1 + 1 / 2) / 2)


def test_weights_are_repetitions():
    pairs = [image_pair(*synthetic_maps(number)) for number in range(3)]
    pairs.append(empty(pairs[0], True, True))
    statistics = statistics_of(*pairs)
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 0], [0, 0, 0, 4]])
    resampled = resampled_segmentation_scores(statistics, NAMES, weights)
    for i, row in enumerate(weights):
        repeated = [image for image, n in zip(statistics, row, strict=True) for _ in range(n)]
        values = {name: value[i] for name, value in resampled.items()}
        assert values == pytest.approx(segmentation_scores(repeated, NAMES), nan_ok=True)
        assert values == pytest.approx(segmentation_scores(statistics, NAMES, row), nan_ok=True)


def test_scores_of_no_image_are_refused():
    with pytest.raises(ValueError, match='no image'):
        segmentation_scores([], NAMES)


def test_the_threshold_that_leaves_out_spurious_cells_is_best():
    true_map = discs(SIZE, [(1, 30, 30, 10), (2, 30, 90, 10)])
    pred_map = discs(SIZE, [(1, 30, 30, 10), (2, 30, 90, 9), (3, 80, 30, 5), (4, 80, 80, 5)])
    pair = image_pair(true_map, pred_map, [1, 1], [1, 1, 1, 1], [.9, .6, .4, .2])
    swept = sweep(pairs_of(pair))
    assert [row['score_threshold'] for row in swept['table']] == list(SWEEP_THRESHOLDS)
    for row in swept['table']:
        assert {**scores_of(pair, threshold=row['score_threshold']), 'score_threshold': row['score_threshold']} == \
            pytest.approx(row, nan_ok=True)
    assert swept['best'].keys() == set(SWEPT_SCORES) and swept['best']['PQ_pooled'] == .45


def test_real_cells_score_one_against_themselves(real_data, tmp_path):
    path = tmp_path / 'hw3.json'
    write_annotations(real_data / 'hw3', path, ['1', '2', '3', '4'])
    document = json.loads(path.read_text())
    detections = [dict(annotation, score=.5) for annotation in document['annotations']]
    statistics = [image_statistics(image.above(.5), 4) for image in pair_unchecked(document, detections).painted]
    assert set(segmentation_scores(statistics, ['1', '2', '3', '4']).values()) == {1.}
