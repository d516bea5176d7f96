import contextlib
import io
import json
import math

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.masks.rle import encode_label_map

SIZE = (120, 160)


def ground_truth(n_images=2, n_cells=12):
    """COCO ground truth: small discs on a grid that belong to two classes alternately."""
    images, annotations = [], []
    for image_id in range(1, n_images + 1):
        images.append(dict(id=image_id, file_name=f'{image_id}.tif', height=SIZE[0], width=SIZE[1]))
        per_row = SIZE[1] // 10
        cells = [(i + 1, 5 + 10 * (i // per_row), 5 + 10 * (i % per_row), 3) for i in range(n_cells)]
        encoded = encode_label_map(discs(SIZE, cells))
        for i, (rle, area, bbox) in enumerate(zip(encoded.rles, encoded.areas_px, encoded.bboxes_xywh, strict=True)):
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, category_id=i % 2 + 1, iscrowd=0,
                                    segmentation=rle, area=int(area), bbox=bbox.tolist()))
    return dict(images=images, annotations=annotations, categories=categories(['a', 'b', 'absent']))


def samples_of(document, rng=None):
    """Data samples with the true cells, or with ``rng`` true cells that are shifted, misnamed, doubled or missing."""
    samples = []
    for image in document['images']:
        masks, labels = [], []
        for annotation in document['annotations']:
            if annotation['image_id'] != image['id']:
                continue
            mask, label = pycocotools.mask.decode(annotation['segmentation']), annotation['category_id'] - 1
            if rng is None:
                masks.append(mask), labels.append(label)
                continue
            for _ in range(rng.integers(0, 3)):
                masks.append(np.roll(mask, rng.integers(-1, 2, 2), (0, 1)))
                labels.append(int(rng.integers(0, 2)) if rng.random() < .2 else label)
        n = len(masks)
        scores = torch.ones(n) if rng is None else torch.from_numpy(rng.permutation(n) / max(n, 1)).float()
        samples.append(dict(img_id=image['id'], ori_shape=SIZE, pred_instances=dict(
            bboxes=torch.tensor([[0., 0, 10, 10]]).repeat(n, 1), scores=scores,
            labels=torch.tensor(labels, dtype=torch.int64),
            masks=torch.from_numpy(np.array(masks, bool).reshape(n, *SIZE)))))
    return samples


def new_metric(document, tmp_path, **arguments):
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(document))
    metric = METRICS.build(dict(type='CellMetric', **arguments))
    metric.dataset_meta = dict(ann_file=str(path))
    return metric


def process_all(metric, samples):
    for sample in samples:
        metric.process({}, [sample])
    return metric


def evaluate(document, samples, tmp_path, **arguments):
    return process_all(new_metric(document, tmp_path, **arguments), samples).evaluate(len(samples))


def by_pycocotools(document, samples, max_dets):
    results = [dict(image_id=sample['img_id'], category_id=int(label) + 1, score=float(score),
                    segmentation=pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)))
               for sample in samples
               for label, score, mask in zip(
                   *(sample['pred_instances'][key] for key in ('labels', 'scores', 'masks')), strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {'info': {}, **document}  # pycocotools 2.0.10 expects it
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), 'segm')
        evaluation.params.maxDets = [1, 10, max_dets]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    return {'AP': precision[precision > -1].mean(), 'AP50': precision[0][precision[0] > -1].mean()}


def test_the_truth_scores_one(tmp_path):
    document = ground_truth()
    assert evaluate(document, samples_of(document), tmp_path) == {'AP': 1, 'AP50': 1, 'AP@100': 1, 'AP50@100': 1}


@pytest.mark.parametrize('n_cells', [12, 190])
def test_both_caps_agree_with_pycocotools(tmp_path, n_cells):
    document = ground_truth(n_cells=n_cells)
    samples = samples_of(document, np.random.default_rng(n_cells))
    metrics = evaluate(document, samples, tmp_path)
    for suffix, max_dets in (('', 1000), ('@100', 100)):
        for name, expected in by_pycocotools(document, samples, max_dets).items():
            assert metrics[name + suffix] == pytest.approx(expected, abs=1e-12)
            assert 0 < metrics[name + suffix] < 1


def test_the_cap_hides_cells_beyond_a_hundred(tmp_path):
    document = ground_truth(n_images=1, n_cells=190)
    metrics = evaluate(document, samples_of(document), tmp_path)
    assert metrics['AP50'] == 1 and metrics['AP50@100'] == 1
    for annotation in document['annotations']:
        annotation['category_id'] = 1
    metrics = evaluate(document, samples_of(document), tmp_path)
    # Of 190 cells 100 are found. The precision is 1 up to the recall 100/190, at the 53 recalls .00 … .52 of 101.
    assert metrics['AP50'] == 1 and metrics['AP50@100'] == pytest.approx(53 / 101)


