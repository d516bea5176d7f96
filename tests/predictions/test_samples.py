"""Entries of dumps that are no predictions: one line each, from every function that reads dumps."""

import copy
import json
import pickle
from argparse import Namespace

import cv2
import numpy as np
import overlay
import pytest
import torch
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.annotations.ground_truth import to_ground_truth
from mmcell.masks.rle import encode_label_map
from mmcell.predictions import limits
from mmcell.predictions.dump_file import ResultsError, load_results, save_results
from mmcell.predictions.ensemble import EnsembleError, fuse_results
from mmcell.predictions.result_files import read_predictions
from mmcell.predictions.submission import read_test_set, write_submission

SIZE = (20, 30)
CELLS = encode_label_map(discs(SIZE, [(1, 6, 6, 4), (2, 12, 20, 5)]))
MASKS = [{'size': list(SIZE), 'counts': rle['counts'].encode()} for rle in CELLS.rles]
IMAGES = (2, 5)


def entry(image_id=2, **changes):
    """Returns a valid entry with some values changed; the names of predictions change these."""
    boxes = torch.tensor([[2., 2, 11, 11], [15, 7, 26, 18]])
    instances = dict(bboxes=boxes, scores=torch.tensor([.9, .4]), labels=torch.tensor([0, 1]), masks=MASKS)
    values = dict(img_id=image_id, img_path=f'{image_id}.png', ori_shape=SIZE, classes=['a', 'b'])
    for key, value in changes.items():
        (instances if key in instances else values)[key] = value
    return {'pred_instances': instances, **values}


@pytest.fixture
def readers(tmp_path, monkeypatch):
    """Each function that reads dumps, by its command: it takes the path of a dump."""
    monkeypatch.chdir(tmp_path)
    for image_id in IMAGES:
        cv2.imwrite(f'{image_id}.png', np.full((*SIZE, 3), 90, np.uint8))
    document = dict(images=[dict(id=i, file_name=f'{i}.png', height=SIZE[0], width=SIZE[1]) for i in IMAGES],
                    categories=categories(['a', 'b']), annotations=[])
    (tmp_path / 'test.json').write_text(json.dumps(document))
    test_set = read_test_set('test.json')
    save_results([entry(i) for i in IMAGES], 'good.pkl')
    args = Namespace(results='r.pkl', annotations='test.json', classes=None, score_thr=.5, scale=1, out=tmp_path,
                     matches=False, max_images=None, formats=['png'])
    return {
        'evaluate': lambda path: read_predictions(path, to_ground_truth(document)),
        'submit': lambda path: write_submission(read_predictions(path, test_set).predictions, test_set, 's.zip'),
        'overlay': lambda path: overlay.draw_all(Namespace(**{**vars(args), 'results': path})),
        'ensemble': lambda path: save_results(
            list(fuse_results([load_results('good.pkl'), load_results(path)], ['first', 'second'])), 'fused.pkl')}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def doubled(times):
    """Returns a tuple of few objects that has 2 ** times leaves."""
    value = (1,)
    for _ in range(times):
        value = (value, value)
    return value


BOXES, SCORES, LABELS = (r'image 2: bboxes must be a tensor \(N, 4\) of numbers', r'image 2: scores must be a tensor',
                         r'image 2: labels must be a tensor \(N,\) of whole numbers')
