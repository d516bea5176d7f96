import csv
import json
import re
import sys
import zipfile
from pathlib import Path

import evaluate as command
import numpy as np
import pytest
import tifffile
import torch
from evaluation import pair_unchecked
from mmdet.registry import METRICS
from mmengine.fileio import dump
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.evaluation.evaluation import evaluate as measure
from mmcell.evaluation.tables import HEADLINE
from mmcell.images.image_file import read_image
from mmcell.masks.rle import encode_label_map
from mmcell.visualization.cell_panels import VERDICTS

SIZE = (60, 80)
CENTERS = [(y, x) for y in (10, 30, 50) for x in (10, 30, 50, 70)]


def cells(radius, numbers=range(12), shift=0):
    encoded = encode_label_map(discs(SIZE, [(i + 1, CENTERS[i][0], CENTERS[i][1] + shift, radius) for i in numbers]))
    return list(zip(encoded.rles, encoded.areas_px.tolist(), encoded.bboxes_xywh.tolist(), strict=True))


def ground_truth():
    """COCO ground truth of three images with twelve discs each; every third is of class b, none of class c."""
    images = [dict(id=i, file_name=f'train/{i}/image.tif', height=SIZE[0], width=SIZE[1]) for i in (2, 3, 7)]
    annotations = [dict(image_id=image['id'], category_id=1 + (n % 3 == 0), iscrowd=0, segmentation=rle, area=area,
                        bbox=bbox) for image in images for n, (rle, area, bbox) in enumerate(cells(6))]
    return dict(images=images, categories=categories(['a', 'b', 'c']),
                annotations=[{'id': i, **annotation} for i, annotation in enumerate(annotations, start=1)])


