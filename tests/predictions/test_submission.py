import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmdet.registry import METRICS
from support.paths import REPO
from support.synthetic_data import discs

from mmcell.annotations.annotated_image import LayoutError
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.cells import find_empty_and_repeated, join_predictions, to_coco_results, to_predictions
from mmcell.predictions.dump_file import ResultsError, load_results
from mmcell.predictions.limits import LIMITS
from mmcell.predictions.packed_results import SubmissionError, read_packed_results
from mmcell.predictions.result_files import parse_results
from mmcell.predictions.submission import check_submission, read_test_set, write_submission

SIZE = (30, 40)
MASK = encode_label_map(discs(SIZE, [(1, 10, 10, 4)])).rles[0]
OTHER = encode_label_map(discs(SIZE, [(1, 20, 25, 5)])).rles[0]
EMPTY = {'size': list(SIZE),
         'counts': pycocotools.mask.encode(np.zeros(SIZE, np.uint8, order='F'))['counts'].decode()}


@pytest.fixture
def test_json(tmp_path):
    path = tmp_path / 'test.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=3, file_name='x.tif', height=30, width=40), dict(id=8, file_name='y.tif', height=30, width=40)],
        categories=[dict(id=i, name=f'class{i}') for i in (1, 2, 3, 4)], annotations=[])))
    return path


def detection(**changes):
    return {'image_id': 3, 'bbox': [6., 6., 9., 9.], 'score': .5, 'category_id': 2, 'segmentation': MASK, **changes}


def predictions_of(detections, test_set):
    predictions, problems = parse_results(detections, test_set)
    assert not problems
    return predictions


def test_a_valid_submission_passes_and_images_without_cells_are_told(test_json):
    report = check_submission([detection(), detection(segmentation=OTHER)], read_test_set(test_json))
    assert report.errors == [] and report.n_detections == 2
    assert report.remarks == ['1 of 2 images have no detection: 8 (y.tif)']


def test_an_id_list_serves_as_well(tmp_path):
    path = tmp_path / 'ids.json'
    path.write_text(json.dumps([dict(file_name='x.tif', id=3, height=30, width=40)]))
    assert check_submission([detection()], read_test_set(path)).errors == []


@pytest.mark.parametrize('change, message', [
    (dict(image_id=4), 'unknown image_id 4'),
    (dict(image_id='3'), "image_id '3' is not a whole number"),
    (dict(image_id=True), 'image_id True is not'),
    (dict(category_id=0), 'unknown category_id 0'),
    (dict(category_id=5), 'unknown category_id 5'),
    (dict(score=1.5), 'score 1.5'),
    (dict(score=-.1), 'score -0.1'),
    (dict(score=float('nan')), 'score nan'),
    (dict(score=None), 'score None'),
    (dict(score=10**400), 'is not a number'),
    (dict(bbox=[1, 2, 3]), 'bbox'),
    (dict(bbox=[1, 2, 0, 3]), 'positive sides'),
    (dict(bbox=[1, 2, -1, 3]), 'bbox'),
    (dict(bbox=None), 'bbox'),
    (dict(bbox=[1, 2, 3, float('inf')]), 'bbox'),
    (dict(segmentation={'size': [40, 30], 'counts': MASK['counts']}), 'mask size'),
    (dict(segmentation={'size': list(SIZE), 'counts': '5'}), 'cover 5 pixels'),
    (dict(segmentation={'size': list(SIZE), 'counts': [1200]}), 'compressed RLE'),
    (dict(segmentation=[[1, 1, 5, 1, 5, 5]]), 'compressed RLE'),
    (dict(segmentation=EMPTY), 'no pixel'),
    (dict(extra=1), 'expected'),
])
def test_each_fault_is_found(test_json, change, message):
    report = check_submission([detection(segmentation=OTHER), detection(**change)], read_test_set(test_json))
    assert len(report.errors) == 1
    assert report.errors[0].startswith('detection 1: ') and message in report.errors[0]


def test_a_test_set_with_an_id_twice_is_refused(tmp_path):
    record = dict(file_name='x.tif', id=3, height=30, width=40)
    (tmp_path / 'ids.json').write_text(json.dumps([record, record]))
    with pytest.raises(LayoutError, match='more than once'):
        read_test_set(tmp_path / 'ids.json')


