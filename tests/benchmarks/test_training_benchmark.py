"""The training benchmark: its contestants see the same samples, and times are divided among parts without a rest."""

import json

import numpy as np
import pytest
import torch
from _epochs import EpochTime, format_epochs, write_part
from _models import STOCK_TYPES, mmdetection_config
from _parts import OTHER, PartClock, Watched, watched_calls
from _scenes import grid_of_discs
from _step_tables import Step, format_parts, format_steps, median_of_parts, refuse_other_losses
from _training_data import SeededSamples, load_for_torchvision, training_pipeline
from _validation import make_evaluation
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from torch import nn

from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.masks.rle import bboxes_xywh, encode_label_map

LOSSES = dict(loss_rpn_cls=.7, loss_rpn_bbox=.2, loss_cls=1.6, loss_bbox=.1, loss_mask=.7)


def ticking_clock(**options):
    """A clock whose time is a second later at every reading."""
    return PartClock(now=iter(range(1000)).__next__, **options)


def test_a_part_has_the_time_that_its_inner_parts_leave():
    clock = ticking_clock()
    with clock.whole(), clock.part('outer'):
        for _ in range(2):
            with clock.part('inner'):
                pass
    # Readings: the start, both ends of each of the three blocks, the end.
    assert clock.seconds == {OTHER: 2, 'outer': 3, 'inner': 2}


def test_every_reading_synchronizes():
    calls = []
    clock = ticking_clock(synchronize=lambda: calls.append(1))
    with clock.whole(), clock.part('part'):
        pass
    assert len(calls) == 4


def test_the_backward_pass_is_divided_where_gradients_of_results_arrive():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    clock = ticking_clock()
    watched = [Watched(first, 'forward', 'first', 'backward: first'),
               Watched(second, 'forward', 'second', 'backward: second')]
    with watched_calls(clock, watched), clock.whole():
        loss = second(first(torch.ones(1, 3)).relu()).sum()
        with clock.part('backward: loss'):
            loss.backward()
    assert list(clock.seconds) == [OTHER, 'first', 'second', 'backward: loss', 'backward: second', 'backward: first']
    assert all(seconds > 0 for seconds in clock.seconds.values())
    assert 'forward' not in vars(first)


@pytest.fixture(scope='module')
def record(tmp_path_factory):
    """An image file of 600x540 px with 16 cells."""
    import tifffile
    path = tmp_path_factory.mktemp('image') / 'image.tif'
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 256, (600, 540, 3), np.uint8), photometric='rgb')
    rles = encode_label_map(np.pad(grid_of_discs(540, 4), ((30, 30), (0, 0)))).rles
    instances = [dict(bbox=[x, y, x + w, y + h], bbox_label=index % 4, ignore_flag=0, mask=rle)
                 for index, (rle, (x, y, w, h)) in enumerate(zip(rles, bboxes_xywh(rles).tolist(), strict=True))]
    return dict(img_path=str(path), img_id=7, height=600, width=540, channel_order='rgb', scale_factor=(1., 1.),
                instances=instances)


@pytest.mark.parametrize('crops', [True, False])
def test_all_contestants_see_the_same_pixels_and_cells(record, crops):
    init_default_scope('mmdet')
    ours, stock = (SeededSamples([record], Compose(training_pipeline(is_stock, crops))) for is_stock in (False, True))
    theirs = SeededSamples([record], lambda sample: load_for_torchvision(sample, crops))
    shapes, first_pixels = set(), set()
    for number in range(6):
        image, target = theirs[number]
        for sample, is_stock in ((ours[number], False), (stock[number], True)):
            pixels = sample['inputs'].flip(0) if is_stock else sample['inputs']
            cells = sample['data_samples'].gt_instances
            assert torch.equal(pixels, (image * 255).round().to(torch.uint8))
            assert torch.equal(cells.bboxes.tensor, target['boxes'])
            assert torch.equal(cells.labels + 1, target['labels'])
            assert np.array_equal(cells.masks.to_ndarray(), target['masks'].numpy())
        shapes.add(tuple(image.shape))
        first_pixels.add(tuple(image[:, 0, 0].tolist()))
    assert shapes == {(3, 512, 512) if crops else (3, 600, 540)} and len(first_pixels) > 2
    assert len(target['boxes']) == 16 or crops


def test_colors_are_swapped_back_for_torchvision(record):
    np.random.seed(0)
    image, _ = load_for_torchvision({**record, 'channel_order': 'bgr'}, crops=False)
    np.random.seed(0)
    expected, _ = load_for_torchvision(record, crops=False)
    assert torch.equal(image, expected.flip(0))
    assert image.mean() == pytest.approx(read_image(record['img_path']).mean() / 255, rel=1e-3)


def types_in(settings):
    if isinstance(settings, dict):
        yield from ([settings['type']] if 'type' in settings else [])
    for value in settings.values() if isinstance(settings, dict) else settings:
        if isinstance(value, (dict, list, tuple)):
            yield from types_in(value)


