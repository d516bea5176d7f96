"""Average precision, compared with pycocotools, faster-coco-eval and values that are known beforehand."""

import math
from collections import Counter

import numpy as np
import pycocotools.mask
import pytest
from evaluation import (
    by_mmcell,
    by_reference,
    document_of,
    load_reference,
    max_difference,
    pair_unchecked,
    perturbed_detections,
)
from support.synthetic_data import discs

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.evaluation.average_precision import (
    average_precisions,
    average_precisions_of,
    resampled_average_precisions,
)
from mmcell.evaluation.coco_matching import match_classes
from mmcell.layouts.class_maps import find_train_folders, read_train_image
from mmcell.masks.rle import encode_label_map

SHAPE = (150, 200)
REFERENCES = {name: load_reference(name) for name in ('pycocotools', 'faster-coco-eval')}
HEADLINES = ('AP', 'AP50', 'AP@100', 'AP50@100')


def measure(document, detections, **arguments):
    return average_precisions(pair_unchecked(document, detections), **arguments)


def resample(document, detections, weights):
    return resampled_average_precisions(match_classes(pair_unchecked(document, detections), 'segm'), weights)


def crowd(n_images=2):
    """COCO ground truth: rows of discs with radii of 3 to 24 px, classes 1, 2 and 4, and image ids in no order."""
    images = []
    for index in range(n_images):
        maps = {1: [(i + 1, 10, 10 + 9 * i, 3 + i % 2) for i in range(20 - index)],
                2: [(i + 1, 40, 20 + 25 * i, 8 + i) for i in range(5)],
                4: [(i + 1, 100, 30 + 50 * i, 14 + 5 * i) for i in range(3)]}
        by_class = {f'class{number}': encode_label_map(discs(SHAPE, cells)) for number, cells in maps.items()}
        images.append(AnnotatedImage(f'{index}.tif', *SHAPE, by_class))
    document = document_of(images)
    renamed = {image['id']: 90 - 7 * image['id'] for image in document['images']}
    for image in document['images']:
        image['id'] = renamed[image['id']]
    for annotation in document['annotations']:
        annotation['image_id'] = renamed[annotation['image_id']]
    document['categories'].reverse()
    return document


def truth_as_detections(document):
    """Returns the true cells as COCO results with descending scores."""
    return [dict(image_id=cell['image_id'], category_id=cell['category_id'], bbox=cell['bbox'],
                 segmentation=cell['segmentation'], score=1 - .001 * index)
            for index, cell in enumerate(document['annotations'])]


@pytest.mark.parametrize('caps', [[1, 10, 100], [100, 300, 1000]])
@pytest.mark.parametrize('kind', ['segm', 'bbox'])
@pytest.mark.parametrize('name', REFERENCES)
def test_every_value_agrees_with_the_reference(name, kind, caps, rng):
    document = crowd()
    for annotation in document['annotations'][::7]:
        annotation['iscrowd'] = 1
    # Some cells occur twice, because among equal overlaps COCO takes the last cell.
    document['annotations'] += [{**cell, 'id': 1000 + index} for index, cell in enumerate(document['annotations'][1:6])]
    detections = perturbed_detections(document, rng, 130)
    # A mask head may predict an empty mask.
    detections[0]['segmentation'] = pycocotools.mask.encode(np.zeros(SHAPE, np.uint8, order='F'))
    sizes = (10, 20)
    theirs = by_reference(*REFERENCES[name], document, detections, kind, caps, sizes)
    ours = by_mmcell(document, detections, kind, caps, sizes)
    assert max_difference(theirs, ours) < 1e-12
    assert sum(0 < value < 1 for value in ours.values()) > 60


