"""``test_cfg.rcnn.mask_nms``: the same cells as from NMS of the masks of a prediction without it, in every way."""

import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from support.narrow_detector import build_narrow_detector, narrow_config

from mmcell.cells.cells import Cells, select_cells
from mmcell.errors import MmcellError
from mmcell.inference.huge_images import predict_huge_image
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.masks.runs import MaskRuns
from mmcell.masks.suppression import MaskNMS, suppress_masks
from mmcell.models import MaskTTAModel, TiledDetector
from mmcell.models.roi_heads import leave_out_unwanted

WHOLE = PredictionPlan('whole')


@pytest.fixture(scope='module')
def built_detector():
    detector = build_narrow_detector('mask-rcnn_r18_demo')
    # More detections than proposals, so that the same box has several classes.
    detector.roi_head.test_cfg.max_per_img = 200
    return detector


@pytest.fixture
def detector(built_detector, monkeypatch):
    monkeypatch.setitem(built_detector.roi_head.test_cfg, 'mask_nms', None)
    return built_detector


def set_mask_nms(detector, **settings):
    detector.roi_head.test_cfg.mask_nms = ConfigDict(settings)
    return MaskNMS(**settings)


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(ours, expected):
    assert len(ours) and ours.masks.to_rles() == expected.masks.to_rles()
    assert np.array_equal(ours.labels, expected.labels)
    # Sums in the mask head and before it are made over other numbers of rows.
    assert np.allclose(ours.scores, expected.scores, atol=1e-6)


def kept_of(cells, nms):
    kept = cells.take(suppress_masks(cells.masks, cells.scores, cells.labels, nms))
    assert 0 < len(kept) < len(cells)
    return kept


@pytest.mark.parametrize('with_views', [False, True], ids=['one view', 'views'])
def test_whole_images(detector, with_views):
    pixels = image(64, 96)
    expected = Predictor(detector, with_views).predict(pixels, WHOLE).cells
    for class_agnostic in (False, True):
        nms = set_mask_nms(detector, iou_threshold=.1, class_agnostic=class_agnostic)
        assert_same(Predictor(detector, with_views).predict(pixels, WHOLE).cells, kept_of(expected, nms))


def test_cascade():
    detector, pixels = build_narrow_detector('cascade-mask-rcnn_r50'), image(64, 96)
    expected = Predictor(detector).predict(pixels, WHOLE).cells
    nms = set_mask_nms(detector, iou_threshold=.1, class_agnostic=True)
    assert_same(Predictor(detector).predict(pixels, WHOLE).cells, kept_of(expected, nms))


def test_each_tile_is_done_by_itself(detector, tmp_path):
    model, pixels = TiledDetector(detector, tile_px=128, overlap_px=32), image(96, 160)

    def predict(folder):
        return list(predict_huge_image(model, pixels.shape[:2], lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1],
                                       tmp_path / folder))
    tiles_without = [tile_cells for tile_cells, *_ in predict('without')]
    nms = set_mask_nms(detector, iou_threshold=.1)
    tiles, finals, _ = zip(*predict('with'), strict=True)
    for ours, cells in zip(tiles, tiles_without, strict=True):
        assert_same(ours, kept_of(cells, nms))
    in_memory = Predictor(detector, tile_px=128, overlap_px=32).predict(pixels, PredictionPlan('tiled', tile_px=128))
    assert_same(Cells.concatenate(finals).best_first(), in_memory.cells)


@pytest.mark.parametrize('plan', [WHOLE, PredictionPlan('tiled', tile_px=128)], ids=['whole', 'tiles'])
def test_cells_with_a_wanted_score_are_the_same(detector, plan):
    set_mask_nms(detector, iou_threshold=.1, class_agnostic=True)
    predictor, pixels = Predictor(detector, overlap_px=32), image(128, 160)
    every = predictor.predict(pixels, plan).cells
    min_score = float(np.quantile(every.scores, .5))
    wanted = predictor.predict(pixels, plan, min_score).cells
    assert_same(select_cells(wanted, min_score), select_cells(every, min_score))


# Which detections need a mask

def filled(boxes_xyxy, side=80):
    """Returns the masks that fill whole boxes."""
    columns = [np.arange(x0, x1) * side for x0, _, x1, _ in boxes_xyxy]
    starts = np.concatenate([column + box[1] for column, box in zip(columns, boxes_xyxy, strict=True)])
    heights = np.concatenate([np.full(len(column), box[3] - box[1])
                              for column, box in zip(columns, boxes_xyxy, strict=True)])
    return MaskRuns(starts, starts + heights, np.array([len(column) for column in columns]), side, side)