FORMS = [
    (dict(img_id=None), 'img_id None is not'), (dict(img_id=True), 'img_id True'), (dict(img_id='2'), "img_id '2'"),
    (dict(img_id=2.), 'img_id 2.0'), (dict(img_id=10**200), 'a number of more than 30 digits'),
    (dict(img_id=doubled(60)), 'img_id'), (dict(img_id=deep(400)), 'img_id'), (dict(img_id=torch.tensor(2)), 'img_id'),
    (dict(bboxes=None), BOXES), (dict(bboxes=[[1, 2, 3, 4]] * 2), BOXES), (dict(bboxes=torch.zeros(2, 5)), BOXES),
    (dict(bboxes=torch.zeros(4)), BOXES), (dict(bboxes=torch.zeros(2, 4, dtype=torch.complex64)), BOXES),
    (dict(bboxes=torch.zeros(2, 4, dtype=torch.bool)), BOXES), (dict(bboxes=doubled(60)), BOXES),
    (dict(bboxes=torch.tensor([[5., 5, 1, 1]] * 2)),
     r'detection 0: bbox \[5.0, 5.0, 1.0, 1.0\] is not \[x1, y1, x2, y2\]'),
    (dict(bboxes=torch.tensor([[1., 1, 2, 2], [1, 1, 2, float('nan')]])), 'detection 1: bbox .*nan. is not'),
    (dict(bboxes=torch.zeros(3, 4)), '3 boxes, 2 scores and 2 labels'),
    (dict(scores=.5), SCORES), (dict(scores=torch.tensor(.5)), SCORES), (dict(scores=[.5, .5]), SCORES),
    (dict(scores=torch.tensor([.5, 1.5])), 'detection 1: score 1.5 is not a number'),
    (dict(scores=torch.tensor([-.5, .5])), 'detection 0: score -0.5 is not'),
    (dict(scores=torch.tensor([.5, float('nan')])), 'detection 1: score nan is not'),
    (dict(scores=torch.zeros(3)), '2 boxes, 3 scores'),
    (dict(labels=torch.tensor([0., 1])), LABELS), (dict(labels='ab'), LABELS), (dict(labels=None), LABELS),
    (dict(labels=torch.tensor([0, -1])), 'detection 1: label -1 is negative'),
    (dict(masks=None), 'masks must be RLEs, or a tensor'), (dict(masks='ab'), 'masks must be'),
    (dict(masks=torch.zeros(2, *SIZE)), 'masks must be'),
    (dict(masks=torch.zeros(*SIZE, dtype=torch.bool)), 'masks must be'),
    (dict(masks=torch.ones(2, 30, 20, dtype=torch.bool)), 'several sizes'),
    (dict(masks=torch.ones(3, *SIZE, dtype=torch.bool)), '2 scores, but 3 masks'),
    (dict(masks=MASKS[:1]), '2 scores, but 1 masks'), (dict(masks=[3, 4]), 'mask 0: a compressed RLE'),
    (dict(masks=[MASKS[0], deep(400)]), 'mask 1: a compressed RLE'),
    (dict(masks=[MASKS[0], {'size': SIZE}]), 'mask 1: a compressed RLE'),
    (dict(masks=[MASKS[0], {'size': SIZE, 'counts': [600]}]), 'mask 1: a compressed RLE'),
    (dict(masks=[MASKS[0], {'size': 20, 'counts': b'x'}]), 'mask 1: size must be'),
    (dict(masks=[MASKS[0], {'size': (20, True), 'counts': b'x'}]), 'mask 1: size must be'),
    (dict(masks=[MASKS[0], {'size': (20, 30, 1), 'counts': b'x'}]), 'mask 1: size must be'),
    (dict(masks=[{'size': (10**9, 10**9), 'counts': b'0'}] * 2), 'several sizes|px; the limit is'),
    (dict(masks=[MASKS[0], {'size': SIZE, 'counts': b'\xff'}]), 'mask 1: RLE counts'),
    (dict(masks=[MASKS[0], {'size': SIZE, 'counts': '\ud800'}]), 'mask 1: RLE counts'),
    (dict(masks=[MASKS[0], {'size': SIZE, 'counts': b'5'}]), 'mask 1: the runs of an RLE cover 5 pixels'),
    (dict(ori_shape=None), 'ori_shape must be height and width'), (dict(ori_shape=(20,)), 'ori_shape'),
    (dict(ori_shape=(20., 30.)), 'ori_shape'), (dict(ori_shape=(0, 30)), 'ori_shape'),
    (dict(ori_shape=(21, 30)), 'masks and ori_shape have several sizes'),
    (dict(img_path=3), 'img_path must be a text'), (dict(img_path='a\0b'), 'img_path'),
    (dict(classes='ab'), 'classes must be a list of names'), (dict(classes=[1, 2]), 'classes'),
    (dict(classes=doubled(60)), 'classes'), (dict(channel_order='gbr'), 'channel_order must be'),
    (dict(channel_order=torch.ones(2)), 'channel_order'), (dict(percentiles=(5, 1)), 'percentiles must be'),
    (dict(percentiles=torch.ones(2)), 'percentiles'), (dict(percentiles=(0, float('nan'))), 'percentiles'),
]


@pytest.mark.parametrize('changes, message', FORMS, ids=range(len(FORMS)))
def test_every_reader_names_what_is_no_prediction_in_one_line(readers, changes, message):
    with open('r.pkl', 'wb') as file:
        pickle.dump([entry(5), entry(**changes)], file, protocol=2)
    for name, read in readers.items():
        with pytest.raises(ResultsError, match=message) as error:
            read('r.pkl')
        assert str(error.value).startswith('r.pkl: 1 of 2 entries are wrong: entry 1: '), name
        assert '\n' not in str(error.value) and len(str(error.value)) < 400, name


