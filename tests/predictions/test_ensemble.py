import json
import sys
from importlib import import_module

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmcell.annotations.coco_json import categories
from mmcell.masks.suppression import MaskNMS
from mmcell.predictions import ensemble
from mmcell.predictions.dump_file import load_results, save_results
from mmcell.predictions.ensemble import EnsembleError, fuse_masks, fuse_results

SHAPE = 30, 40
CLASSES = ['big', 'small']


def encode(mask):
    rle = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
    return {**rle, 'counts': rle['counts'].decode()}


def rectangle(x_first, y_first, x_last, y_last, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[y_first:y_last, x_first:x_last] = 1
    return mask


def result(*cells, image_id=1, shape=SHAPE, **meta):
    """Returns the result of one image; each of ``cells`` is (box xyxy, score, label), and its mask fills the box."""
    boxes = [box for box, _, _ in cells]
    return dict(img_id=image_id, img_path='a.tif', ori_shape=shape, **meta, pred_instances=dict(
        bboxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in cells], np.float32),
        labels=np.array([label for _, _, label in cells], np.int64),
        masks=[encode(rectangle(*box, shape)) for box in boxes]))


def fuse(*models, **kwargs):
    return list(fuse_results(models, [f'{name}.pkl' for name in 'ABCD'[:len(models)]], **kwargs))


# Masks

@pytest.mark.parametrize(('weights', 'covered'), [
    ([.5, .5], 'either'),  # half of the weight is enough
    ([.6, .5], 'first'),
    ([.1, .9], 'second')])
def test_a_pixel_needs_half_of_the_weight(weights, covered):
    first, second = rectangle(2, 3, 12, 9), rectangle(5, 4, 16, 20)
    fused, = fuse_masks([encode(first), encode(second)], np.array([0, 0]), np.array(weights))
    expected = {'either': first | second, 'first': first, 'second': second}[covered]
    assert fused == encode(expected)


def test_sums_that_rounding_takes_below_half_are_half():
    # .1 + .2 is not .3 in float64.
    masks = [encode(rectangle(0, 0, 5, 5))] * 2 + [encode(rectangle(10, 0, 15, 5))]
    fused, = fuse_masks(masks, np.zeros(3, int), np.array([.1, .2, .3]))
    assert fused == encode(rectangle(0, 0, 5, 5) | rectangle(10, 0, 15, 5))


@given(st.integers(0, 10 ** 6), st.sampled_from([1, 60, 1 << 21]))
def test_masks_are_those_of_means_of_bitmaps(seed, batch_px):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 12)
    shape = tuple(rng.integers(1, 9, 2))
    masks = (rng.random((n, *shape)) < rng.choice([.2, .7, 1.])).astype(np.uint8)
    # The means are numbered without gaps.
    fused_index = np.unique(rng.integers(-1, 5, n), return_inverse=True)[1] - 1
    weights = rng.random(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, '_BATCH_PX', batch_px)
        fused = fuse_masks([encode(mask) for mask in masks], fused_index, weights)
    members = [fused_index == k for k in range(fused_index.max() + 1)]
    assert fused == [encode(np.average(masks[is_member], axis=0, weights=weights[is_member]) >= .5)
                     for is_member in members]


# Results

def test_a_model_with_itself_is_the_model():
    model = [result(((2, 3, 12, 9), .9, 0), ((20, 10, 31, 25), .4, 1)), result(image_id=7)]
    for before, after in zip(model, fuse(model, model, model), strict=True):
        assert before.keys() == after.keys() and after['img_id'] == before['img_id']
        assert after['pred_instances']['masks'] == before['pred_instances']['masks']
        for key in ('bboxes', 'scores', 'labels'):
            np.testing.assert_allclose(after['pred_instances'][key], before['pred_instances'][key], rtol=1e-6)
            assert after['pred_instances'][key].dtype == before['pred_instances'][key].dtype