def test_no_detection_is_zero_and_no_truth_is_nan(tmp_path):
    document = ground_truth(n_images=1)
    samples = samples_of(document)
    empty = dict(samples[0], pred_instances={key: value[:0] for key, value in samples[0]['pred_instances'].items()})
    assert set(evaluate(document, [empty], tmp_path).values()) == {0.}
    document['annotations'] = []
    assert all(math.isnan(value) for value in evaluate(document, samples, tmp_path).values())


def test_category_ids_need_not_be_labels_plus_one(tmp_path):
    document = ground_truth()
    for category, number in zip(document['categories'], (4, 7, 9), strict=True):
        category['id'] = number
    for annotation in document['annotations']:
        annotation['category_id'] = {1: 4, 2: 7}[annotation['category_id']]
    samples = samples_of(ground_truth())
    assert evaluate(document, samples, tmp_path)['AP'] == 1


def test_the_file_has_every_value_unrounded(tmp_path):
    document = ground_truth()
    samples = samples_of(document, np.random.default_rng(3))
    out_file = tmp_path / 'new' / 'metrics.json'
    metrics = evaluate(document, samples, tmp_path, out_file=str(out_file), size_bins_px=[5])
    values = json.loads(out_file.read_text())
    assert metrics == {name: values[name] for name in ('AP', 'AP50', 'AP@100', 'AP50@100')}
    assert {'AP75', 'AR@100', 'bbox_AP', 'AP50/a', 'AP50@100/0-5px', 'bbox_AR/5px+'} <= values.keys()
    assert 0 < values['PQ_pooled'] < 1 and {'AJI_pooled', 'Dice_image_mean', 'F1@IoU.50_pooled'} <= values.keys()
    assert values['AP/absent'] is None and values['AP/0-5px'] is None
    assert values['AP'] != round(values['AP'], 6)


def test_images_that_were_not_predicted_are_reported_and_left_out(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr('mmcell.evaluation.cell_metric.print_log', lambda message, **_: messages.append(message))
    document = ground_truth(n_images=3)
    assert evaluate(document, samples_of(document), tmp_path)['AP50'] == 1 and not messages
    assert evaluate(document, samples_of(document)[1:], tmp_path)['AP50'] == 1
    assert messages == ['2 of 3 images were predicted; values are for these only']


@pytest.mark.parametrize(
    'shards', [[[0, 2, 4], [1, 3]], [[0, 2, 4], [1, 3, 0]], [[0, 3], [1, 4], [2]], [[4, 2, 0], [3, 1]]],
    ids=['uneven', 'filled up', 'three', 'another order'])
def test_several_processes_measure_what_one_does(tmp_path, monkeypatch, shards):
    document = ground_truth(n_images=5)
    samples = samples_of(document, np.random.default_rng(1))
    expected = evaluate(document, samples, tmp_path)
    # This imitates what MMEngine gathers from several processes. Each process has its own images, and one may have an
    # image of another process if the sampler had to fill up.
    gathered = [process_all(new_metric(document, tmp_path), [samples[index] for index in shard]).results
                for shard in shards]
    monkeypatch.setattr('mmengine.dist.dist.get_dist_info', lambda *_: (0, len(shards)))
    monkeypatch.setattr('mmengine.dist.dist.all_gather_object', lambda *_: gathered)
    metric = new_metric(document, tmp_path)
    metric.results = list(gathered[0])
    assert metric.evaluate(len(samples)) == expected
    assert len({value for value in expected.values() if 0 < value < 1}) == 2


def test_an_image_that_was_predicted_twice_counts_once(tmp_path):
    document = ground_truth()
    samples = samples_of(document, np.random.default_rng(1))
    assert evaluate(document, [*samples, samples[0]], tmp_path) == evaluate(document, samples, tmp_path)


def test_only_the_images_of_a_held_out_fold_count(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr('mmcell.evaluation.cell_metric.print_log', lambda message, **_: messages.append(message))
    document = ground_truth(n_images=4)
    for image in document['images']:
        image['fold'] = image['id'] % 2
    metric = new_metric(document, tmp_path)
    metric.dataset_meta |= dict(fold=1, held_out=True)
    samples = [sample for sample in samples_of(document) if sample['img_id'] in (1, 3)]
    values = process_all(metric, samples).evaluate(2)
    assert values['AP50'] == 1 and metric.ground_truth.image_ids == [1, 3]
    assert not messages
    # An image of the fold that was not predicted is named, as it is without folds.
    process_all(metric, samples[:1]).evaluate(1)
    assert messages == ['1 of 2 images were predicted; values are for these only']