def test_repeated_masks_and_other_documents_are_errors(test_json):
    test_set = read_test_set(test_json)
    report = check_submission([detection(), detection(score=.1), detection(category_id=1)], test_set)
    assert report.errors == ['detection 1: has the same mask and class as detection 0']
    assert check_submission({'a': 1}, test_set).errors == ['a list of detections expected, got dict']


def test_boxes_given_as_corners_are_remarked(test_json):
    report = check_submission([detection(bbox=[30, 20, 38, 28])], read_test_set(test_json))
    assert report.errors == [] and 'x1, y1, x2, y2' in report.remarks[0]


def test_what_is_written_reads_back_and_is_reproducible(test_json, tmp_path):
    test_set = read_test_set(test_json)
    written = [detection(score=.3), detection(score=.8, bbox=[40., 5., 0., 10.]),
               detection(segmentation=EMPTY), detection(category_id=1)]
    report = write_submission(predictions_of(written, test_set), test_set, tmp_path / 'a' / 's.zip')
    write_submission(predictions_of(written, test_set), test_set, tmp_path / 't.zip')
    assert report.n_detections == 2
    assert report.remarks[0].startswith('left out: 1 masks without a pixel')
    assert report.remarks[1] == 'left out: 1 repeated masks'
    assert (tmp_path / 'a' / 's.zip').read_bytes() == (tmp_path / 't.zip').read_bytes()
    with zipfile.ZipFile(tmp_path / 't.zip') as archive:
        assert archive.namelist() == ['test-results.json']
    # Discs of radius 4 round (10, 10): the masks' own box, whatever box was predicted.
    assert read_packed_results(tmp_path / 't.zip') == [detection(score=.8), detection(category_id=1)]


def test_nothing_is_written_when_a_detection_is_wrong(test_json, tmp_path):
    path = tmp_path / 's.zip'
    path.write_text('old')
    test_set = read_test_set(test_json)
    right = predictions_of([detection(), detection(segmentation=OTHER)], test_set)
    wrong = replace(right, scores=np.array([.5, np.nan]))
    with pytest.raises(SubmissionError, match='detection 1: score nan is not a number from 0 to 1'):
        write_submission(wrong, test_set, path)
    assert path.read_text() == 'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['s.zip', 'test.json']


def test_zips_with_other_content_are_refused(tmp_path):
    path = tmp_path / 's.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('test-results.json', '[]')
        archive.writestr('notes.txt', '')
    with pytest.raises(SubmissionError, match='exactly test-results.json'):
        read_packed_results(path)
    for content in ('neither', '[' * 100_000):
        path.write_text(content)
        with pytest.raises(SubmissionError, match='is not JSON|levels'):
            read_packed_results(path)


ZIPS = {
    'two members': ([('test-results.json', '[]')] * 2, 'must hold exactly test-results.json, holds'),
    'an absolute name': ([('/tmp/test-results.json', '[]')], "holds '/tmp/test-results.json'"),
    'a name outside': ([('../test-results.json', '[]')], 'must hold exactly'),
    'a folder': ([('results/test-results.json', '[]')], 'must hold exactly'),
    'no member': ([], 'holds nothing'),
    'many members': ([(f'{i}' * 100, '') for i in range(500)], 'and 497 more'),
    'a broken number': ([('test-results.json', '[1')], 'is not JSON'),
    'not UTF-8': ([('test-results.json', b'[\xff]')], 'is not text in UTF-8'),
    'deep lists': ([('test-results.json', '[' * 10**6)], 'more than 100 levels'),
    'many digits': ([('test-results.json', '9' * 10**6)], 'thousands of digits'),
}


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('kind', ZIPS)
def test_odd_zips_end_in_one_short_line(tmp_path, kind):
    members, message = ZIPS[kind]
    with zipfile.ZipFile(tmp_path / 's.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(SubmissionError, match=message) as error:
        read_packed_results(tmp_path / 's.zip')
    assert '\n' not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_that_not_every_program_reads_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / 's.zip', 'w', method) as archive:
        archive.writestr('test-results.json', '[]')
    with pytest.raises(SubmissionError, match='compressed with method .* deflate'):
        read_packed_results(tmp_path / 's.zip')


