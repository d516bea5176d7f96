import contextlib
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from support.disc_cells import CELLS, EMPTY, RECTANGLE_RLE, RECTANGLE_RUNS, SIZE, ground_truth

from mmcell.annotations.ground_truth import ImageSource, to_ground_truth
from mmcell.errors import MmcellError
from mmcell.predictions.cells import to_coco_results
from mmcell.predictions.dump_file import ResultsError, load_results
from mmcell.predictions.packed_results import SubmissionError, read_packed_results
from mmcell.predictions.result_files import describe_unusual, read_predictions

MASK = CELLS.rles[0]
TRUTH = to_ground_truth(ground_truth())


def read_as_coco(path):
    """Returns the detections of a file, and everything that is remarked about it."""
    file = read_predictions(path, TRUTH)
    return to_coco_results(file.predictions, TRUTH), [*file.assumed, *describe_unusual(file.predictions, TRUTH)]


def detection(**changes):
    """A valid detection with some values changed; None removes the key."""
    values = {'image_id': 3, 'bbox': [6., 6., 9., 9.], 'score': .5, 'category_id': 2, 'segmentation': MASK, **changes}
    return {key: value for key, value in values.items() if value is not None}


def read(tmp_path, detections):
    (tmp_path / 'r.json').write_text(json.dumps(detections))
    return read_as_coco(tmp_path / 'r.json')


def write_dump(path, samples):
    metric = DumpDetResults(str(path))
    metric.process({}, samples)
    metric.compute_metrics(metric.results)


def sample(img_id=3, labels=(1,), masks=(MASK,), score=.5):
    n = len(labels)
    return dict(img_id=img_id, ori_shape=SIZE, pred_instances=dict(
        bboxes=torch.tensor([[6., 6, 15, 15]]).repeat(n, 1), scores=torch.full((n,), score),
        labels=torch.tensor(labels), masks=torch.from_numpy(
            np.array([pycocotools.mask.decode(mask) for mask in masks]).reshape(-1, *SIZE) > 0)))


def test_the_three_kinds_give_the_same_detections(tmp_path):
    (tmp_path / 'r.json').write_text(json.dumps([detection(area=49, id=7)]))
    with zipfile.ZipFile(tmp_path / 'r.zip', 'w') as archive:
        archive.writestr('test-results.json', json.dumps([detection()]))
    write_dump(tmp_path / 'r.pkl', [sample(), sample(8, (), ())])
    (tmp_path / 'dump').write_bytes((tmp_path / 'r.pkl').read_bytes())
    for name in ('r.json', 'r.zip', 'r.pkl', 'dump'):
        detections, (unnamed, without) = read_as_coco(tmp_path / name)
        assert detections == [detection()], name
        assert 'does not name the classes' in unnamed and unnamed.count('1 ') == unnamed.count('2 ') == 1
        assert without == '1 of 2 images have no detection, their cells count as missed: 8'


@pytest.mark.parametrize('changes, message', [
    (dict(image_id='3'), "image_id '3' is not a whole number"),
    (dict(category_id=True), 'category_id True is not a whole number'),
    (dict(image_id=None), 'a detection must be a dict with image_id, category_id, score, segmentation, got'),
    (dict(score=float('nan')), 'score nan is not a number from 0 to 1'),
    (dict(score=1.5), 'score 1.5'),
    (dict(score='1'), "score '1'"),
    (dict(bbox=[1, 2, 3]), 'bbox [1, 2, 3] is not [x, y, width, height]'),
    (dict(bbox=[1, 2, 3, float('nan')]), 'bbox'),
    (dict(segmentation={'size': [40, 30], 'counts': MASK['counts']}),
     'image 3: the mask size is not the size of the image: [40, 30] in place of [30, 40] (height, width)'),
    (dict(segmentation={'size': list(SIZE), 'counts': '5'}), 'cover 5 pixels'),
    (dict(segmentation={'size': list(SIZE), 'counts': 'é'}), 'not ASCII'),
    (dict(segmentation={'size': list(SIZE), 'counts': [1200, 1]}), 'cover 1201 pixels'),
    (dict(segmentation={'size': list(SIZE), 'counts': [-1, 1201]}), 'negative run length'),
    (dict(segmentation={'size': 30, 'counts': '5'}), '30 in place of [30, 40]'),
    (dict(segmentation={'counts': '5'}), "neither an RLE with 'size' and 'counts' nor a list of polygons"),
    (dict(segmentation=[]), 'the segmentation has no polygon'),
    (dict(segmentation=[[1, 1, 5, 1]]), 'all polygons have fewer than three points: [[1, 1, 5, 1]]'),
    (dict(segmentation=[['a'] * 6]), 'a polygon is not a list of numbers'),
    (dict(segmentation=[[1, 1, 5, 1, 5, 1e12]]), 'a polygon has coordinates that no image has'),
])
def test_each_fault_of_a_detection_is_named(tmp_path, changes, message):
    with pytest.raises(ResultsError) as error:
        read(tmp_path, [detection(), detection(**changes)])
    assert '1 of 2 detections are wrong\ndetection 1: ' in str(error.value) and message in str(error.value)