def predictions(shift=0, image_ids=(2, 3, 7), score=.9):
    """COCO results: all cells of some images, moved to the right by ``shift`` px."""
    return [dict(image_id=image_id, category_id=1 + (n % 3 == 0), score=score, bbox=bbox, segmentation=rle)
            for image_id in image_ids for n, (rle, _, bbox) in enumerate(cells(6, shift=shift))]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with val.json and r.json; returns exit status, standard output and error output."""
    monkeypatch.chdir(tmp_path)
    write('val.json', ground_truth())
    write('r.json', predictions())

    def run_command(*args):
        monkeypatch.setattr(sys, 'argv', ['evaluate.py', *map(str, args)])
        status = command.main()
        return status, *capsys.readouterr()
    return run_command


def write(name, content):
    with open(name, 'w') as file:
        json.dump(content, file)


def samples_of(detections):
    samples = []
    for image_id in (2, 3, 7):
        own = [detection for detection in detections if detection['image_id'] == image_id]
        boxes = torch.tensor([detection['bbox'] for detection in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        samples.append(dict(img_id=image_id, pred_instances=dict(
            bboxes=boxes, scores=torch.tensor([detection['score'] for detection in own], dtype=torch.float64),
            labels=torch.tensor([detection['category_id'] - 1 for detection in own], dtype=torch.int64),
            masks=[detection['segmentation'] for detection in own])))
    return samples


def read(name):
    def refuse(text):
        raise AssertionError(f'{text} is not JSON')
    with open(name) as file:
        return json.load(file, parse_constant=refuse)


def test_a_perfect_prediction_scores_one(run):
    status, out, err = run('r.json', 'val.json', '--out', 'm.json')
    assert (status, err) == (0, '')
    metrics = read('m.json')
    for name in HEADLINE:
        assert metrics['values'][name] == pytest.approx(1, abs=1e-12), name
        assert metrics['intervals'][name] == pytest.approx([1, 1], abs=1e-12), name
    assert metrics['values']['AP/c'] is None and metrics['values']['PQ_pooled/c'] is None
    assert 'r.json: 36 detections; val.json: 36 true cells in 3 images' in out
    assert metrics['annotations']['true_cells'] == {'a': 24, 'b': 12, 'c': 0}
    rows = [line.split() for line in out.splitlines()]
    assert ['AP50', '1.000', '1.000', 'to', '1.000', 'masks,', 'IoU', '.50,', 'every', 'detection'] in rows
    assert ['b', '12', '12', *['1.000'] * 5] in rows
    assert ['c', '0', '0', *['-'] * 5] in rows
    assert ['all', '36', *['1.000'] * 7] in rows and ['16-32px', '0', *['-'] * 7] in rows
    assert ['a', '24', '0', '0', '0'] in rows and ['missed', '0', '1.000'] in rows


def test_the_three_kinds_of_results_have_the_same_values(run, rng):
    mixed = [{**detection, 'score': float(score)} for detection, score in zip(
        predictions(shift=2, image_ids=(2, 3)) + predictions(shift=4, image_ids=(7,)), rng.random(36), strict=True)]
    write('some.json', mixed)
    dump(samples_of(mixed), 'some.pkl')
    with zipfile.ZipFile('some.zip', 'w') as archive:
        archive.writestr('test-results.json', json.dumps(mixed))
    metrics = []
    for name in ('some.json', 'some.pkl', 'some.zip'):
        assert run(name, 'val.json', '--out', 'm.json')[0] == 0
        metrics.append(read('m.json'))
    assert 0 < metrics[0]['values']['AP'] < 1
    for other in metrics[1:]:
        assert all(other[part] == metrics[0][part] for part in ('values', 'intervals', 'errors', 'settings'))


def test_the_values_are_those_that_training_logs(run):
    shifted = predictions(shift=3)[:20] + predictions(shift=1)[20:]
    write('other.json', shifted)
    run('other.json', 'val.json', '--out', 'm.json')
    metric = METRICS.build(dict(type='CellMetric', ann_file='val.json'))
    metric.process({}, samples_of(shifted))
    logged = metric.evaluate(3)
    assert 0 < logged['AP'] < 1
    assert {name: read('m.json')['values'][name] for name in logged} == logged


def with_repeated_images(document, detections, times):
    """Returns ground truth and detections in which each image is repeated ``times`` times under different ids."""
    copies = [(image, copy) for image, n in zip(document['images'], times, strict=True) for copy in range(n)]
    images = [{**image, 'id': new_id} for new_id, (image, _) in enumerate(copies, start=1)]
    annotations, repeated = ([{**record, 'image_id': new_id} for new_id, (image, _) in enumerate(copies, start=1)
                              for record in records if record['image_id'] == image['id']]
                             for records in (document['annotations'], detections))
    return {**document, 'images': images, 'annotations': [
        {**annotation, 'id': i} for i, annotation in enumerate(annotations, start=1)]}, repeated


def test_resampled_values_are_those_of_repeated_images(rng):
    document = ground_truth()
    detections = [{**detection, 'score': float(score)} for detection, score in zip(
        predictions(shift=2)[:20] + predictions(shift=4)[20:30], rng.random(30), strict=True)]
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    resampled = measure(pair_unchecked(document, detections), .3, weights).resampled
    assert set(HEADLINE) <= set(resampled)
    for row, times in enumerate(weights):
        values = measure(pair_unchecked(*with_repeated_images(document, detections, times)), .3, weights[:0, :0]).values
        for name, resampled_values in resampled.items():
            assert resampled_values[row] == pytest.approx(values[name], abs=1e-12, nan_ok=True), name


def test_the_same_input_gives_the_same_bytes_and_the_seed_counts(run):
    write('other.json', predictions(shift=3, image_ids=(2, 3)))
    contents = []
    for seed in (0, 0, 1):
        run('other.json', 'val.json', '--out', 'm.json', '--seed', seed, '--resamples', 50)
        with open('m.json', 'rb') as file:
            contents.append(file.read())
    assert contents[0] == contents[1]
    assert json.loads(contents[0])['values'] == json.loads(contents[2])['values']
    assert json.loads(contents[0])['intervals'] != json.loads(contents[2])['intervals']


def test_images_without_predictions_count_as_missed(run):
    write('other.json', predictions(image_ids=(2, 3)))
    _, out, _ = run('other.json', 'val.json', '--out', 'm.json')
    assert 'note: 1 of 3 images have no detection, their cells count as missed: 7' in out
    metrics = read('m.json')
    # Of 36 cells 24 are found: F1 = 2 * 24 / (24 + 36).
    assert metrics['values']['F1@IoU.50_pooled'] == pytest.approx(.8)
    assert metrics['values']['PQ_image_mean'] == pytest.approx(2 / 3)
    # The lower end is 0 only if an image without predictions is drawn three times in enough resamples.
    low, high = metrics['intervals']['PQ_image_mean']
    assert low in (0, pytest.approx(1 / 3)) and high == pytest.approx(1)


def test_no_prediction_at_all_scores_zero(run):
    write('other.json', [])
    status, out, _ = run('other.json', 'val.json', '--out', 'm.json')
    assert status == 0 and 'other.json: 0 detections' in out and '3 of 3 images have no detection' in out
    metrics = read('m.json')
    assert {name: metrics['values'][name] for name in HEADLINE} == {
        name: None if name == 'SQ_pooled' else 0 for name in HEADLINE}


def test_of_results_compared_with_themselves_every_difference_is_zero(run):
    write('other.json', predictions(shift=3))
    _, out, _ = run('other.json', 'val.json', '--compare', 'other.json', '--out', 'm.json')
    differences = read('m.json')['differences']
    assert set(HEADLINE) <= set(differences)
    for name in HEADLINE:
        assert differences[name]['difference'] == 0 and differences[name]['interval'] == [0, 0], name
    assert 'AP50 1.000 1.000 +0.000 +0.000 to +0.000' in [' '.join(line.split()) for line in out.splitlines()]


def test_the_better_results_are_ahead(run):
    write('other.json', predictions(image_ids=(2,)))
    _, out, _ = run('r.json', 'val.json', '--compare', 'other.json', '--out', 'm.json')
    assert '2 of 3 images have no detection' in out and 'first: r.json' in out
    metrics = read('m.json')
    row = metrics['differences']['PQ_image_mean']
    assert (row['first'], row['second']) == (1, pytest.approx(1 / 3)) and row['difference'] == pytest.approx(2 / 3)
    assert row['interval'] == pytest.approx([0, 1])
    assert metrics['compared_with']['results']['detections'] == 12
    assert metrics['compared_with']['values']['PQ_image_mean'] == row['second']
    lines = [' '.join(line.split()) for line in out.splitlines()]
    assert any(line.startswith('PQ_image_mean 1.000 0.333 +0.667') for line in lines)


def test_a_sweep_finds_the_threshold_and_is_for_validation_data(run):
    write('other.json', predictions(score=.7) + predictions(shift=10, image_ids=(3,), score=.3))
    _, out, _ = run('other.json', 'val.json', '--sweep', '--score-thr', '.1', '--out', 'm.json')
    assert 'For validation data' in out
    metrics = read('m.json')
    by_threshold = {row['score_threshold']: row['PQ_pooled'] for row in metrics['sweep']['table']}
    # The detections between the cells have the score .3, and above .7 no detection is left.
    assert by_threshold[.35] == by_threshold[.7] == 1 > by_threshold[.3] and by_threshold[.75] == 0
    assert metrics['sweep']['best']['PQ_pooled'] == .35
    assert metrics['values']['PQ_pooled'] == by_threshold[.1] < 1
    write('test.json', ground_truth())
    status, out, err = run('other.json', 'test.json', '--sweep')
    assert (status, out) == (1, '') and 'they are test data. Choose on validation data' in err
    assert run('other.json', 'test.json', '--score-thr', '.35')[0] == 0


def rows_of(name):
    with open(name, newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def truth_with_an_empty_image(run):
    """val.json with a fourth image without a cell, whose id is 9."""
    document = ground_truth()
    document['images'].append({**document['images'][0], 'id': 9, 'file_name': 'train/9/image.tif'})
    write('val.json', document)
    return document


def test_the_rows_of_images_with_and_without_cells_and_detections(run, truth_with_an_empty_image):
    # Image 2: all cells found, one of them as another class. 3: no detection at the threshold. 7: two cells are missed,
    # and two detections are between the cells. 9: has neither cells nor detections.
    wrong_class, *rest = predictions(image_ids=(2,))
    write('other.json', [{**wrong_class, 'category_id': 1}, *rest, *predictions(image_ids=(3,), score=.2),
                         *predictions(image_ids=(7,))[:10], *predictions(image_ids=(7,), shift=10)[10:]])
    status, out, _ = run('other.json', 'val.json', '--per-image', 'i.csv', '--per-image', 'i.json', '--worst', 2)
    assert status == 0
    rows = {row['image_id']: row for row in read('i.json')['images']}
    counts = ('true_cells', 'detections', 'hits', 'missed', 'spurious', 'wrong_class')
    assert {image_id: [row[name] for name in counts] for image_id, row in rows.items()} == {
        2: [12, 12, 11, 1, 1, 1], 3: [12, 0, 0, 12, 0, 0], 7: [12, 12, 10, 2, 2, 0], 9: [0, 0, 0, 0, 0, 0]}
    assert [rows[image_id]['F1'] for image_id in (2, 3, 7, 9)] == pytest.approx([11 / 12, 0, 10 / 12, None])
    # All detections count for average precision, whatever their score.
    assert rows[3]['AP50'] == 1 and rows[3]['PQ'] == 0 and rows[9]['AP50'] is None
    # A CSV file has the same numbers, not rounded.
    assert [{key: '' if value is None else str(value) for key, value in row.items()}
            for row in read('i.json')['images']] == rows_of('i.csv')
    lines = [line.split() for line in out.splitlines()]
    worst = [line[0] for line in lines if line[1:2] and line[1].startswith('train/')]
    assert worst == ['3', '7'] and 'the 2 images with the lowest F1' in out


def test_detections_in_an_image_without_cells_are_the_worst(run, truth_with_an_empty_image):
    write('other.json', [*predictions(image_ids=(2, 3, 7)), {**predictions()[0], 'image_id': 9}])
    _, out, _ = run('other.json', 'val.json', '--per-image', 'i.json')
    row = read('i.json')['images'][-1]
    assert (row['F1'], row['PQ'], row['spurious'], row['AP50']) == (0, 0, 1, None)
    assert 'the 1 image with the lowest F1' in out
    assert 'lowest F1' not in run('other.json', 'val.json', '--worst', 0)[1]


def test_the_sums_over_the_images_are_the_numbers_of_the_table_of_mistakes(run):
    write('other.json', predictions(shift=2)[:20] + predictions(shift=8)[20:])
    run('other.json', 'val.json', '--out', 'm.json', '--per-image', 'i.json')
    kinds, images = read('m.json')['errors']['error_kinds'], read('i.json')['images']
    assert sum(row['hits'] for row in images) == kinds['n_correct']
    assert sum(row['hits'] + row['spurious'] for row in images) == kinds['n_predicted']
    assert sum(row['hits'] + row['missed'] for row in images) == kinds['n_true'] == 36


def test_every_format_has_the_same_numbers(run):
    write('other.json', predictions(shift=2)[:20] + predictions(shift=8)[20:])
    _, out, _ = run('other.json', 'val.json', '--out', 'm.json', '--out', 'm.md', '--out', 'm.tex', '--out', 'm.csv')
    values, intervals = (read('m.json')[key] for key in ('values', 'intervals'))
    in_csv = {row['value']: row for row in rows_of('m.csv')}
    assert {name: float(row['number']) if row['number'] else None for name, row in in_csv.items()} == values
    assert {name: [float(row['low']), float(row['high'])] for name, row in in_csv.items() if row['low']} == {
        name: interval for name, interval in intervals.items() if interval[0] is not None}
    markdown, latex = (Path(name).read_text(encoding='utf-8').splitlines() for name in ('m.md', 'm.tex'))
    printed = [line.split() for line in out.splitlines()]
    for name in ('AP', 'PQ_pooled', 'F1@IoU.50_pooled'):
        number, low, high = (f'{value:.3f}' for value in (values[name], *intervals[name]))
        assert any(line[:5] == [name, number, low, 'to', high] for line in printed)
        escaped = name.replace('_', r'\_')
        assert any(line.startswith(f'| {escaped} | {number} | {low} to {high} | ') for line in markdown)
        assert any(line.startswith(f'{escaped} & {number} & {low} to {high} & ') for line in latex)
    assert sum(line.startswith(r'\begin{tabular}') for line in latex) == sum(
        line.startswith('| ---') for line in markdown) == 6


def test_several_results_are_in_one_table_and_compared_with_the_first(run):
    write('b.json', predictions(image_ids=(2,)))
    write('c.json', predictions(shift=3))
    status, out, _ = run('r.json', 'b.json', 'c.json', 'val.json', '--names', 'new', 'some', 'moved', '--out', 'm.json',
                         '--out', 'm.csv', '--per-image', 'i.csv', '--worst', 1)
    assert status == 0
    lines = [' '.join(line.split()) for line in out.splitlines()]
    assert any(line.startswith('new some moved') for line in lines)
    row = next(line for line in lines if line.startswith('PQ_image_mean'))
    assert row.startswith('PQ_image_mean 1.000 * 0.333 ')
    metrics = read('m.json')
    assert [other['results']['path'] for other in metrics['others']] == ['b.json', 'c.json']
    assert metrics['others'][0]['differences']['PQ_image_mean']['difference'] == pytest.approx(2 / 3)
    assert [row['number'] for row in rows_of('m.csv') if row['value'] == 'PQ_image_mean'] == [
        str(part['values']['PQ_image_mean']) for part in (metrics, *metrics['others'])]
    assert [(row['results'], row['image_id']) for row in rows_of('i.csv')] == [
        (name, image_id) for name in ('new', 'some', 'moved') for image_id in '237']


def test_the_annotation_file_may_come_first(run):
    dump(samples_of(predictions()), 'a.pkl')
    dump(samples_of(predictions(shift=2)), 'b.pkl')
    assert run('val.json', 'a.pkl', 'b.pkl', '--out', 'first.csv')[0] == 0
    assert run('a.pkl', 'b.pkl', 'val.json', '--out', 'last.csv')[0] == 0
    assert rows_of('first.csv') == rows_of('last.csv')


def test_results_below_the_threshold_and_single_cells_are_described_in_words(run):
    document = ground_truth()
    document['annotations'] = document['annotations'][:1]
    write('one.json', {**document, 'images': document['images'][:1]})
    write('other.json', [{**predictions()[0], 'score': .25}])
    status, out, _ = run('other.json', 'one.json')
    assert status == 0 and 'other.json: 1 detection; one.json: 1 true cell in 1 image' in out
    assert 'note: no detection has a score >= 0.5, the highest has 0.25' in out and '--score-thr' in out
    assert 'whether scores are reliable cannot be said' in out and 'by - from' not in out
    assert not re.search(r'\b1 (cell|prediction|image|detection)s', out)


def test_the_worst_images_are_drawn_with_hits_and_misses(run):
    document = ground_truth()
    document['info'] = {'data_root': 'images'}
    write('val.json', document)
    write('other.json', predictions(image_ids=(2, 3)) + predictions(image_ids=(7,))[:3])
    for number in (2, 3, 7):
        Path('images', 'train', str(number)).mkdir(parents=True)
        tifffile.imwrite(f'images/train/{number}/image.tif', np.full((*SIZE, 3), 100, np.uint8), photometric='rgb')
    status, out, _ = run('other.json', 'val.json', '--overlays', 'worst', '--worst', 1)
    assert status == 0 and 'wrote 1 picture to worst' in out
    picture, = Path('worst').iterdir()
    assert picture.name == '01_0007_7.png'
    colors = set(map(tuple, read_image(picture)[-2 * SIZE[0]:].reshape(-1, 3).tolist()))
    assert {VERDICTS[name][0] for name in ('hit', 'missed')} <= colors and VERDICTS['spurious'][0] not in colors
    # With images of another size, nothing is drawn in the wrong place.
    tifffile.imwrite('images/train/7/image.tif', np.zeros((5, 5, 3), np.uint8), photometric='rgb')
    status, _, err = run('other.json', 'val.json', '--overlays', 'worst', '--worst', 1)
    assert status == 1 and 'images/train/7/image.tif: masks are [60, 80], but the image is [5, 5]' in err


def test_no_intervals_without_resamples_and_other_sizes(run):
    _, out, _ = run('r.json', 'val.json', '--resamples', 0, '--size-bins', 8, 12, '--out', 'm.json')
    metrics = read('m.json')
    assert '95 %' not in out and metrics['intervals'] == {}
    # A disc of radius 6 px has 113 px, and its size is the square root, 10.6 px.
    assert metrics['values']['AP50/8-12px'] == 1 and metrics['values']['AP50/0-8px'] is None
    assert metrics['settings'] | {'score_threshold': .5, 'caps': [None, 100], 'size_bins_px': [8, 12],
                                  'resamples': 0, 'seed': 0} == metrics['settings']


def test_no_value_is_cut_off_on_a_narrow_terminal(run, monkeypatch):
    tables = {}
    for columns in ('30', '200'):
        monkeypatch.setenv('COLUMNS', columns)
        rows = [line.split() for line in run('r.json', 'val.json', '--sweep', '--compare', 'r.json')[1].splitlines()]
        tables[columns] = [row for row in rows if row and row[0] in ('b', 'all', 'spurious', '0.35', 'duplicate')]
    assert tables['30'] == tables['200'] and len(tables['30']) == 6


def changed_truth(**changes):
    document = ground_truth()
    document['annotations'][0].update(changes)
    return document


@pytest.mark.parametrize('results, annotations, message', [
    (predictions(image_ids=(2, 5)), ground_truth(), 'unknown image_id 5: truth.json has 2, 3, 7'),
    ([{**predictions()[0], 'category_id': 0}], ground_truth(), 'numbered from 0?'),
    ([{**predictions()[0], 'score': float('nan')}], ground_truth(), 'score nan is not a number from 0 to 1'),
    ([{**predictions()[0], 'segmentation': {'size': [80, 60], 'counts': ''}}], ground_truth(), 'mask size is not'),
    ([{**predictions()[0], 'segmentation': {'size': list(SIZE), 'counts': 'P'}}], ground_truth(), 'cut short'),
    (predictions(), changed_truth(id=0), 'id is not a whole number from 1'),
    (predictions(), changed_truth(image_id=9), 'image_id is not the id of one of the images; first annotation 1: 9'),
    (predictions(), {**ground_truth(), 'annotations': []}, 'no true cell to measure against in its 3 images'),
    (predictions(), [], 'is a JSON list, but an annotation file is an object'),
    (predictions(), {**ground_truth(), 'annotations': None}, 'annotations must be a list, got None'),
    (predictions(), changed_truth(image_id=[1]), 'first annotation 1: [1]'),
    (predictions(), changed_truth(area=-1), 'area is not a number of px above 0; first annotation 1 '),
    (ground_truth(), ground_truth(), 'is an annotation file: the results come first'),
])
def test_bad_input_is_reported_and_nothing_is_written(run, tmp_path, results, annotations, message):
    write('bad.json', results)
    write('truth.json', annotations)
    status, out, err = run('bad.json', 'truth.json', '--out', 'm.json')
    assert (status, out) == (1, '') and err.startswith('error: ') and message in err
    # A bad file to compare with is noticed before the first file is measured.
    if annotations == ground_truth():
        status, out, err = run('r.json', 'truth.json', '--compare', 'bad.json', '--out', 'm.json')
        assert (status, out) == (1, '') and message in err
    assert not (tmp_path / 'm.json').exists()


def test_flags_may_stand_between_the_files(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', 'a.pkl', 'b.pkl', '--worst', '3', 'val.json', '--seed', '1'])
    args = command.parse_args()
    assert (args.results, args.annotations, args.worst, args.seed) == (['a.pkl', 'b.pkl'], 'val.json', 3, 1)


@pytest.mark.parametrize('args, message', [
    (['--score-thr', '2'], '--score-thr must be from 0 to 1, got 2'),
    (['--resamples', '-1'], 'must not be negative'),
    (['--size-bins', '16', '16'], '--size-bins must be rising numbers above 0'),
    (['--compare', 'r.json', '--resamples', '0'], 'need --resamples above 0'),
    (['--out', './r.json'], '--out would overwrite ./r.json, which is read'),
    (['--out', '.'], '--out must be a file, but . is a folder'),
    (['--size-bins', '16', '200000'], '--size-bins must be below 100000 px'),
    (['--names', 'a', 'b'], '--names must be 1 different names'),
    (['--per-image', 'i.xyz'], '--per-image must end in .csv, .json, .md or .tex'),
    (['--per-image', 'i.csv', '--out', './i.csv'], 'name one file twice'),
    (['--per-image', 'val.json'], '--per-image would overwrite val.json'),
    (['--overlays', 'worst', '--worst', '0'], '--worst must be above 0'),
])
def test_arguments_that_make_no_sense(run, capsys, args, message):
    with pytest.raises(SystemExit):
        run('r.json', 'val.json', *args)
    assert message in capsys.readouterr().err
