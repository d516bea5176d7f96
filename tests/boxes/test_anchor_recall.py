"""Recall of anchors: best IoUs, the layout of anchors, rows of the table, and the command anchor_recall.py."""

import json
import math
import re
import sys

import anchor_recall as command
import pytest
import torch
from hypothesis import given
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator, YOLOAnchorGenerator
from mmdet.structures.bbox import bbox_overlaps
from support.boxes import anchors, box_arrays, cell_boxes
from support.commands import run as run_python
from support.paths import REPO
from support.synthetic_data import write_annotations

from mmcell.boxes.anchor_recall import best_ious, box_sizes_px, lay_anchors, recall_rows
from mmcell.errors import MmcellError

CONFIGS = REPO / 'configs' / 'cell'


@pytest.mark.parametrize('box, iou', [
    ([0, 0, 16, 16], 1),
    ([0, 0, 16, 8], .5),
    ([4, 0, 20, 16], .6),
    ([16, 0, 32, 16], 0),
    ([3, 3, 3, 9], 0),
])
def test_the_best_iou_with_a_single_anchor(box, iou):
    best = best_ious(torch.tensor([[0., 0, 16, 16]]), torch.tensor([box], dtype=torch.float32))
    assert best.tolist() == pytest.approx([iou])


@pytest.mark.parametrize('n_anchors, n_boxes', [(0, 3), (3, 0), (0, 0)])
def test_without_anchors_or_boxes(n_anchors, n_boxes):
    best = best_ious(torch.ones(n_anchors, 4), torch.ones(n_boxes, 4))
    assert best.tolist() == [0] * n_boxes


@given(priors=box_arrays(30, least_side=0), boxes=box_arrays(10, least_side=0))
def test_the_best_iou_equals_the_maximum_of_the_iou_matrix(priors, boxes):
    priors, boxes = torch.tensor(priors, dtype=torch.float32), torch.tensor(boxes, dtype=torch.float32)
    far_away = torch.tensor([[1e3, 1e3, 2e3, 2e3]])
    matrix = bbox_overlaps(boxes, torch.cat([priors, far_away]))
    assert torch.equal(best_ious(priors, boxes), matrix.max(dim=1).values)


def test_the_best_iou_equals_the_maximum_over_all_anchors():
    priors, boxes = anchors(4, (256, 384)), cell_boxes(100, (256, 384))
    assert torch.equal(best_ious(priors, boxes), bbox_overlaps(boxes, priors).max(dim=1).values)


@pytest.mark.parametrize('make, n', [
    (lambda: AnchorGenerator(strides=[8, 16], ratios=[.5, 1], scales=[2]), 2 * (6 * 4 + 3 * 2)),
    (lambda: AnchorGenerator(strides=[8, 16], ratios=[1], scales=[2], use_box_type=True), 6 * 4 + 3 * 2),
    (lambda: AnchorGenerator(strides=[(16, 8)], ratios=[1], scales=[2]), 3 * 4),
    (lambda: YOLOAnchorGenerator(strides=[16], base_sizes=[[(12, 16), (19, 36)]]), 2 * 3 * 2),
], ids=['two levels', 'boxes', 'oblong', 'YOLO'])
def test_anchors_cover_the_padded_image(make, n):
    laid = lay_anchors(make(), pad_shape=(32, 48), img_shape=(20, 40))
    assert laid.shape == (n, 4)
    assert (laid[:, :2] + laid[:, 2:]).max() / 2 > 40 - 16


def test_anchors_beyond_the_border_are_left_out():
    generator = AnchorGenerator(strides=[8], ratios=[1], scales=[1])
    assert lay_anchors(generator, (32, 32), (20, 20), allowed_border=0).tolist() == [[4, 4, 12, 12]]
    assert len(lay_anchors(generator, (32, 32), (20, 20), allowed_border=4)) == 9


def test_generators_of_points_are_refused():
    with pytest.raises(MmcellError, match=r'MlvlPointGenerator makes priors of shape \(2,\)'):
        lay_anchors(MlvlPointGenerator(strides=[8]), (32, 32), (32, 32))


def test_rows_of_sizes_and_classes():
    boxes = torch.tensor([[0., 0, 4, 16], [0, 0, 16, 16], [8, 0, 24, 36], [0, 0, 64, 64]])
    sizes = box_sizes_px(boxes)
    assert sizes.tolist() == [8, 16, 24, 64]
    best = torch.tensor([.49, .5, .7, 1.])
    rows = {row.name: row[1:] for row in recall_rows(best, sizes, torch.tensor([0, 1, 1, 0]), ['a', 'b', 'c'])}
    assert rows['all'] == (4, (1, .75, .5), pytest.approx(.6725))
    assert rows['below 16 px'] == (1, (1, 0, 0), pytest.approx(.49))
    assert rows['16 to 32 px'] == (2, (1, 1, .5), pytest.approx(.6))
    assert rows['64 px and more'] == (1, (1, 1, 1), 1)
    assert rows['a'] == (2, (1, .5, .5), pytest.approx(.745))
    assert rows['b'][0] == 2
    for empty in ('32 to 64 px', 'c'):
        assert rows[empty][0] == 0 and all(map(math.isnan, (*rows[empty][1], rows[empty][2])))


@pytest.fixture
def ann_file(raw_root, tmp_path):
    write_annotations(raw_root[0], tmp_path / 'a.json', ['a', 'b'])
    return tmp_path / 'a.json'


def printed_rows(capsys):
    """Returns the texts of each row of the printed tables."""
    lines = [[part.strip() for part in line.split('│')[1:-1]] for line in capsys.readouterr().out.splitlines()]
    return [parts for parts in lines if parts]


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['anchor_recall.py', *map(str, args)])
    return command.main()


