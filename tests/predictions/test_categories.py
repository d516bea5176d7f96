"""Labels of dumps become category ids by the names of the classes, in every command that joins two files."""

import json
import pickle
import sys
import zipfile
from importlib import import_module

import numpy as np
import pytest
import tifffile
from mmdet.registry import METRICS
from support.synthetic_data import discs

from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.classes.matching import ClassesError
from mmcell.evaluation.evaluation import evaluate
from mmcell.evaluation.pairs import Pairs
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import ResultsError, load_results, save_results
from mmcell.predictions.ensemble import fuse_results
from mmcell.predictions.result_files import describe_unusual, read_predictions

NAMES = ['big', 'middle', 'small']
SHAPE = 40, 60
# One cell per class, in the order of NAMES.
CELLS = encode_label_map(discs(SHAPE, [(1, 14, 14, 9), (2, 25, 40, 6), (3, 8, 50, 3)]))
# Categories as files list them: ids of NAMES, and the order of the list.
FILES = {'usual': ((1, 2, 3), (0, 1, 2)), 'permuted': ((1, 2, 3), (2, 0, 1)), 'other ids': ((10, 20, 30), (0, 1, 2)),
         'both': ((30, 10, 20), (1, 2, 0))}


def write_truth(path, ids, order, names=NAMES, **changes):
    """Writes an annotation file in which the k-th cell belongs to the category with the k-th id."""
    boxes = CELLS.bboxes_xywh.tolist()
    path.write_text(json.dumps(dict(
        info=dict(data_root='.'), images=[dict(id=4, file_name='a.tif', height=SHAPE[0], width=SHAPE[1])],
        categories=[dict(id=ids[i], name=names[i]) for i in order],
        annotations=[dict(id=k + 1, image_id=4, category_id=ids[k], segmentation=CELLS.rles[k], bbox=boxes[k],
                          area=int(CELLS.areas_px[k]), iscrowd=0) for k in range(3)], **changes)))
    return path


def sample(classes=NAMES, order=(0, 1, 2)):
    """Returns perfect predictions of a model whose labels stand for the classes in this order."""
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return dict(img_id=4, img_path='a.tif', ori_shape=SHAPE, **({'classes': [classes[i] for i in order]} if classes
                                                                else {}),
                pred_instances=dict(bboxes=boxes, scores=np.array([.9, .8, .7], np.float32), masks=CELLS.rles,
                                    labels=np.array([order.index(k) for k in range(3)])))


def write_dump(path, *args, **kwargs):
    save_results([sample(*args, **kwargs)], path)
    return path


def run(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
    return import_module(name).main()


def measure(path, truth):
    """Returns the values of a results file, and what is assumed about its classes; it has nothing unusual."""
    truth = read_ground_truth(truth)
    file = read_predictions(path, truth)
    assert describe_unusual(file.predictions, truth) == []
    return evaluate(Pairs(truth, file.predictions), .5, np.zeros((0, 1))).values, file.assumed


@pytest.fixture(params=FILES)
def truth(request, tmp_path):
    """An annotation file; its categories have any ids and any order."""
    return write_truth(tmp_path / 'truth.json', *FILES[request.param])


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1)])
def test_a_perfect_dump_has_ap_1_with_every_file(tmp_path, truth, order):
    values, assumed = measure(write_dump(tmp_path / 'r.pkl', order=order), truth)
    assert assumed == [] and {values[f'AP/{name}'] for name in NAMES} == {1}


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1)])
def test_the_metric_and_the_submission_know_classes_by_their_names(tmp_path, truth, order, monkeypatch):
    classes = [NAMES[i] for i in order]
    for kind in ('CellMetric', 'SubmissionFormatter'):
        metric = METRICS.build(dict(type=kind, **(dict(out=str(tmp_path / 's.zip')) if kind != 'CellMetric' else {})))
        metric.dataset_meta = dict(ann_file=str(truth), classes=classes)
        metric.process({}, [sample(order=order)])
        values = metric.compute_metrics(metric.results)
    assert values['detections'] == 3
    write_dump(tmp_path / 'r.pkl', order=order)
    assert run('submit', monkeypatch, tmp_path / 'r.pkl', '--annotations', truth, '--out', tmp_path / 't.zip') == 0
    assert (tmp_path / 's.zip').read_bytes() == (tmp_path / 't.zip').read_bytes()
    values, (assumed,) = measure(tmp_path / 's.zip', truth)
    assert values['AP'] == 1
    categories = json.loads(truth.read_text())['categories']
    numbers = ', '.join(f"{category['id']} {category['name']}" for category in categories)
    assert 's.zip does not name the classes' in assumed and assumed.endswith(numbers)


def test_the_metric_is_1_in_the_training(truth):
    metric = METRICS.build(dict(type='CellMetric'))
    metric.dataset_meta = dict(ann_file=str(truth), classes=('small', 'big', 'middle'))
    metric.process({}, [sample(order=(2, 0, 1))])
    assert metric.compute_metrics(metric.results)['AP'] == 1


@pytest.mark.parametrize('names, message', [
    (['big', 'middle', 'tiny'], "only in .*: 'small'; only in .*: 'tiny'"),
    (['big', 'middle', 'Small'], "'small' and 'Small' differ only in case")])
