import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from support.cells import rasterise
from support.synthetic_data import discs

from mmcell.annotations.ground_truth import to_ground_truth
from mmcell.errors import MmcellError
from mmcell.evaluation.pairs import Pairs
from mmcell.inspection.label_error_files import write_label_errors
from mmcell.inspection.label_error_findings import to_findings
from mmcell.inspection.label_errors import find_label_errors
from mmcell.inspection.label_evidence import calibrate, expected_support, find_best, gather_evidence
from mmcell.masks.rle import areas_px, bboxes_xywh, encode_label_map
from mmcell.predictions.cells import Predictions

SIZE = (200, 200)
N_CLASSES = 3
# 81 discs per image, 20 px apart, with the classes in turn.
CENTERS = [(20 + 20 * row, 20 + 20 * column) for row in range(9) for column in range(9)]
RADIUS = 8


def masks_of(shapes):
    """Returns one RLE per shape; a shape is a list of (y, x, radius) whose discs form one mask."""
    rles = []
    for shape in shapes:
        label_map = discs(SIZE, [(1, *disc) for disc in shape])
        rles += encode_label_map(label_map).rles
    return rles


def truth_of(images):
    """Returns the labels of images, each of them a list of (class, shape)."""
    annotations = []
    for image, cells in enumerate(images, start=1):
        for rle, (label, _) in zip(masks_of([shape for _, shape in cells]), cells, strict=True):
            annotations.append(dict(
                id=len(annotations) + 101, image_id=image, category_id=label + 1, segmentation=rle, iscrowd=0,
                area=float(areas_px([rle])[0]), bbox=bboxes_xywh([rle])[0].astype(float).tolist()))
    return to_ground_truth(dict(
        images=[dict(id=image, file_name=f'train/{image}.png', height=SIZE[0], width=SIZE[1])
                for image in range(1, len(images) + 1)],
        categories=[dict(id=number + 1, name=name) for number, name in enumerate('abc')], annotations=annotations))


def predictions_of(images):
    """Returns predictions of images, each of them a list of (class, score, shape)."""
    rles = [rle for cells in images for rle in masks_of([shape for *_, shape in cells])]
    rows = [(image, label, score) for image, cells in enumerate(images) for label, score, _ in cells]
    image_index, labels, scores = (np.array(values) for values in zip(*rows, strict=True))
    return Predictions(image_index, labels, scores.astype(float), bboxes_xywh(rles).astype(float), rles)


def cell(place, radius=RADIUS, shift=(0, 0)):
    y, x = CENTERS[place]
    return [(y + shift[0], x + shift[1], radius)]


def clean_scene(seed=0):
    """Returns the labels and the predictions of two images.

    The outlines of the predictions are a pixel smaller and scores vary. There are spurious predictions with low scores,
    and second, less probable classes.
    """
    rng = np.random.default_rng(seed)
    labels, predictions = [], []
    for _ in range(2):
        labels.append([(place % N_CLASSES, cell(place)) for place in range(len(CENTERS))])
        predictions.append([(label, rng.uniform(.8, .98), [(y, x, RADIUS - 1)]) for label, [(y, x, _)] in labels[-1]])
        predictions[-1] += [((place + 1) % N_CLASSES, rng.uniform(.05, .15), cell(place)) for place in range(0, 81, 2)]
        predictions[-1] += [(place % N_CLASSES, rng.uniform(.05, .1), [(4, 30 + 15 * place, 3)]) for place in range(10)]
    return labels, predictions


def names(errors):
    """Returns the kind of each error, and the id of the label, None for a missing one."""
    ids = [int(errors.truth.annotation_ids[index]) if index >= 0 else None for index in errors.cells]
    return list(zip(errors.kinds.tolist(), ids, strict=True))


PLACE = 40  # of the first image; its label has the id 141


def plant_wrong_class(labels, predictions):
    labels[0][PLACE] = ((PLACE + 1) % N_CLASSES, labels[0][PLACE][1])


def plant_missing(labels, predictions):
    del labels[0][PLACE]


def plant_spurious(labels, predictions):
    predictions[0] = [entry for entry in predictions[0] if entry[2][0][:2] != CENTERS[PLACE]]


def plant_badly_located(labels, predictions):
    labels[0][PLACE] = (labels[0][PLACE][0], cell(PLACE, shift=(0, -7)))


def plant_merged(labels, predictions):
    labels[0][PLACE] = (labels[0][PLACE][0], cell(PLACE) + cell(PLACE + 1))
    del labels[0][PLACE + 1]