@pytest.mark.parametrize('changes, message', [
    (dict(image_id=4), '2 of 3 detections are wrong\ndetection 1 and 1 more: unknown image_id 4: the annotation file '
                       'has 3, 8'),
    (dict(image_id=0), 'unknown image_id 0: the annotation file has 3, 8'),
    (dict(category_id=4), 'unknown category_id 4: the annotation file has 1, 2, 3'),
    (dict(category_id=0),
     'unknown category_id 0: the annotation file has 1, 2, 3; are the classes of these results numbered from 0?'),
])
def test_unknown_images_and_categories_are_named_once(tmp_path, changes, message):
    with pytest.raises(ResultsError) as error:
        read(tmp_path, [detection(), detection(**changes), detection(**changes)])
    assert str(error.value).endswith(message)


def test_of_many_faults_the_first_are_listed(tmp_path):
    with pytest.raises(ResultsError, match='30 of 30 detections are wrong') as error:
        read(tmp_path, [detection(score=2 + index) for index in range(30)])
    assert str(error.value).splitlines()[-1] == '… and 10 more'


@pytest.mark.parametrize('samples, message', [
    ([sample(img_id=4)], 'r.pkl: image 4: unknown image_id 4: the annotation file has 3, 8'),
    ([sample(img_id=[3])],  r'img_id \[3\] is not a whole number'),
    ([sample(), sample()], 'image 3 occurs more than once'),
    ([sample(labels=(3,))], 'labels 3 to 3 are predicted, but there are 3 categories with the labels 0 to 2'),
    ([sample(score=float('nan'))], 'score nan is not a number from 0 to 1'),
    ([sample(labels=(1, 1))], 'image 3: 2 scores, but 1 masks'),
])
def test_each_fault_of_a_dump_is_named(tmp_path, samples, message):
    write_dump(tmp_path / 'r.pkl', samples)
    with pytest.raises(MmcellError, match=message):
        read_as_coco(tmp_path / 'r.pkl')


def test_images_that_were_moved_with_the_annotation_file_are_found(tmp_path):
    def source_of(img_path):
        write_dump(tmp_path / 'r.pkl', [{**sample(), 'img_path': img_path, 'channel_order': 'bgr'}])
        return read_predictions(tmp_path / 'r.pkl', to_ground_truth(ground_truth(), tmp_path / 'val.json')).sources[0]

    stated, other = tmp_path / 'train/3/image.tif', tmp_path / 'other.tif'
    assert source_of('gone.tif').path == Path('gone.tif')
    stated.parent.mkdir(parents=True)
    stated.touch()
    assert source_of('gone.tif') == ImageSource(stated, 'bgr')
    assert source_of('a' * 5000).path == stated
    other.touch()
    assert source_of(str(other)).path == other


