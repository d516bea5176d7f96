"""Each box can get one class, whose score is the probability that there is a cell at all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mmcell.errors import MmcellError
from mmcell.models.bbox_head import keep_best_class

META = dict(img_shape=(64, 64), scale_factor=(1., 1.))
# Two boxes far from each other, and a third one on top of the second.
ROIS = torch.tensor([[0, 4, 4, 20, 20], [0, 30, 30, 50, 50], [0, 31, 31, 51, 51]], dtype=torch.float32)
# Two classes and the background.
PROBABILITIES = torch.tensor([[.4, .3, .3], [.1, .5, .4], [.45, .05, .5]])


def detect(head_type, **settings):
    init_default_scope('mmdet')
    head = MODELS.build(dict(type=head_type, in_channels=1, fc_out_channels=1, roi_feat_size=1, num_classes=2,
                             reg_class_agnostic=True))
    cfg = ConfigDict(score_thr=.05, nms=dict(type='nms', iou_threshold=.5), max_per_img=100)
    cfg.update(settings)
    result, = head.predict_by_feat((ROIS,), (PROBABILITIES.log(),), (torch.zeros(3, 4),), [META], rcnn_test_cfg=cfg)
    scores = [round(score, 3) for score in result.scores.tolist()]
    return list(zip(result.labels.tolist(), scores, strict=True))


def test_without_the_setting_the_detections_are_those_of_the_stock_head():
    assert detect('CellBBoxHead') == detect('Shared2FCBBoxHead') == [
        (1, .5), (0, .45), (0, .4), (1, .3)]


def test_each_box_gets_its_most_probable_class():
    assert detect('CellBBoxHead', one_class_per_box=True) == [(0, .7), (1, .6), (0, .5)]


def test_with_nms_across_classes_no_cell_is_found_twice():
    nms = dict(type='nms', iou_threshold=.5, class_agnostic=True)
    assert detect('CellBBoxHead', one_class_per_box=True, nms=nms) == [(0, .7), (1, .6)]


def test_scores_of_another_form_are_refused():
    init_default_scope('mmdet')
    head = MODELS.build(dict(type='CellBBoxHead', in_channels=1, fc_out_channels=1, roi_feat_size=1, num_classes=2,
                             loss_cls=dict(type='SeesawLoss', num_classes=2)))
    cfg = ConfigDict(score_thr=.05, nms=dict(type='nms', iou_threshold=.5), max_per_img=100, one_class_per_box=True)
    with pytest.raises(MmcellError, match='one_class_per_box needs the softmax .* SeesawLoss'):
        head.predict_by_feat((ROIS,), (torch.zeros(3, 4),), (torch.zeros(3, 8),), [META], rcnn_test_cfg=cfg)


@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), max_size=4))
def test_probabilities_add_up(logits):
    logits = torch.tensor(logits, dtype=torch.float32).reshape(-1, 3)
    before, after = logits.softmax(-1), keep_best_class(logits).softmax(-1)
    torch.testing.assert_close(after[:, -1], before[:, -1])
    torch.testing.assert_close(after[:, :-1].amax(-1), before[:, :-1].sum(-1))
    assert ((after[:, :-1] > 0).sum(-1) <= 1).all()
    assert after.sum(-1).tolist() == pytest.approx([1] * len(logits))
    kept = before[:, :-1].gather(-1, after[:, :-1].argmax(-1, keepdim=True))
    assert kept.equal(before[:, :-1].amax(-1, keepdim=True))
