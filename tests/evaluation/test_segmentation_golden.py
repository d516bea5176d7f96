"""Compares scores with those of other packages on the label maps of ``synthetic_maps``.

The values were computed once with the packages that are named at each table: ``stardist.matching.matching`` and
``matching_dataset`` (0.9.2), ``cellpose.metrics.average_precision`` (4.2.1.1), and the formulas of HoVer-Net's released
evaluation (github.com/vqdang/hover_net at 5847ebf, metrics/stats_utils.py: get_dice_1, get_fast_aji,
get_fast_aji_plus, get_fast_pq, pair_coordinates; compute_stats.py: run_nuclei_type_stat), written out over full N x M
tables and bitmaps.
"""

import pytest
from support.label_map_pairs import image_pair, pairs_of, synthetic_maps

from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.segmentation_scores import segmentation_scores

# StarDist: image, IoU threshold, F1, accuracy. Cellpose gives the same values at .5 and .9.
STARDIST = [
    (0, '.50', .9411764705882353, .8888888888888888),
    (0, '.70', .6078431372549019, .43661971830985913),
    (0, '.90', .13725490196078433, .07368421052631578),
    (1, '.50', .45652173913043476, .29577464788732394),
    (1, '.70', .2608695652173913, .15),
    (1, '.90', 0., 0.),
    (2, '.50', .3595505617977528, .2191780821917808),
    (2, '.70', .06741573033707865, .03488372093023256),
    (2, '.90', 0., 0.),
]
# Cellpose: "AP" at IoU .75 of each image.
CELLPOSE = [.3076923191547394, .05747126415371895, .03488372266292572]
# HoVer-Net: Dice, AJI, AJI+, DQ, SQ, PQ of each image, and PQ of classes 1, 2, 3.
HOVER_NET = [
    (.7921294469188701, .6130599028602267, .6236726473819114, .9411764705882353, .7392515355853367, .6957661511391404,
     (.1837755280755944, .24255006728425801, .2665499561269376)),
    (.6570688512740196, .3423749246534057, .3621892180192008, .45652173913043476, .682983189776097,
     .31179667359343555, (.05132845108700785, .10897535098544331, .09937486251933934)),
    (.5743647234678625, .24853013228809406, .2726696258719087, .3595505617977528, .6027716368361687,
     .2167268806601955, (0., .07361473144768113, .07764673497942666)),
]


@pytest.fixture(scope='module')
def statistics():
    pairs = pairs_of(*(image_pair(*synthetic_maps(number)) for number in range(3)))
    return [image_statistics(image, 3) for image in pairs.painted]


@pytest.mark.parametrize('number, threshold, f1, accuracy', STARDIST)
def test_detection_scores_of_stardist(statistics, number, threshold, f1, accuracy):
    scores = segmentation_scores(statistics[number:number + 1], list('abc'))
    assert scores[f'F1@IoU{threshold}_pooled'] == pytest.approx(f1, abs=1e-15)
    assert scores[f'detection_Jaccard@IoU{threshold}_pooled'] == pytest.approx(accuracy, abs=1e-15)


def test_scores_of_a_set_of_images_of_stardist(statistics):
    scores = segmentation_scores(statistics, list('abc'))
    assert scores['F1@IoU.50_pooled'] == pytest.approx(.6007067137809188, abs=1e-15)
    assert scores['F1@IoU.50_image_mean'] == pytest.approx(.5857495905054743, abs=1e-15)
    # StarDist computes these in single precision.
    assert scores['PQ_pooled'] == pytest.approx(.42029023, abs=1e-7)
    assert scores['PQ_image_mean'] == pytest.approx(.40809658, abs=1e-7)


def test_what_cellpose_calls_average_precision(statistics):
    for image, expected in zip(statistics, CELLPOSE, strict=True):
        value = segmentation_scores([image], list('abc'))['detection_Jaccard@IoU.75_pooled']
        assert value == pytest.approx(expected, abs=1e-7)


def test_scores_of_hover_net(statistics):
    for image, expected in zip(statistics, HOVER_NET, strict=True):
        scores = segmentation_scores([image], list('abc'))
        names = ['Dice', 'AJI', 'AJI+', 'DQ', 'SQ', 'PQ']
        # HoVer-Net's code adds 1e-6 to the number of matches.
        assert [scores[f'{name}_pooled'] for name in names] == pytest.approx(expected[:6], abs=1e-6)
        assert [scores[f'PQ_pooled/{name}'] for name in 'abc'] == pytest.approx(expected[6], abs=1e-6)


def test_detection_and_classification_of_hover_net(statistics):
    scores = segmentation_scores(statistics, list('abc'))
    assert scores['F_d_pooled'] == pytest.approx(.833922261484099, abs=1e-15)
    assert scores['type_accuracy_pooled'] == pytest.approx(.3559322033898305, abs=1e-15)
    assert [scores[f'F_c_pooled/{name}'] for name in 'abc'] == pytest.approx(
        [.12598425196850394, .25, .1891891891891892], abs=1e-15)


@pytest.mark.parametrize('number', range(3))
def test_stardist_itself_where_it_is_installed(statistics, number):
    matching = pytest.importorskip('stardist.matching', reason='development test: pip install stardist').matching
    scores = segmentation_scores(statistics[number:number + 1], list('abc'))
    for percent in range(50, 95, 5):
        expected = matching(*synthetic_maps(number)[:2], thresh=percent / 100)
        assert scores[f'F1@IoU.{percent}_pooled'] == pytest.approx(expected.f1, abs=1e-15)
        assert scores[f'detection_Jaccard@IoU.{percent}_pooled'] == pytest.approx(expected.accuracy, abs=1e-15)
    assert scores['PQ_pooled'] == pytest.approx(matching(*synthetic_maps(number)[:2]).panoptic_quality, abs=1e-6)