def test_stock_has_no_class_of_mmcell_but_anchors_and_box_coder():
    from mmdet.registry import MODELS, TASK_UTILS
    init_default_scope('mmdet')
    kinds = set(types_in(mmdetection_config(stock=True).model))
    assert not kinds & set(STOCK_TYPES) and {'StandardRoIHead', 'FCNMaskHead', 'MaxIoUAssigner'} <= kinds
    found = [MODELS.get(kind) or TASK_UTILS.get(kind) for kind in kinds]
    assert {cls.__name__ for cls in found if cls and cls.__module__.startswith('mmcell')} == {
        'TorchvisionAnchorGenerator', 'TorchvisionBBoxCoder'} | {
        cls.__name__ for cls in found if cls and 'BatchMinSizePad' in cls.__name__}
    assert set(STOCK_TYPES) & set(types_in(mmdetection_config(stock=False).model))


def test_ratios_are_those_of_the_same_round():
    def steps(*seconds):
        return [Step(value, value / 2, 100., {}, LOSSES) for value in seconds]
    table = format_steps({'mmcell': steps(1., 2., 4.), 'torchvision': steps(3., 4., 20.)}, batch_size=2)
    assert '| torchvision | 4.0 (3.0–20.0) | 2.0 (1.5–10.0) | 0.500 | 3.00 (2.00–5.00) | 3.00 (2.00–5.00) | 100 |' in (
        table)
    assert '| 3.0 (3.0–3.0) | 1.5 (1.5–1.5) | 0.667 | - | - |' in format_steps({'stock': steps(3.)}, 2)


def test_losses_that_must_agree_are_compared():
    other_masks = {**LOSSES, 'loss_mask': .6}
    refuse_other_losses({'mmcell': LOSSES, 'stock': other_masks}, 1e-3)
    refuse_other_losses({'torchvision': LOSSES, 'stock': other_masks}, 1e-3)
    with pytest.raises(MmcellError, match='loss_mask .* 0.700000 in mmcell, but 0.600000 in torchvision'):
        refuse_other_losses({'mmcell': LOSSES, 'torchvision': other_masks}, 1e-3)
    with pytest.raises(MmcellError, match='loss_cls'):
        refuse_other_losses({'mmcell': LOSSES, 'stock': {**LOSSES, 'loss_cls': float('nan')}}, 1e-3)


def test_parts_are_medians_and_other_comes_last():
    parts = median_of_parts([{OTHER: 1., 'a': 1.}, {OTHER: 1., 'a': 2.}, {OTHER: 1., 'a': 6., 'b': 3.}])
    assert parts == {OTHER: 1., 'a': 2., 'b': 0.}
    rows = format_parts({'mmcell': parts, 'stock': {OTHER: 1., 'c': 3.}}).splitlines()
    assert rows[2:] == ['| a | 2.00 (67%) | - |', '| b | 0.00 (0%) | - |', '| c | - | 3.00 (75%) |',
                        '| other | 1.00 (33%) | 1.00 (25%) |', '| sum | 3.00 | 4.00 |']


def test_a_part_of_an_annotation_file_keeps_the_cells_of_its_images(tmp_path):
    document = dict(info=dict(data_root='../images'), categories=[dict(id=number) for number in range(1, 5)],
                    images=[dict(id=3), dict(id=1), dict(id=2)],
                    annotations=[dict(id=1, image_id=2), dict(id=2, image_id=3), dict(id=3, image_id=1)])
    (tmp_path / 'annotations').mkdir()
    path = tmp_path / 'annotations' / 'train.json'
    path.write_text(json.dumps(document))
    part = json.loads(write_part(path, 2, tmp_path).read_text())
    assert [image['id'] for image in part['images']] == [3, 1]
    assert [cell['id'] for cell in part['annotations']] == [2, 3]
    assert part['info']['data_root'] == str(tmp_path / 'images')
    path.write_text(json.dumps({**document, 'categories': [dict(id=2)]}))
    with pytest.raises(MmcellError, match='has \\[2\\]'):
        write_part(path, 2, tmp_path)


def test_epochs_are_compared_in_whole_and_by_their_halves():
    table = format_epochs({'mmcell': EpochTime(10., 2., 8., .1), 'stock': EpochTime(40., 6., 36., .1)}, 20)
    assert '| stock | 40.0 | 6.0 | 46.0 | 36.0 | 0.500 | 3.83 | 4.00 | 3.00 | 4.50 |' in table


@pytest.mark.parametrize('kind', ['mmcell', 'torchvision', 'stock'])
def test_perfect_predictions_have_an_ap_of_one(record, tmp_path, kind):
    rles = [instance['mask'] for instance in record['instances']]
    labels = [instance['bbox_label'] for instance in record['instances']]
    boxes = bboxes_xywh(rles)
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(
        info={}, images=[dict(id=7, file_name='image.tif', height=600, width=540)],
        categories=[dict(id=number, name=f'class{number}') for number in range(1, 5)],
        annotations=[dict(id=index + 1, image_id=7, category_id=label + 1, segmentation=rle, bbox=box, iscrowd=0,
                          area=box[2] * box[3])
                     for index, (label, rle, box) in enumerate(zip(labels, rles, boxes.tolist(), strict=True))])))
    if kind == 'torchvision':
        image = [dict(image_id=7, category_id=label + 1, score=.5, segmentation=rle)
                 for label, rle in zip(labels, rles, strict=True)]
    else:
        xyxy = torch.tensor(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), dtype=torch.float32)
        image = dict(img_id=7, ori_shape=(600, 540), pred_instances=dict(
            bboxes=xyxy, scores=torch.full((16,), .5), labels=torch.tensor(labels), masks=rles))
    assert make_evaluation(kind, path)([image]) == pytest.approx(1, abs=1e-3)