def plant_split(labels, predictions):
    y, x = CENTERS[PLACE]
    predictions[0] = [entry for entry in predictions[0] if entry[2][0][:2] != (y, x)]
    predictions[0].append((PLACE % N_CLASSES, .9, [(y - 5, x, 4), (y + 5, x, 4), (y, x, 3)]))
    labels[0][PLACE] = (labels[0][PLACE][0], [(y - 5, x, 4)])
    labels[0].append((labels[0][PLACE][0], [(y + 5, x, 4)]))


PLANTED = {'wrong class': plant_wrong_class, 'missing': plant_missing, 'spurious': plant_spurious,
           'badly located': plant_badly_located, 'merged': plant_merged, 'split': plant_split}


def planted(kind):
    labels, predictions = clean_scene()
    PLANTED[kind](labels, predictions)
    return truth_of(labels), predictions_of(predictions)


@pytest.fixture(scope='module')
def scenes():
    return {kind: planted(kind) for kind in PLANTED}


def test_labels_without_errors_have_no_suspect():
    labels, predictions = clean_scene()
    errors = find_label_errors(truth_of(labels), predictions_of(predictions))
    assert names(errors) == [] and errors.remarks == () and errors.agreement == pytest.approx(1, abs=.05)
    assert to_findings(errors) == []


@pytest.mark.parametrize('kind', PLANTED)
def test_each_planted_error_is_the_only_suspect(scenes, kind):
    errors = find_label_errors(*scenes[kind])
    assert names(errors) == [(kind, None if kind == 'missing' else 141)]
    assert errors.truth.file_names[errors.image_index[0]] == 'train/1.png' and .5 <= errors.suspicions[0] <= 1
    x, y, width, height = errors.boxes_xywh[0]
    assert x <= CENTERS[PLACE][1] <= x + width and y <= CENTERS[PLACE][0] + 4 and y + height >= CENTERS[PLACE][0] - 4


@pytest.mark.parametrize('kind', PLANTED)
def test_planted_errors_come_before_everything_else(scenes, kind):
    errors = find_label_errors(*scenes[kind], min_suspicion=0)
    assert names(errors)[0] == (kind, None if kind == 'missing' else 141)
    assert len(errors) > 50 and errors.suspicions[0] > errors.suspicions[1] + .1
    assert (np.diff(errors.suspicions) <= 0).all()
    assert len(set(errors.cells[errors.cells >= 0])) == (errors.cells >= 0).sum()


def test_classes_and_the_second_label_are_named(scenes):
    wrong = find_label_errors(*scenes['wrong class'])
    assert wrong.class_names(0) == ('c', 'b') and wrong.other_cells.tolist() == [-1]
    missing = find_label_errors(*scenes['missing'])
    assert missing.class_names(0) == ('', 'b') and missing.place(0).cell_id is None
    spurious = find_label_errors(*scenes['spurious'])
    assert spurious.class_names(0) == ('b', '') and spurious.predicted.tolist() == [-1]
    split = find_label_errors(*scenes['split'])
    ids = split.truth.annotation_ids[[split.cells[0], split.other_cells[0]]].tolist()
    assert ids == [141, 182] and split.place(0).cell_id == 141


@pytest.mark.parametrize('kind', PLANTED)
def test_the_order_of_the_predictions_does_not_matter(scenes, kind):
    truth, predictions = scenes[kind]
    order = np.random.default_rng(1).permutation(len(predictions))
    order = order[np.argsort(predictions.image_index[order], kind='stable')]
    errors, others = (find_label_errors(truth, each, min_suspicion=.01)
                      for each in (predictions, predictions.take(order)))
    assert names(errors) == names(others) and errors.details == others.details
    np.testing.assert_allclose(errors.suspicions, others.suspicions, rtol=1e-6)
    np.testing.assert_array_equal(errors.boxes_xywh, others.boxes_xywh)


def test_predictions_that_equal_the_labels_give_no_suspect_but_a_warning():
    labels, _ = clean_scene()
    errors = find_label_errors(truth_of(labels), predictions_of(
        [[(label, 1., shape) for label, shape in cells] for cells in labels]))
    assert len(errors) == 0 and errors.agreement == 1
    remark, = errors.remarks
    assert (remark.kind, remark.level) == ('predictions-not-out-of-fold', 'warning')
    assert 'F1 1.000, mean IoU of hits 1.000' in remark.sentence and '--folds' in remark.advice
    assert to_findings(errors) == [remark]