def test_caps_below_the_number_of_detections(rng):
    document = crowd(1)
    document['annotations'] = [cell for cell in document['annotations'] if cell['category_id'] == 1]
    detections = perturbed_detections(document, rng, 1300)
    theirs = by_reference(*REFERENCES['pycocotools'], document, detections, 'bbox', [100, 300, 1000])
    ours = by_mmcell(document, detections, 'bbox', [None, 1000, 300, 100])
    assert max_difference(theirs, {name: value for name, value in ours.items() if '@' in name}) < 1e-12
    assert ours['bbox_AP@100'] < ours['bbox_AP@300'] < ours['bbox_AP@1000'] < ours['bbox_AP']


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['segm', 'bbox'])
@pytest.mark.parametrize('folder', ['consep', 'hw3'])
def test_real_cells_agree_with_pycocotools(real_data, folder, kind, rng):
    root = real_data / folder
    document = document_of([read_train_image(image, root) for image in find_train_folders(root)])
    detections = perturbed_detections(document, rng, 400)
    for caps in ([1, 10, 100], [100, 300, 1000]):
        theirs = by_reference(*REFERENCES['pycocotools'], document, detections, kind, caps, (16, 32))
        assert max_difference(theirs, by_mmcell(document, detections, kind, caps, (16, 32))) < 1e-12


@pytest.mark.parametrize(('folder', 'expected'), [
    pytest.param('consep', [.4802, .7574, .8639, .9356, 1], marks=pytest.mark.slow), ('hw3', [.7649, .9752, 1, 1, 1])])
def test_real_cells_as_their_own_prediction_at_the_caps_of_the_docs(real_data, folder, expected):
    root = real_data / folder
    document = document_of([read_train_image(image, root) for image in find_train_folders(root)])
    truth = [{**cell, 'score': 1.} for cell in document['annotations']]
    caps = [100, 300, 500, 1000, None]
    values = measure(document, truth, kinds=['segm'], caps=caps, size_bins_px=())
    assert [round(values['AP50' + ('' if cap is None else f'@{cap}')], 4) for cap in caps] == expected
    # The precision is 1 up to the recall that the cap allows.
    counts = Counter((cell['category_id'], cell['image_id']) for cell in truth)
    for cap in caps[:-1]:
        recalls = [sum(min(n, cap) for (number, _), n in counts.items() if number == category['id'])
                   / sum(n for (number, _), n in counts.items() if number == category['id'])
                   for category in document['categories']]
        assert values[f'AP@{cap}'] == pytest.approx(np.mean([(int(100 * recall) + 1) / 101 for recall in recalls]))
        assert values[f'AR@{cap}'] == pytest.approx(np.mean(recalls))


def test_the_truth_scores_one_whatever_the_order(rng):
    document = crowd()
    detections = truth_as_detections(document)
    values = measure(document, detections)
    assert all(value == 1 or (name.endswith('/class3') and math.isnan(value)) for name, value in values.items())
    ids = rng.permutation(len(document['annotations']))
    document['annotations'] = [{**document['annotations'][index], 'id': int(number) + 1}
                               for number, index in enumerate(ids)]
    document['images'].reverse()
    assert measure(document, [detections[index] for index in ids]) == pytest.approx(values, nan_ok=True)


def test_names():
    document = crowd()
    assert list(measure(document, [], kinds=['bbox'], caps=[None, 50], size_bins_px=[12.5])) == [
        f'bbox_{measure}{cap}{part}' for cap in ('', '@50') for measure in ('AP', 'AP50', 'AP75', 'AR')
        for part in ('', '/class1', '/class2', '/class3', '/class4', '/0-12.5px', '/12.5px+')]
    assert not any('px' in name for name in measure(document, [], size_bins_px=()))


def with_different_scores(detections):
    """Returns the detections with slightly different scores, because their order would decide among equal scores."""
    return [{**detection, 'score': detection['score'] + 1e-6 * index} for index, detection in enumerate(detections)]