def suppress(detections, nms):
    kept = suppress_masks(filled(detections.bboxes.long().numpy()), detections.scores.numpy(),
                          detections.labels.numpy(), nms)
    return detections[torch.from_numpy(kept)]


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_decisions_at_seams_are_the_same_without_the_unwanted_detections(class_agnostic):
    rng = np.random.default_rng(3)
    nms = MaskNMS(.3, class_agnostic)
    meta = dict(min_score=.5, unshared_xyxy=[12, 12, 68, 68])
    n_left_out = n_needed = 0
    for _ in range(15):
        begins, sizes = rng.integers(0, 60, (40, 2)), rng.integers(8, 20, (40, 2))
        every = InstanceData(bboxes=torch.from_numpy(np.concatenate([begins, begins + sizes], axis=1)).float(),
                             scores=torch.from_numpy(rng.random(40) * .8),
                             labels=torch.from_numpy(rng.integers(0, 2, 40)))
        fewer = leave_out_unwanted(every, meta, mask_nms=nms)
        without_chains = leave_out_unwanted(every, meta)
        n_left_out += len(every) - len(fewer)

        def reaching_seams(detections):
            return leave_out_unwanted(suppress(detections, nms), meta).bboxes

        assert reaching_seams(fewer).equal(reaching_seams(every))
        n_needed += not reaching_seams(without_chains).equal(reaching_seams(every))
    assert n_left_out > 0 and n_needed > 0


def test_only_better_detections_of_a_chain_are_needed():
    # A row of boxes whose masks may overlap those of the neighbours; the first one lies where another tile sees it.
    boxes = torch.tensor([[10 + 24 * i, 40, 26 + 24 * i, 50] for i in range(5)]).float()
    meta, nms = dict(min_score=.5, unshared_xyxy=[20, 0, 999, 999]), MaskNMS(.3)

    def n_left(scores, labels=(0, 0, 0, 0, 0)):
        detections = InstanceData(bboxes=boxes, scores=torch.tensor(scores), labels=torch.tensor(labels))
        left = leave_out_unwanted(detections, meta, mask_nms=nms).bboxes
        assert left.equal(boxes[:len(left)])
        return len(left)

    assert n_left([.1, .2, .3, .4, .45]) == 5
    assert n_left([.1, .2, .3, .3, .2]) == 3
    assert n_left([.1, .2, .3, .4, .45], (0, 0, 0, 1, 1)) == 3
    assert n_left([.4, .3, .2, .1, .1]) == 1


# Settings that cannot be used

@pytest.mark.parametrize('changes, message', [
    (dict(mask_nms=dict(iou_treshold=.3)), 'iou_treshold'),
    (dict(mask_nms=dict(iou_threshold=3)), 'from 0 to 1, got 3'),
    (dict(mask_nms=dict(iou_threshold=.3), mask_thr_binary=-1), 'mask_thr_binary must be positive'),
])
def test_wrong_settings_are_refused_before_a_training(changes, message):
    model = narrow_config('mask-rcnn_r18_demo').model
    model.test_cfg.rcnn.update(changes)
    with pytest.raises(MmcellError, match=message):
        MODELS.build(model)


@pytest.mark.parametrize(('setting', 'value', 'head', 'message'), [
    ('mask_nms', dict(iou_threshold=.3), 'mask_head', 'needs a mask_head of type CellMaskHead, got FCNMaskHead'),
    ('one_class_per_box', True, 'bbox_head', 'needs a bbox_head of type CellBBoxHead, got Shared2FCBBoxHead'),
])
def test_heads_that_do_not_know_a_setting_are_refused(setting, value, head, message):
    model = narrow_config('mask-rcnn_r18_demo').model
    model.test_cfg.rcnn[setting] = value
    model.roi_head[head].type = message.split()[-1]
    with pytest.raises(MmcellError, match=message):
        MODELS.build(model)


def test_views_refuse_wrong_settings(built_detector):
    detector = copy.deepcopy(built_detector)
    detector.roi_head.test_cfg.mask_nms = dict(iou_threshold=2)
    with pytest.raises(MmcellError, match='from 0 to 1, got 2'):
        MaskTTAModel(detector)