@pytest.mark.parametrize('join', ['evaluate', 'submit', 'overlay', 'metric'])
def test_other_classes_are_refused_in_one_line(tmp_path, names, message, join, monkeypatch, capsys):
    truth = write_truth(tmp_path / 'truth.json', (1, 2, 3), (0, 1, 2), names)
    dump = write_dump(tmp_path / 'r.pkl')
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((*SHAPE, 3), np.uint8), photometric='rgb')
    monkeypatch.chdir(tmp_path)
    if join == 'metric':
        metric = METRICS.build(dict(type='CellMetric', ann_file=str(truth)))
        metric.dataset_meta = dict(classes=NAMES)
        with pytest.raises(ClassesError, match=message):
            metric.process({}, [sample()])
        return
    arguments = {'evaluate': [dump, truth], 'submit': [dump, '--annotations', truth, '--out', 's.zip'],
                 'overlay': [dump, '--annotations', truth, '--out', 'o']}[join]
    assert run(join, monkeypatch, *arguments) == 1
    error, = (line for line in capsys.readouterr().err.splitlines() if line.startswith('error'))
    with pytest.raises(ClassesError, match=message):
        raise ClassesError(error)


@pytest.mark.parametrize('classes, message', [
    (['big', 'middle'], "only in .*: 'small'"), (['big', 'middle', 'small', 'none'], "only in .*: 'none'")])
def test_missing_and_additional_classes_are_refused(tmp_path, truth, classes, message):
    results = [{**sample(), 'classes': classes}]
    save_results(results, tmp_path / 'r.pkl')
    with pytest.raises(ClassesError, match=message):
        read_predictions(tmp_path / 'r.pkl', read_ground_truth(truth))


@pytest.mark.parametrize('classes', ['bms', [1, 2, 3], {'big': 1}, 7])
def test_names_that_are_no_names_are_refused(tmp_path, truth, classes):
    save_results([{**sample(), 'classes': classes}], tmp_path / 'r.pkl')
    with pytest.raises(ResultsError, match='image 4: classes must be a list of names'):
        read_predictions(tmp_path / 'r.pkl', read_ground_truth(truth))


def test_without_names_places_count_and_a_remark_says_so(tmp_path, monkeypatch, capsys):
    truth = write_truth(tmp_path / 'truth.json', (1, 2, 3), (2, 0, 1))
    dump = write_dump(tmp_path / 'r.pkl', classes=None)
    images = read_ground_truth(truth)
    file = read_predictions(dump, images)
    assert [images.class_ids[place] for place in file.predictions.class_index] == [3, 1, 2]
    remark, = file.assumed
    assert remark.endswith('labels are taken for the categories 3 small, 1 big, 2 middle, in this order')
    (tmp_path / 'ids.json').write_text(json.dumps([dict(file_name='a.tif', id=4, height=SHAPE[0], width=SHAPE[1])]))
    run('submit', monkeypatch, write_dump(tmp_path / 's.pkl'), '--annotations', tmp_path / 'ids.json', '--out',
        tmp_path / 's.zip')
    assert 'ids.json does not name the classes: labels are taken for the categories 1 big, 2 middle, 3 small' in \
        capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / 's.zip') as archive:
        assert [record['category_id'] for record in json.loads(archive.read('test-results.json'))] == [1, 2, 3]


def test_a_file_of_nothing_needs_no_remark(tmp_path, truth):
    for name, content in (('r.pkl', pickle.dumps([])), ('r.json', b'[]')):
        (tmp_path / name).write_bytes(content)
        assert read_predictions(tmp_path / name, read_ground_truth(truth)).assumed == []


@pytest.mark.parametrize('order', [(1, 0, 2), (2, 0, 1)])
def test_an_ensemble_follows_the_first_model(order):
    fused, = fuse_results([[sample()], [sample(order=order)]], ['a.pkl', 'b.pkl'])
    assert fused['classes'] == NAMES and sorted(fused['pred_instances']['labels'].tolist()) == [0, 1, 2]
    assert all(fused['pred_instances']['masks'][i] == CELLS.rles[label]
               for i, label in enumerate(fused['pred_instances']['labels'].tolist()))


def test_an_ensemble_refuses_other_classes_and_says_what_it_assumes(tmp_path, monkeypatch, capsys):
    with pytest.raises(ClassesError, match=r"b.pkl has .* but a.pkl has .* only in b.pkl: 'huge'"):
        fuse_results([[sample()], [sample(['huge', 'middle', 'small'])]], ['a.pkl', 'b.pkl'])
    dumps = [write_dump(tmp_path / 'a.pkl'), write_dump(tmp_path / 'b.pkl', classes=None)]
    assert run('ensemble', monkeypatch, *dumps, '--out', tmp_path / 'c.pkl') == 0
    assert 'b.pkl does not name the classes' in capsys.readouterr().err
    assert len(load_results(tmp_path / 'c.pkl')[0]['pred_instances']['labels']) == 3


def test_overlays_count_cells_by_the_names_of_their_classes(tmp_path, truth, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', np.full((*SHAPE, 3), 90, np.uint8), photometric='rgb')
    monkeypatch.chdir(tmp_path)
    for order in ((0, 1, 2), (2, 0, 1)):
        write_dump(tmp_path / 'r.pkl', order=order)
        drawn = []
        monkeypatch.setattr('mmcell.visualization.cell_panels.draw_instances',
                            lambda image, rles, *_, drawn=drawn, **__: drawn.append(rles) or image)
        assert run('overlay', monkeypatch, 'r.pkl', '--annotations', truth, '--out', 'o', '--classes', 'middle') == 0
        assert [rles for rles in drawn if rles] == [[CELLS.rles[1]]] * 2