def test_predictions_beside_all_labels_are_called_too_weak():
    labels, predictions = clean_scene()
    moved = [[(label, score, [(y, x + 10, radius) for y, x, radius in shape]) for label, score, shape in cells]
             for cells in predictions]
    remark, = find_label_errors(truth_of(labels), predictions_of(moved)).remarks
    assert (remark.kind, remark.level) == ('predictions-too-weak', 'warning')


def test_images_without_a_prediction_are_not_checked_unless_the_caller_knows_better():
    labels, predictions = clean_scene()
    truth, predictions = truth_of(labels), predictions_of([predictions[0], predictions[1][:0]])
    errors = find_label_errors(truth, predictions)
    assert len(errors) == 0 and errors.truth.file_names == ['train/1.png']
    remark, = errors.remarks
    assert remark.kind == 'labels-not-checked' and '1 of 2 images' in remark.sentence
    assert [place.file_name for place in remark.places] == ['train/2.png']
    errors = find_label_errors(truth, predictions, np.array([True, True]), min_suspicion=.3)
    assert set(errors.kinds) == {'spurious'} and set(errors.image_index) == {1} and len(errors) == 81


def test_nothing_is_found_where_there_is_nothing():
    labels, predictions = clean_scene()
    no_predictions = predictions_of(predictions).take(np.zeros(0, np.int64))
    for truth, given in ((truth_of([[], []]), no_predictions), (truth_of(labels), no_predictions)):
        errors = find_label_errors(truth, given)
        assert len(errors) == 0 and errors.boxes_xywh.shape == (0, 4) and errors.agreement == 0
        assert [finding.kind for finding in to_findings(errors)] == ['labels-not-checked']
    errors = find_label_errors(truth_of(labels), no_predictions, np.array([True, True]))
    assert len(errors) == 0 and [remark.kind for remark in errors.remarks] == ['predictions-too-weak']
    # Without any label, nothing says how probable predictions are; the check must end all the same.
    find_label_errors(truth_of([[], []]), predictions_of(predictions))


def test_regions_that_are_not_annotated_cell_by_cell_are_not_judged():
    labels, predictions = clean_scene()
    region = [(y, x, 11) for y, x in CENTERS[:27]]
    labels[0] = [(0, region), *labels[0][27:]]
    truth = truth_of(labels)
    with_region = replace(truth, is_crowd=np.arange(len(truth.rles)) == 0)
    assert len(find_label_errors(with_region, predictions_of(predictions))) == 0
    assert len(find_label_errors(truth, predictions_of(predictions))) > 0


def test_no_label_is_spurious_where_a_limit_has_cut_off_the_predictions():
    labels, predictions = clean_scene()
    truth = truth_of(labels)
    cut = [sorted(predictions[0], key=lambda entry: -entry[1])[:50], predictions[1][:49]]
    errors = find_label_errors(truth, predictions_of(cut), min_suspicion=.2)
    assert set(errors.image_index[errors.kinds == 'spurious']) == {1}
    remark, = errors.remarks
    assert remark.kind == 'predictions-cut-off' and remark.sentence.startswith('1 of 2 images ')


def test_one_class_and_a_class_without_a_cell_are_no_obstacle():
    labels, predictions = clean_scene()
    one_class = [[(0, shape) for _, shape in cells] for cells in labels], [
        [(0, score, shape) for _, score, shape in cells] for cells in predictions]
    del one_class[0][0][PLACE]
    assert names(find_label_errors(truth_of(one_class[0]), predictions_of(one_class[1]))) == [('missing', None)]


def test_only_the_best_of_several_predictions_of_one_cell_counts():
    predictions = predictions_of([[(0, .5, [(50, 50, 8)]), (1, .9, [(50, 51, 8)]), (0, .7, [(50, 50, 4)]),
                                   (0, .6, [(50, 100, 8)]), (2, .6, [(50, 100, 8)])]])
    assert find_best(Pairs(truth_of([[]]), predictions)).tolist() == [False, True, False, True, False]


def test_a_chain_of_predictions_is_suppressed_from_its_best():
    # Neighbours are the same cell, but the first and the third are not: the third stays although the second goes.
    predictions = predictions_of([[(0, .9, [(50, 50, 10)]), (0, .8, [(50, 55, 10)]), (0, .7, [(50, 62, 10)])]])
    assert find_best(Pairs(truth_of([[]]), predictions)).tolist() == [True, False, True]


