"""RoI heads that predict masks only where they are wanted: the same cells as without them, from fewer masks."""

import copy

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from support.narrow_detector import build_narrow_detector

from mmcell.cells.cells import Cells, select_cells
from mmcell.inference.huge_images import predict_huge_image
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.models import TiledDetector
from mmcell.models.roi_heads import leave_out_unwanted


@pytest.fixture(scope='module', params=['mask-rcnn_r18_demo', 'cascade-mask-rcnn_r50'])
def detector(request):
    return build_narrow_detector(request.param)


@pytest.fixture
def n_masks(detector):
    """Counts the RoIs that mask heads are given."""
    counts, heads = [], detector.roi_head.mask_head
    handles = [head.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
               for head in (heads if isinstance(heads, torch.nn.ModuleList) else [heads])]
    yield counts
    for handle in handles:
        handle.remove()


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(ours, expected):
    assert len(ours) and ours.masks.to_rles() == expected.masks.to_rles()
    assert np.array_equal(ours.labels, expected.labels)
    # Sums in the mask head and before it are made over other numbers of rows.
    assert np.allclose(ours.scores, expected.scores, atol=1e-6)
    assert np.allclose(ours.bboxes_xyxy, expected.bboxes_xyxy, atol=1e-3)


@pytest.mark.parametrize(('plan', 'with_views'), [
    (PredictionPlan('whole'), False), (PredictionPlan('whole'), True), (PredictionPlan('tiled', tile_px=128), False),
    (PredictionPlan('tiled', tile_px=128), True)], ids=['whole', 'whole, views', 'tiles', 'tiles, views'])
def test_cells_with_a_wanted_score_are_the_same(detector, n_masks, plan, with_views):
    predictor = Predictor(detector, with_views, overlap_px=32)
    pixels = image(160, 224)
    every = predictor.predict(pixels, plan).cells
    n_all = sum(n_masks)
    n_masks.clear()
    min_score = float(np.quantile(every.scores, .7))
    wanted = predictor.predict(pixels, plan, min_score)
    assert_same(select_cells(wanted.cells, min_score), select_cells(every, min_score))
    assert sum(n_masks) < (.8 if plan.way == 'whole' else .95) * n_all


def test_cells_of_streamed_images_are_the_same(detector, tmp_path, n_masks):
    model, pixels = TiledDetector(detector, tile_px=128, overlap_px=32), image(224, 160)

    def predict(folder, min_score):
        tiles = predict_huge_image(model, pixels.shape[:2], lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1],
                                   tmp_path / folder, min_score=min_score)
        return Cells.concatenate([cells for _, cells, _ in tiles]).best_first()
    every = predict('all', 0.)
    n_all = sum(n_masks)
    n_masks.clear()
    min_score = float(np.quantile(every.scores, .7))
    assert_same(select_cells(predict('wanted', min_score), min_score), select_cells(every, min_score))
    assert sum(n_masks) < .95 * n_all


def test_detections_with_one_box_share_their_mask(detector, n_masks):
    stock = copy.deepcopy(detector)
    kind = type(stock.roi_head)
    stock.roi_head.__class__ = next(base for base in kind.__mro__ if not base.__module__.startswith('mmcell'))
    pixels = image(96, 128)
    ours, theirs = (Predictor(model).predict(pixels, PredictionPlan('whole')).cells for model in (detector, stock))
    assert_same(ours, theirs)
    features = detector.extract_feat(torch.rand(2, 3, 64, 64))
    rois = torch.tensor([[1, 3, 4, 20, 30], [0, 3, 4, 20, 30], [1, 3, 4, 20, 30], [0, 3, 4, 20, 30], [0, 1, 1, 9, 9.]])
    stages = [(stage,) for stage in range(3)] if 'Cascade' in kind.__name__ else [()]
    for stage in stages:
        n_masks.clear()
        masks = detector.roi_head._mask_forward(*stage, features, rois)['mask_preds']
        assert n_masks == [3]
        torch.testing.assert_close(masks, stock.roi_head._mask_forward(*stage, features, rois)['mask_preds'])


def test_unwanted_detections_are_kept_where_other_tiles_see_them():
    boxes = torch.tensor([[30, 30, 50, 50], [22, 30, 50, 50], [30, 30, 58, 50], [30, 30, 50, 59], [0, 0, 9, 9.]])
    detections = InstanceData(bboxes=boxes, scores=torch.tensor([.1, .1, .1, .1, .9]))
    meta = dict(min_score=.5, unshared_xyxy=[20, 20, 60, 60])
    assert leave_out_unwanted(detections, meta).bboxes.equal(boxes[1:])
    assert leave_out_unwanted(detections, dict(min_score=.5)).bboxes.equal(boxes[4:])
    assert leave_out_unwanted(detections, dict(min_score=0., unshared_xyxy=[20, 20, 60, 60])) is detections
    for scale_xy in ((2., 2.), (8., .125)):
        factors = torch.tensor(scale_xy).repeat(2)
        scaled = InstanceData(bboxes=boxes * factors, scores=detections.scores)
        assert leave_out_unwanted(scaled, meta, scale_xy).bboxes.equal(boxes[1:] * factors)