def test_permuted_records_give_the_same_values(rng):
    document = crowd()
    detections = with_different_scores(perturbed_detections(document, rng, 60))
    values = measure(document, detections)
    document['images'].reverse()
    assert measure(document, [detections[index] for index in rng.permutation(len(detections))]) == \
        pytest.approx(values, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(('width', 'expected'), [(10, 1), (9, 0)])
def test_an_iou_equal_to_the_threshold_is_a_match(width, expected):
    label_map = np.zeros((30, 40), np.int32)
    label_map[5:15, 5:25] = 1
    document = document_of([AnnotatedImage('a.tif', 30, 40, {'class1': encode_label_map(label_map)})])
    part = np.zeros_like(label_map)
    part[5:15, 5:5 + width] = 1
    detection = dict(image_id=1, category_id=1, score=.5, bbox=[5, 5, width, 10],
                     segmentation=encode_label_map(part).rles[0])
    values = measure(document, [detection])
    # An IoU of 100 / 200 = .5 is enough, 90 / 200 = .45 is not.
    assert values['AP50'] == values['bbox_AP50'] == expected
    assert values['AP'] == pytest.approx(expected / 10) and values['AR'] == pytest.approx(expected / 10)


def test_cells_of_other_sizes_do_not_count():
    document = crowd(1)
    small = [detection for detection, cell in zip(truth_as_detections(document), document['annotations'], strict=True)
             if cell['area'] < 10 ** 2]
    values = measure(document, small, size_bins_px=(10, 20))
    assert values['AP50/0-10px'] == 1 and values['AP50/20px+'] == 0 and 0 < values['AP50'] < 1


def test_no_detection_is_zero_and_no_truth_is_not_defined():
    document = crowd()
    values = measure(document, [])
    assert all(math.isnan(value) if name.endswith('/class3') else value == 0 for name, value in values.items())
    weights = np.ones((2, 2))
    assert all((value == 0).all() for value in resample(document, [], weights).values())
    detections = truth_as_detections(document)
    document['annotations'] = []
    assert all(math.isnan(value) for value in measure(document, detections).values())
    assert all(np.isnan(value).all() for value in resample(document, detections, weights).values())
    assert math.isnan(measure({**document, 'images': []}, [])['AP'])


def test_a_resample_with_each_image_once_has_the_values_of_all_images(rng):
    document = crowd(3)
    detections = perturbed_detections(document, rng, 140)
    values = measure(document, detections)
    resampled = resample(document, detections, np.ones((4, 3), np.int64))
    assert {name: value.tolist() for name, value in resampled.items()} == \
        {name: [values[name]] * 4 for name in HEADLINES}


def test_resampled_values_are_those_of_the_repeated_images(rng):
    document = crowd(3)
    # Only the second image has cells of the fourth class.
    document['annotations'] = [cell for cell in document['annotations']
                               if cell['category_id'] != 4 or cell['image_id'] == document['images'][1]['id']]
    detections = with_different_scores(perturbed_detections(document, rng, 140))
    weights = np.array([[2, 0, 1], [0, 3, 0], [1, 1, 1], [0, 1, 2]])
    resampled = resample(document, detections, weights)
    for row, counts in enumerate(weights):
        drawn, drawn_detections = dict(images=[], annotations=[], categories=document['categories']), []
        for image, count in zip(document['images'], counts, strict=True):
            for _ in range(count):
                number = dict(image_id=len(drawn['images']) + 1)
                drawn['images'].append({**image, 'id': number['image_id']})
                drawn['annotations'] += [{**cell, **number, 'id': len(drawn['annotations']) + index}
                                         for index, cell in enumerate(document['annotations'], start=1)
                                         if cell['image_id'] == image['id']]
                drawn_detections += [{**detection, **number} for detection in detections
                                     if detection['image_id'] == image['id']]
        expected = measure(drawn, drawn_detections)
        assert {name: resampled[name][row] for name in HEADLINES} == \
            pytest.approx({name: expected[name] for name in HEADLINES}, abs=1e-12)
    assert len(set(resampled['AP'])) == 4


def test_matches_of_one_image_have_the_values_of_this_image(rng):
    document = crowd(3)
    detections = perturbed_detections(document, rng, 140)
    pairs = pair_unchecked(document, detections)
    matches = match_classes(pairs, 'segm', (10, 20))
    for place, image in enumerate(document['images']):
        records = [[record for record in side if record['image_id'] == image['id']]
                   for side in (document['annotations'], detections)]
        expected = measure({**document, 'images': [image], 'annotations': records[0]}, records[1], kinds=['segm'],
                           caps=[None], size_bins_px=())
        values = average_precisions_of([match.of_image(place) for match in matches], pairs.truth, 'segm', [None], ())
        assert values == pytest.approx(expected, abs=0, nan_ok=True) and 0 < values['AP'] < 1


@pytest.mark.parametrize('arguments', [
    dict(kinds=['mask']), dict(caps=[]), dict(caps=[0]), dict(size_bins_px=[16, 16]), dict(size_bins_px=[0, 16])])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments)).removesuffix('s')):
        measure(crowd(1), [], **arguments)