def test_calibration_gives_the_share_that_is_right_and_never_falls():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=20_000)
    is_right = rng.random(20_000) < scores ** 2 / (scores ** 2 + (1 - scores) ** 2)  # logit of p = 2 logit of the score
    new = np.array([.1, .3, .5, .8, .95])
    expected = new ** 2 / (new ** 2 + (1 - new) ** 2)
    np.testing.assert_allclose(calibrate(scores, is_right, new), expected, atol=.02)
    falling = calibrate(scores, rng.random(20_000) > scores, new)
    assert (np.diff(falling) >= 0).all()


def test_the_expected_support_is_that_of_cells_of_the_same_class_and_shape():
    labels, predictions = clean_scene()
    small = [(place % N_CLASSES, cell(place, radius=3)) for place in range(len(CENTERS))]
    predictions[1] = predictions[1][:1]
    evidence = gather_evidence(Pairs(truth_of([labels[0], small]), predictions_of(predictions)))
    expected = expected_support(evidence)
    # The small cells, which no prediction shows, do not lower what is expected of the large ones much: the nearest 27
    # of each class are large.
    assert expected[:81].min() > expected[81:].max()


@pytest.mark.parametrize('kind', PLANTED)
def test_tables_and_geojson_agree_with_the_errors(scenes, tmp_path, kind):
    errors = find_label_errors(*scenes[kind])
    table, geojson = write_label_errors(errors, tmp_path / 'out')
    with open(table, encoding='utf-8', newline='') as file:
        row, = csv.DictReader(file)
    assert (row['rank'], row['kind'], row['file_name'], row['image_id']) == ('1', kind, 'train/1.png', '1')
    assert row['cell_id'] == ('' if kind == 'missing' else '141')
    assert row['other_cell_id'] == ('182' if kind == 'split' else '')
    assert float(row['suspicion']) == pytest.approx(errors.suspicions[0], abs=1e-6)
    assert [float(row[name]) for name in ('x_px', 'y_px', 'width_px', 'height_px')] == errors.boxes_xywh[0].tolist()
    assert geojson.name == row['geojson'] == '0001_1.label_errors.geojson'
    features = json.loads(geojson.read_text(encoding='utf-8'))['features']
    properties = features[0]['properties']
    assert properties['objectType'] == 'annotation' and properties['classification']['name'] == f'label: {kind}'
    assert properties['name'] == {
        'wrong class': 'c → b?', 'missing': 'no label → b?', 'spurious': 'b → no cell?',
        'badly located': 'b → elsewhere?', 'merged': 'b → several cells?', 'split': 'b → one cell?'}[kind]
    assert properties['measurements'] == {'Suspicion': float(row['suspicion']), 'Rank': 1}
    own = np.isin(errors.truth.annotation_ids, [141, 182 if kind == 'split' else 141])
    rles = [errors.predictions.rles[errors.predicted[0]]] if kind == 'missing' else [
        errors.truth.rles[index] for index in np.flatnonzero(own)]
    assert rasterise(shapely.geometry.shape(features[0]['geometry']), SIZE).sum() == areas_px(rles).sum()
    detections = [feature for feature in features if feature['properties']['objectType'] == 'detection']
    assert len(features) - len(detections) == 1 and len(detections) == (kind in ('badly located', 'split'))


def test_files_of_an_earlier_check_are_not_mixed_with_new_ones(scenes, tmp_path):
    errors = find_label_errors(*scenes['merged'])
    write_label_errors(errors, tmp_path)
    write_label_errors(errors, tmp_path)
    empty = find_label_errors(truth_of(clean_scene()[0]), predictions_of(clean_scene()[1]))
    with pytest.raises(MmcellError, match=r'1 files of an earlier check.*0001_1.label_errors.geojson: name another'):
        write_label_errors(empty, tmp_path)
    assert len((tmp_path / 'label_errors.csv').read_text().splitlines()) == 2
    assert [path.name for path in write_label_errors(empty, tmp_path / 'new')] == ['label_errors.csv']


def test_findings_name_the_places_and_raise_an_alarm_only_for_many_strong_suspects(scenes):
    finding, = to_findings(find_label_errors(*scenes['merged']))
    assert (finding.kind, finding.level) == ('likely-label-errors-merged', 'note')
    assert finding.sentence.startswith('1 labels seem to cover several cells (161 labels in ')
    place, = finding.places
    assert (place.file_name, place.cell_id, place.class_name) == ('train/1.png', 141, 'b')
    assert place.detail.startswith('suspicion 0.') and '2 predictions in one label' in place.detail
    labels, predictions = clean_scene()
    labels[0] = labels[0][10:]
    finding, = to_findings(find_label_errors(truth_of(labels), predictions_of(predictions)), max_places=3)
    assert finding.kind == 'likely-label-errors-missing' and len(finding.places) == 3