def test_every_reader_accepts_what_is_valid(readers):
    full = torch.from_numpy(np.stack([discs(SIZE, [(1, 6, 6, 4)]), discs(SIZE, [(1, 12, 20, 5)])]) > 0)
    for changes in ({}, dict(masks=full), dict(masks=full.to(torch.uint8)), dict(scores=torch.zeros(2)),
                    dict(bboxes=torch.tensor([[1, 1, 5, 5]] * 2)), dict(labels=torch.tensor([1, 1], dtype=torch.uint8)),
                    dict(percentiles=(1, 99.8), channel_order='bgr'), dict(unheard_of=deep(100))):
        with open('r.pkl', 'wb') as file:
            pickle.dump([entry(2, **changes), entry(5)], file, protocol=2)
        for read in readers.values():
            read('r.pkl')
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0), masks=[])
    with open('r.pkl', 'wb') as file:
        pickle.dump([entry(i, **empty) for i in IMAGES], file)
    for read in readers.values():
        read('r.pkl')


def test_nothing_but_dicts_of_images_is_a_dump(readers):
    for content in (None, 3, {}, [3], [[entry()]], ['a'], deep(400), doubled(60)):
        with open('r.pkl', 'wb') as file:
            pickle.dump(content, file)
        for read in readers.values():
            with pytest.raises(ResultsError, match='must contain a list of dicts'):
                read('r.pkl')


def test_every_reader_refuses_an_image_with_two_entries(readers):
    with open('r.pkl', 'wb') as file:
        pickle.dump([entry(), entry()], file)
    for read in readers.values():
        with pytest.raises(ResultsError, match=r'r\.pkl: image \d+ occurs more than once'):
            read('r.pkl')


def test_overlays_find_images_that_a_dump_does_not_name(readers):
    without_path = entry()
    del without_path['img_path']
    save_results([without_path], 'r.pkl')
    assert readers['overlay']('r.pkl') == 1


def test_a_value_that_is_too_deep_for_a_pickle_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r'r\.pkl: cannot be written, because an entry is nested too deeply'):
        save_results([entry(unheard_of=deep(100_000))], tmp_path / 'r.pkl')


@pytest.mark.parametrize('n_entries, n_cells, counts', [
    (2000, 3000, MASKS[0]['counts']), (3, 2000, b'0' * 100_000), (2, 10, MASKS[0]['counts'] * 10**6)])
def test_entries_that_share_their_content_do_not_unfold(tmp_path, n_entries, n_cells, counts):
    instances = dict(bboxes=torch.zeros(n_cells, 4), scores=torch.zeros(n_cells), labels=torch.zeros(n_cells).long(),
                     masks=[{'size': SIZE, 'counts': counts}] * n_cells)
    with open(tmp_path / 'r.pkl', 'wb') as file:
        pickle.dump([dict(img_id=i, pred_instances=instances) for i in range(n_entries)], file)
    with pytest.raises(ResultsError, match='unfolds to far more predictions than a file of'):
        load_results(tmp_path / 'r.pkl')


def test_limits_are_named_and_can_be_raised(tmp_path, monkeypatch):
    save_results([entry()], tmp_path / 'r.pkl')
    monkeypatch.setattr(limits, 'LIMITS', limits.LIMITS)
    monkeypatch.setattr(limits.LIMITS, 'image_px', 599)
    with pytest.raises(ResultsError, match=r'600 px; the limit is 599: .* mmcell.predictions.limits.LIMITS.image_px'):
        load_results(tmp_path / 'r.pkl')
    limits.LIMITS.image_px = 600
    monkeypatch.setattr(limits.LIMITS, 'fused_px', 10)
    with pytest.raises(EnsembleError, match='the limit is 10: .*LIMITS.fused_px'):
        list(fuse_results([load_results(tmp_path / 'r.pkl')], ['r']))


def test_a_copy_of_an_entry_with_any_value_replaced_is_right_or_one_line(readers):
    odd = [None, float('nan'), 2**70, True, [], {}, deep(50), torch.tensor(1.), torch.tensor([-1, 9])]
    paths = [('img_id',), ('img_path',), ('ori_shape',), ('ori_shape', 0), ('classes', 1), ('pred_instances',)]
    paths += [('pred_instances', key) for key in ('bboxes', 'scores', 'labels', 'masks')]
    paths += [('pred_instances', 'masks', 1), *(('pred_instances', 'masks', 0, key) for key in ('size', 'counts'))]
    for path in paths:
        for value in odd:
            changed = copy.deepcopy(entry())
            changed['ori_shape'] = list(SIZE)
            *parents, last = path
            holder = changed
            for key in parents:
                holder = holder[key]
            holder[last] = value
            with open('r.pkl', 'wb') as file:
                pickle.dump([changed, entry(5)], file, protocol=2)
            for name in ('evaluate', 'submit', 'ensemble'):
                try:
                    readers[name]('r.pkl')
                except (ValueError, FileNotFoundError) as error:  # which the commands print
                    assert '\n' not in str(error) or 'nothing was written' in str(error), path