def test_cells_are_fused_with_weights_of_models_and_scores():
    first = [result(((2, 3, 12, 9), .8, 0), ((20, 10, 31, 25), .6, 1))]
    second = [result(((3, 3, 13, 9), .6, 0))]
    fused = fuse(first, second, weights=[1, 2])[0]['pred_instances']
    np.testing.assert_allclose(fused['bboxes'], [[2.6, 3, 12.6, 9], [20, 10, 31, 25]], rtol=1e-6)
    # Score times weight is .8 and 1.2 for the two boxes that are fused: their mean 1, times 2 / 3. For the other box it
    # is .6, times 1 / 3.
    np.testing.assert_allclose(fused['scores'], [2 / 3, .2], rtol=1e-6)
    assert fused['labels'].tolist() == [0, 1]
    # The mask of the second model decides, because its weight 1.2 is more than half of 2.
    assert fused['masks'] == [encode(rectangle(3, 3, 13, 9)), encode(rectangle(20, 10, 31, 25))]


def test_images_are_found_by_their_ids_and_low_scores_left_out():
    first = [result(((2, 3, 12, 9), .8, 0), image_id=5), result(((2, 3, 12, 9), .1, 0), image_id=3)]
    second = [result(image_id=3), result(((2, 3, 12, 9), .4, 0), image_id=5)]
    fused = fuse(first, second, skip_threshold=.2)
    assert [image['img_id'] for image in fused] == [5, 3]
    np.testing.assert_allclose(fused[0]['pred_instances']['scores'], [.6], rtol=1e-6)
    assert len(fused[1]['pred_instances']['masks']) == 0 and fused[1]['pred_instances']['bboxes'].shape == (0, 4)


@pytest.mark.parametrize(('second', 'message'), [
    ([result()], r'A.pkl has 1 images that B.pkl does not have: image ids 2'),
    ([result(), result(image_id=2), *(result(image_id=i) for i in range(3, 11))],
     r'B.pkl has 8 images that A.pkl does not have: image ids 3, 4, 5, 6, 7, 8, … and 2 more'),
    ([result(), result(image_id=2, shape=(31, 40))],
     r'image 2: image size \(height, width\) \(30, 40\) in A.pkl, but \(31, 40\) in B.pkl'),
    ([result(), result(((1, 1, 5, 5), .5, 2), image_id=2, classes=CLASSES)],
     'B.pkl: image 2: labels 2 to 2 are predicted, but there are 2 categories')])
def test_results_that_do_not_belong_together_are_refused(second, message):
    with pytest.raises(EnsembleError, match=message):
        fuse([result(classes=CLASSES), result(image_id=2, classes=CLASSES)], second)


def test_labels_without_a_class_are_refused_in_the_first_model_too():
    wrong = [result(((1, 1, 5, 5), .5, 2), classes=CLASSES)]
    for models, name in (([wrong, [result(classes=CLASSES)]], 'A.pkl'), ([[result()], wrong], 'B.pkl')):
        with pytest.raises(EnsembleError, match=f'{name}: image 1: labels 2 to 2 are predicted, but there are 2 cat'):
            fuse(*models)


def test_each_model_needs_a_weight():
    with pytest.raises(EnsembleError, match='1 weights for 2 results files: give one weight per file'):
        fuse([result()], [result()], weights=[1.])


def test_dumps_contain_the_names_of_the_classes(tmp_path):
    dump = METRICS.build(dict(type='mmdet.DumpCellResults', out_file_path=str(tmp_path / 'a.pkl')))
    dump.dataset_meta = dict(classes=('big', 'small'))
    instances = InstanceData(bboxes=torch.zeros(1, 4), scores=torch.ones(1), labels=torch.zeros(1, dtype=torch.long),
                             masks=[encode(rectangle(1, 1, 4, 4))])
    dump.process(None, [DetDataSample(metainfo=dict(img_id=1), pred_instances=instances).to_dict()])
    dump.evaluate(1)
    assert load_results(tmp_path / 'a.pkl')[0]['classes'] == CLASSES