def write_config(path, *steps):
    """Writes the baseline config with only these steps between loading and packing."""
    pipeline = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations'), *steps, dict(type='PackCellInputs')]
    path.write_text(f"_base_ = ['{CONFIGS / 'mask-rcnn_r50.py'}']\n"
                    f'train_dataloader = dict(dataset=dict(pipeline={pipeline}))')
    return path


def test_the_command_on_training_images(ann_file, tmp_path, monkeypatch, capsys):
    run(monkeypatch, write_config(tmp_path / 'plain.py'), '--ann-file', ann_file)
    rows = printed_rows(capsys)
    # The cells are discs of radius 5, 5, 6 and 4; the second disc takes one pixel of the first. Anchors have 16 px.
    assert [row[:2] for row in rows] == [['all', '4'], ['below 16 px', '4'], ['16 to 32 px', '0'],
                                         ['32 to 64 px', '0'], ['64 px and more', '0'], ['a', '3'], ['b', '1']]
    boxes = torch.tensor([[5., 5, 15, 16], [15, 5, 26, 16], [24, 24, 37, 37], [8, 8, 17, 17]])
    best = bbox_overlaps(boxes, anchors(4, (64, 64))).max(dim=1).values
    assert rows[0][2:] == [f'{value:.3f}' for value in (
        *((best >= threshold).float().mean() for threshold in (.3, .5, .7)), best.mean())]
    assert rows[2][2:] == ['-'] * 4


def test_the_command_takes_boxes_as_the_model_sees_them(ann_file, monkeypatch, capsys):
    config = CONFIGS / 'mask-rcnn_r101_default-anchors.py'
    run(monkeypatch, config, '--ann-file', ann_file)
    train = printed_rows(capsys)
    # The config enlarges the image to a side of 1024 px, hence all cells are larger than 64 px.
    assert train[4][:2] == ['64 px and more', '4']
    run(monkeypatch, config, '--ann-file', ann_file, '--split', 'val')
    assert printed_rows(capsys) == train


def test_names_of_classes_and_configs_are_no_markup(raw_root, tmp_path, monkeypatch, capsys):
    write_annotations(raw_root[0], tmp_path / 'markup.json', ['[red]', 'cell [b] :warning:'])
    run(monkeypatch, write_config(tmp_path / 'c[1].py'), '--ann-file', tmp_path / 'markup.json')
    printed = capsys.readouterr().out
    assert ' [red] ' in printed and ' cell [b] :warning: ' in printed and 'c[1]' in printed


def test_crops_depend_on_the_seed(ann_file, tmp_path, monkeypatch, capsys):
    config = write_config(tmp_path / 'crops.py', dict(type='RandomCrop', crop_size=(25, 25), allow_negative_crop=True))
    tables = []
    for seed in (1, 1, 2):
        run(monkeypatch, config, '--ann-file', ann_file, '--seed', seed)
        tables.append(printed_rows(capsys))
    assert tables[0] == tables[1] and tables[0] != tables[2]


def test_a_negative_seed_is_a_wrong_command_line(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        run(monkeypatch, CONFIGS / 'mask-rcnn_r50.py', '--seed', -1)
    assert '--seed must be at least 0, got -1' in capsys.readouterr().err


def test_the_notice_of_onedl_is_not_shown(ann_file):
    config = CONFIGS / 'mask-rcnn_r50.py'
    assert 'OneDL' not in run_python('tools/anchor_recall.py', config, '--ann-file', ann_file)


def test_concatenated_data_sets(ann_file, tmp_path, monkeypatch, capsys):
    part = dict(type='CellDataset', ann_file=str(ann_file), test_mode=True,
                pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs')])
    dataset = dict(_delete_=True, type='ConcatDataset', datasets=[part, {**part, 'channel_order': 'bgr'}])
    (tmp_path / 'config.py').write_text(
        f"_base_ = ['{CONFIGS / 'mask-rcnn_r50.py'}']\nval_dataloader = dict(dataset={dataset})")
    run(monkeypatch, tmp_path / 'config.py', '--split', 'val')
    expected = ['8', '8', '0', '0', '0', '6', '2']
    assert [row[1] for row in printed_rows(capsys)] == expected
    # The classes of a part that lists them in another order are counted by their names.
    document = json.loads(ann_file.read_text())
    permuted = {**document, 'info': {}, 'categories': document['categories'][::-1]}
    (tmp_path / 'other.json').write_text(json.dumps(permuted))
    root = str(ann_file.parent / document['info']['data_root'])
    dataset['datasets'][1].update(ann_file=str(tmp_path / 'other.json'), data_prefix=dict(img=root))
    (tmp_path / 'config.py').write_text(
        f"_base_ = ['{CONFIGS / 'mask-rcnn_r50.py'}']\nval_dataloader = dict(dataset={dataset})")
    run(monkeypatch, tmp_path / 'config.py', '--split', 'val')
    assert [row[1] for row in printed_rows(capsys)] == expected
    assert run(monkeypatch, tmp_path / 'config.py', '--split', 'val', '--ann-file', ann_file) == 1
    assert re.search('error: .*one annotation file, .* has 2', capsys.readouterr().err)


@pytest.mark.parametrize('content, message', [
    ('model = dict(type="X")', 'has no anchors of an RPN'),
    (f"_base_ = ['{CONFIGS / 'mask-rcnn_r50.py'}']\nval_dataloader = None", 'has no val_dataloader'),
])
def test_configs_without_anchors_or_data_are_refused(tmp_path, monkeypatch, capsys, content, message):
    (tmp_path / 'config.py').write_text(content)
    assert run(monkeypatch, tmp_path / 'config.py', '--split', 'val') == 1
    assert message in capsys.readouterr().err