def test_an_encrypted_zip_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / 's.zip', 'w') as archive:
        archive.writestr('test-results.json', '[]')
    content = bytearray((tmp_path / 's.zip').read_bytes())
    content[content.index(b'PK\x01\x02') + 8] |= 1  # the flag in the directory of the zip
    content[6] |= 1
    (tmp_path / 's.zip').write_bytes(content)
    with pytest.raises(SubmissionError, match='is encrypted: make the zip without a password'):
        read_packed_results(tmp_path / 's.zip')


def test_results_that_unfold_beyond_a_limit_name_it_and_the_limit_can_be_raised(tmp_path, monkeypatch):
    text = '[' + ' ' * 10**6 + ']'
    (tmp_path / 's.json').write_text(text)
    with zipfile.ZipFile(tmp_path / 's.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('test-results.json', text)
    for name in ('s.json', 's.zip'):
        monkeypatch.setattr(LIMITS, 'json_bytes', len(text) - 1)
        with pytest.raises(SubmissionError, match='the limit is 1,000,001: .*limits.LIMITS.json_bytes'):
            read_packed_results(tmp_path / name)
        monkeypatch.setattr(LIMITS, 'json_bytes', len(text))
        assert read_packed_results(tmp_path / name) == []
    (tmp_path / 'values.json').write_text('[[],[],[]]')
    monkeypatch.setattr(LIMITS, 'json_values', 5)
    with pytest.raises(SubmissionError, match='holds about 6 values; the limit is 5: .*LIMITS.json_values'):
        read_packed_results(tmp_path / 'values.json')


def sample(masks):
    n = len(masks)
    return dict(img_id=3, img_path='x.tif', ori_shape=SIZE, scale_factor=(1., 1.), pred_instances=dict(
        bboxes=torch.tensor([[6., 6, 15, 15]]).repeat(n, 1), scores=torch.linspace(.9, .5, n),
        labels=torch.arange(n) % 4, masks=masks))


def as_coco(given, test_set, classes=(0, 1, 2, 3)):
    return to_coco_results(to_predictions(given, test_set, np.array(classes)), test_set)


def test_samples_become_coco_results(test_json):
    masks = torch.from_numpy(np.stack([discs(SIZE, [(1, 10, 10, 4)]), discs(SIZE, [(1, 20, 25, 5)])]) > 0)
    for given in (masks, masks.numpy(), [MASK, dict(OTHER, counts=OTHER['counts'].encode())]):
        found = as_coco(sample(given), read_test_set(test_json))
        assert [d['segmentation'] for d in found] == [MASK, OTHER]
        assert [d['category_id'] for d in found] == [1, 2] and [d['image_id'] for d in found] == [3, 3]
        assert found[0]['bbox'] == [6, 6, 9, 9]
        assert found[0]['score'] == pytest.approx(.9)


@pytest.mark.parametrize('changes, message', [
    (dict(labels=torch.tensor([4])), 'image 3: labels 4 to 4 are predicted, but there are 4 categories'),
    (dict(labels=torch.tensor([-1])), 'image 3: labels -1 to -1'),
    (dict(masks=[{**MASK, 'size': [40, 30]}]), r'image 3: the mask size .* \[40, 30\] in place of \[30, 40\]'),
    (dict(img_id=5), 'image 5: unknown image_id 5: .*test.json has 3, 8'),
])
def test_samples_that_do_not_fit_are_refused(test_json, changes, message):
    wrong = sample([MASK])
    for key, value in changes.items():
        (wrong['pred_instances'] if key in wrong['pred_instances'] else wrong)[key] = value
    with pytest.raises(ResultsError, match=message):
        as_coco(wrong, read_test_set(test_json))


def test_cells_are_joined_image_after_image(test_json):
    images = read_test_set(test_json)
    parts = [to_predictions({**sample([mask]), 'img_id': image_id}, images, np.arange(4))
             for image_id, mask in ((8, MASK), (3, OTHER), (8, OTHER))]
    joined = join_predictions(parts)
    assert joined.image_index.tolist() == [0, 1, 1] and joined.rles == [OTHER, MASK, OTHER]
    second = joined.of_images(np.array([False, True]))
    assert second.image_index.tolist() == [0, 0] and second.rles == [MASK, OTHER]
    assert len(join_predictions([])) == 0


def test_of_equal_masks_the_best_scored_stays(test_json):
    given = [detection(score=.2), detection(score=.9), detection(segmentation=EMPTY), detection(image_id=8)]
    is_empty, is_repeated = find_empty_and_repeated(predictions_of(given, read_test_set(test_json)))
    assert is_empty.tolist() == [False, False, True, False] and is_repeated.tolist() == [True, False, False, False]


def dump(samples, path):
    metric = DumpDetResults(str(path))
    metric.process({}, samples)
    metric.compute_metrics(metric.results)


def test_the_dump_of_mmdetection_is_read_without_running_code(tmp_path, test_json):
    masks = torch.from_numpy(discs(SIZE, [(1, 10, 10, 4)])[None] > 0)
    dump([sample(masks), {**sample(masks[:0]), 'img_id': 4}], tmp_path / 'r.pkl')
    first, second = load_results(tmp_path / 'r.pkl')
    assert first['img_id'] == 3 and first['img_path'] == 'x.tif'
    assert isinstance(first['pred_instances']['bboxes'], np.ndarray)
    np.testing.assert_allclose(first['pred_instances']['bboxes'], [[6, 6, 15, 15]])
    assert as_coco(first, read_test_set(test_json))[0]['segmentation'] == MASK
    assert as_coco({**second, 'img_id': 8}, read_test_set(test_json)) == []


class Malicious:
    def __reduce__(self):
        return (print, ('code ran',))


@pytest.mark.parametrize('content, message', [
    (pickle.dumps([Malicious()]), 'builtins.print'),
    (pickle.dumps({'a': 1}), 'a list of dicts'),
    (pickle.dumps([3]), 'a list of dicts'),
    (pickle.dumps([{'img_id': 1}]), 'pred_instances must be a dict, got None'),
    (pickle.dumps([{'img_id': 1, 'pred_instances': {'bboxes': 1}}]), "no ['labels', 'masks', 'scores']"),
    (pickle.dumps([{'img_id': 1, 'pred_instances': None}]), 'pred_instances must be a dict, got None'),
    (pickle.dumps([{'img_id': 1, 'pred_instances': np.dtype('O')}]), 'numpy'),
    (b'nothing', 'cannot be read'),
    (b'', 'cannot be read'),
])
def test_other_files_are_refused(tmp_path, capsys, content, message):
    (tmp_path / 'r.pkl').write_bytes(content)
    with pytest.raises(ResultsError) as error:
        load_results(tmp_path / 'r.pkl')
    assert message in str(error.value)
    assert 'code ran' not in capsys.readouterr().out


def test_the_evaluator_writes_the_same_file_as_the_tool(test_json, tmp_path):
    masks = torch.from_numpy(discs(SIZE, [(1, 10, 10, 4)])[None] > 0)
    formatter = METRICS.build(dict(type='SubmissionFormatter', out=str(tmp_path / 'evaluator.zip')))
    formatter.dataset_meta = dict(ann_file=str(test_json))
    formatter.process({}, [sample(masks)])
    assert formatter.evaluate(1) == {'submission/detections': 1}
    dump([sample(masks)], tmp_path / 'r.pkl')

    def submit(*args):
        command = [sys.executable, str(REPO / 'tools' / 'submit.py'), '--annotations', str(test_json), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    run = submit(str(tmp_path / 'r.pkl'), '--out', str(tmp_path / 'tool.zip'))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / 'evaluator.zip').read_bytes() == (tmp_path / 'tool.zip').read_bytes()
    run = submit(str(tmp_path / 'r.pkl'), '--out', str(tmp_path / 'sure.zip'), '--score-thr', '1')
    assert run.returncode == 0 and 'wrote 0 detections' in run.stdout
    run = submit('--check', str(tmp_path / 'tool.zip'))
    assert run.returncode == 0 and '1 detections, valid' in run.stdout
    (tmp_path / 'bad.json').write_text(json.dumps([detection(image_id=4)]))
    run = submit('--check', str(tmp_path / 'bad.json'))
    assert run.returncode == 1 and 'unknown image_id 4' in run.stdout
    run = submit('--check', str(tmp_path / 'nowhere.zip'))
    assert run.returncode == 1 and 'nowhere.zip' in run.stderr


def test_the_published_example_is_valid_but_has_corner_boxes(real_data):
    folder = real_data / 'hw3_sample'
    report = check_submission(read_packed_results(folder / 'example-test-results.json'),
                              read_test_set(folder / 'test_image_name_to_ids.json'))
    assert report.errors == [] and report.n_detections == 2
    assert '2 boxes leave their image' in report.remarks[0]