@pytest.mark.parametrize('name, content, error, message', [
    ('r.json', '{"images": []}', ResultsError, 'is an annotation file: the results come first'),
    ('r.json', '{"a": 1}', ResultsError, 'must contain a list of COCO results, got dict'),
    ('r.json', '[3]', ResultsError, 'a detection must be a dict with .* got 3'),
    ('r.txt', 'nothing', SubmissionError, 'is not JSON'),
    ('r.pkl', 'nothing', ResultsError, 'cannot be read as a results file'),
])
def test_other_files_are_refused(tmp_path, name, content, error, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_as_coco(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='no results file .*tools/test.py'):
        read_as_coco(tmp_path / 'nowhere.pkl')


class Malicious:
    def __reduce__(self):
        return (print, ('code ran',))


def test_no_code_of_a_pickle_is_run(tmp_path, capsys):
    (tmp_path / 'r.json').write_bytes(pickle.dumps([Malicious()]))
    with pytest.raises(ResultsError, match=r'builtins\.print'):
        read_as_coco(tmp_path / 'r.json')
    assert 'code ran' not in capsys.readouterr().out


def test_unusual_detections_that_can_be_measured_get_a_remark(tmp_path):
    detections, remarks = read(tmp_path, [
        detection(), detection(score=.3), detection(segmentation=EMPTY, bbox=None),
        detection(image_id=8, category_id=1, bbox=[30, 20, 38, 28])])
    assert len(detections) == 4 and detections[2]['bbox'] == [0, 0, 0, 0]
    assert [remark.split(':')[0] for remark in remarks] == [
        f'{tmp_path}/r.json does not name the classes', '1 detections have no box',
        '1 masks without a pixel and 1 repeated masks count as detections; a submission zip leaves them out',
        '1 boxes leave their image']
    assert read(tmp_path, [])[1] == ['2 of 2 images have no detection, their cells count as missed: 3, 8']


@pytest.mark.parametrize('scores, is_told', [
    ([1., 1., 1., .9], True), ([1., 1., .9, .8], False), ([.9, .8, .7, .6], False), ([1.], False)])
def test_equal_scores_get_a_remark(tmp_path, scores, is_told):
    masks = [pycocotools.mask.encode(np.asfortranarray(np.eye(*SIZE, shift, dtype=np.uint8)))
             for shift in range(len(scores))]
    _, remarks = read(tmp_path, [detection(score=score, segmentation={**mask, 'counts': mask['counts'].decode()})
                                 for score, mask in zip(scores, masks, strict=True)])
    assert any('same score' in remark and 'depends on their order' in remark for remark in remarks) == is_told


@pytest.mark.parametrize('mask', [
    {'size': list(SIZE), 'counts': RECTANGLE_RUNS}, [[10, 5, 14, 5, 14, 8, 10, 8]], [
        [10, 5, 12, 5, 12, 8, 10, 8], [12, 5, 14, 5, 14, 8, 12, 8]]])
def test_listed_run_lengths_and_polygons_are_masks_too(tmp_path, mask):
    (converted,), _ = read(tmp_path, [detection(segmentation=mask, bbox=None)])
    assert converted['segmentation'] == RECTANGLE_RLE and converted['bbox'] == [10, 5, 4, 3]


@pytest.mark.parametrize('kind', ['zip', 'pkl'])
def test_damaged_files_raise_only_errors_of_mmcell(tmp_path, kind):
    path = tmp_path / f'r.{kind}'
    if kind == 'zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('test-results.json', json.dumps([{'score': i / 7} for i in range(300)]))
    else:
        path.write_bytes(pickle.dumps([{'img_id': i, 'pred_instances': {}} for i in range(300)]))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(len(damaged), size=3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged[rng.integers(2) * 50:].tobytes())
        # A damaged file may still be readable.
        with contextlib.suppress(MmcellError):
            read_packed_results(path) if kind == 'zip' else load_results(path)


def test_pickles_that_exhaust_the_unpickler_are_refused(tmp_path):
    for content in (b'\x80\x04Nr\xff\xff\xff\x7f.', b'\x80\x04\x8e' + b'\xff' * 7 + b'\x7f'):
        (tmp_path / 'r.pkl').write_bytes(content)
        with pytest.raises(ResultsError, match='cannot be read as a results file|must contain a list'):
            load_results(tmp_path / 'r.pkl')