def test_fused_masks_suppress_one_another():
    first = [result(((2, 3, 12, 9), .8, 0), ((20, 10, 31, 25), .6, 1)), result(image_id=2)]
    second = [result(((2, 3, 12, 8), .9, 1), ((20, 10, 31, 25), .6, 1)), result(image_id=2)]
    assert fuse(first, second)[0]['pred_instances']['labels'].tolist() == [1, 1, 0]
    fused, empty = fuse(first, second, mask_nms=MaskNMS(.5, class_agnostic=True))
    assert fused['pred_instances']['labels'].tolist() == [1, 1] and len(empty['pred_instances']['masks']) == 0
    assert fused['pred_instances']['masks'] == [encode(rectangle(20, 10, 31, 25)), encode(rectangle(2, 3, 12, 8))]
    np.testing.assert_allclose(fused['pred_instances']['scores'], [.6, .45], rtol=1e-6)
    np.testing.assert_allclose(fused['pred_instances']['bboxes'], [[20, 10, 31, 25], [2, 3, 12, 8]])
    assert len(fuse(first, second, mask_nms=MaskNMS(.5))[0]['pred_instances']['labels']) == 3


# The command

@pytest.fixture
def run(monkeypatch):
    def run_tool(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
        return import_module(tool).main()
    return run_tool


def test_the_file_goes_on_to_submission_and_pictures(tmp_path, run, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((*SHAPE, 3), 200, np.uint8))
    for name, score in (('a', .9), ('b', .7)):
        image_result = result(((2, 3, 12, 9), score, 0), classes=CLASSES)
        save_results([{**image_result, 'img_path': str(tmp_path / 'a.png')}], tmp_path / f'{name}.pkl')
    annotations = tmp_path / 'test.json'
    annotations.write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.png', height=SHAPE[0], width=SHAPE[1])], annotations=[],
        categories=categories(CLASSES))))
    merged = tmp_path / 'merged.pkl'
    assert run('ensemble', tmp_path / 'a.pkl', tmp_path / 'b.pkl', '--weights', 1, 3, '--out', merged) == 0
    assert 'wrote 1 detections, fused from 2' in capsys.readouterr().out
    fused, = load_results(merged)
    np.testing.assert_allclose(fused['pred_instances']['scores'], [.75], rtol=1e-6)
    assert fused['classes'] == CLASSES
    # The same cell in another class goes on beside it, unless their masks are compared.
    save_results([result(((2, 3, 12, 9), .7, 1), classes=CLASSES)], tmp_path / 'c.pkl')
    for options, n_left in (([], 2), (['--mask-nms', .3], 2), (['--mask-nms', .3, '--class-agnostic'], 1)):
        assert run('ensemble', tmp_path / 'a.pkl', tmp_path / 'c.pkl', *options, '--out', tmp_path / 'two.pkl') == 0
        assert f'wrote {n_left} detections, fused from 2' in capsys.readouterr().out
    for tool, out in (('submit', 'submission.zip'), ('overlay', 'pictures')):
        assert run(tool, merged, '--annotations', annotations, '--out', tmp_path / out) == 0
    assert len(list((tmp_path / 'pictures').iterdir())) == 1
    save_results([result(image_id=9)], tmp_path / 'b.pkl')
    assert run('ensemble', tmp_path / 'a.pkl', tmp_path / 'b.pkl', '--out', tmp_path / 'no.pkl') == 1
    assert 'image ids 1' in capsys.readouterr().err
    assert not (tmp_path / 'no.pkl').exists()


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--out', 'c.txt'], '--out must end with .pkl'),
    (['--out', 'c.pkl', '--weights', '1', '0'], '2 positive numbers'),
    (['--out', 'c.pkl', '--iou-thr', '2'], '--iou-thr must be from 0 to 1'),
    (['--out', 'c.pkl', '--mask-nms', '30'], '--mask-nms must be from 0 to 1'),
    (['--out', 'c.pkl', '--class-agnostic'], '--class-agnostic is for --mask-nms'),
    (['--out', 'c.pkl', '--join', 'all.json', '--mask-nms', '.3'], 'cannot be given with --join')])
def test_bad_arguments_are_reported(arguments, message, run, capsys):
    with pytest.raises(SystemExit):
        run('ensemble', 'a.pkl', 'b.pkl', *arguments)
    assert message in capsys.readouterr().err
