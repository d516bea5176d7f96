"""TiledDetector: small images as without tiles, large images in tiles, sizes, checkpoints and refused settings."""

import copy

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from support.masks import paint_rles
from support.paths import REPO
from support.synthetic_data import discs
from support.toy_detector import TILES, ToyDetector, as_data, as_set

from mmcell.errors import MmcellError
from mmcell.models import TiledDetector


@pytest.fixture(scope='module')
def small_model():
    """Config of the demo's model, made narrower, with its data preprocessor."""
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.update(stem_channels=8, base_channels=8)
    cfg.model.neck.in_channels = [8, 16, 32, 64]
    cfg.model.test_cfg.rpn.max_per_img = 100
    cfg.model.test_cfg.rcnn.update(max_per_img=20, score_thr=0.)
    return cfg.model


def build(config):
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    return model.eval()


def batch(*sizes):
    """Images of random noise of the given (height, width), batched as a data loader gives them."""
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes],
        data_samples=[DetDataSample(metainfo=dict(img_id=i, ori_shape=size, img_shape=size, scale_factor=(1., 1.)))
                      for i, size in enumerate(sizes)])


def test_images_that_fit_into_a_tile_are_predicted_as_without_tiles(small_model):
    detector = build(small_model)
    tiled = TiledDetector(detector, tile_px=128, overlap_px=32)
    with torch.no_grad():
        plain = detector.test_step(batch((100, 128), (64, 90)))
        in_tiles = tiled.test_step(batch((100, 128), (64, 90)))
    for ours, expected in zip(in_tiles, plain, strict=True):
        assert len(ours.pred_instances) == 20
        for key in ('bboxes', 'scores', 'labels'):
            assert ours.pred_instances[key].equal(expected.pred_instances[key])
        assert ours.pred_instances.masks == expected.pred_instances.masks


def test_a_small_image_in_a_batch_with_a_large_image_is_predicted_by_itself(small_model):
    tiled = TiledDetector(build(small_model), tile_px=128, overlap_px=32)
    with torch.no_grad():
        small, large = tiled.val_step(batch((64, 90), (200, 150)))
        alone, = tiled.detector.test_step(batch((64, 90)))
    assert small.pred_instances.bboxes.equal(alone.pred_instances.bboxes)
    detections = large.pred_instances
    assert len(detections) > 20 and (detections.scores.diff() <= 0).all()
    assert all(rle['size'] == [200, 150] for rle in detections.masks)
    assert (detections.bboxes >= 0).all() and (detections.bboxes <= torch.tensor([150, 200] * 2)).all()
    assert detections.bboxes[:, 3].max() > 128 and large.img_id == 1


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_batches_hold_tiles_of_one_shape(batch_size):
    detector = ToyDetector()
    # Two rows of three tiles. The tiles of the last column are narrower, because their corner is aligned.
    model = TiledDetector(detector, tile_px=32, overlap_px=8, border_px=2, align_px=8, batch_size=batch_size)
    model.test_step(as_data(np.zeros((48, 77), int)))
    assert sum(map(len, detector.seen)) == 6
    assert all(len(shapes) <= batch_size and len(set(shapes)) == 1 for shapes in detector.seen)
    assert {shape for shapes in detector.seen for shape in shapes} == {(32, 32), (32, 29)}


@pytest.mark.parametrize(('size', 'least_iou'), [
    # Heights of 50 and 20 px for 60 px are 5 px for 6 px and 1 px for 3 px: tiles begin where both frames have a whole
    # pixel. With 47 px for 60 px, tiles begin at nearly whole pixels, and masks differ slightly.
    ((60, 90), 1), ((120, 180), 1), ((50, 75), 1), ((20, 30), 1), ((47, 71), .75)])
def test_results_are_in_px_of_the_image_before_it_was_resized(size, least_iou):
    field = discs((60, 90), [(1, 10, 12, 6), (2, 14, 44, 9), (3, 40, 30, 7), (4, 38, 70, 12), (5, 55, 5, 5)])
    rows, columns = (((np.arange(n) + .5) * side / n).astype(int)
                     for n, side in zip(size, (60, 90), strict=True))

    def resized():
        data = as_data(field[rows][:, columns])
        scales = tuple(np.array(size[::-1]) / (90, 60))
        data['data_samples'][0].set_metainfo(dict(ori_shape=(60, 90), scale_factor=scales))
        return data

    in_tiles, plain = (detector.test_step(resized())[0].pred_instances
                       for detector in (TiledDetector(ToyDetector(), **TILES), ToyDetector()))
    assert len(in_tiles) == 5 and in_tiles.masks[0]['size'] == [60, 90]
    ious = pycocotools.mask.iou(in_tiles.masks, plain.masks, [0] * 5)
    assert (ious.max(axis=1) >= least_iou).all() and (ious.max(axis=0) >= least_iou).all()
    if least_iou == 1:
        assert as_set(in_tiles) == as_set(plain)


def test_tiles_are_enlarged_and_results_are_not():
    detector = ToyDetector()
    field = np.zeros((40, 50), int)
    field[8:20, 15:35] = 200
    sample, = TiledDetector(detector, **TILES, upscale=1.5).test_step(as_data(field))
    assert {shape for shapes in detector.seen for shape in shapes} == {(48, 48)}
    # Interpolated values between cell and background look like separate cells to this detector. The real cell, which
    # is the largest, comes first.
    painted = paint_rles(sample.pred_instances.masks[:1]) > 0
    assert painted.shape == (40, 50)
    assert painted[9:19, 16:34].all() and not painted[field == 0].any()
    # An image that is a single tile is enlarged as well.
    TiledDetector(detector, **TILES, upscale=2.).test_step(as_data(field[:20, :30]))
    assert detector.seen[-1] == [(40, 60)]


def test_a_config_wraps_the_model_of_its_base(tmp_path, small_model):
    base = REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py'
    (tmp_path / 'tiled.py').write_text(
        f"_base_ = ['{base}']\n"
        "model = dict(_delete_=True, type='TiledDetector', detector={{_base_.model}}, tile_px=256, overlap_px=64)\n")
    model = MODELS.build(Config.fromfile(tmp_path / 'tiled.py').model)
    assert isinstance(model, TiledDetector) and model.tile_px == 256
    assert model.detector.roi_head.mask_head.num_classes == 4
    assert model.data_preprocessor is model.detector.data_preprocessor


def test_checkpoints_fit_with_and_without_tiles(small_model):
    plain, tiled = build(small_model), TiledDetector(small_model, tile_px=128, overlap_px=32)
    assert list(tiled.state_dict()) == list(plain.state_dict())
    load_state_dict(tiled, plain.state_dict(), strict=True)
    assert all(tiled.state_dict()[key].equal(value) for key, value in plain.state_dict().items())
    torch.nn.init.zeros_(plain.rpn_head.rpn_cls.weight)
    tiled.load_state_dict(plain.state_dict(), strict=True)
    assert not tiled.detector.rpn_head.rpn_cls.weight.any()
    plain.load_state_dict(tiled.state_dict(), strict=True)
    outer = torch.nn.ModuleDict({'module': tiled})
    assert {key.removeprefix('module.') for key in outer.state_dict()} == set(plain.state_dict())
    outer.load_state_dict(outer.state_dict(), strict=True)


def test_training_and_losses_come_from_the_detector():
    class Optimizer:
        pass

    detector = ToyDetector()
    detector.train_step = lambda data, optim_wrapper: (data, optim_wrapper)
    model = TiledDetector(detector, **TILES)
    assert model.train_step(1, Optimizer) == (1, Optimizer)
    assert model(torch.zeros(3), mode='loss') == 3
    with pytest.raises(NotImplementedError, match='test_step'):
        model(torch.zeros(3), mode='predict')


def test_bitmap_masks_of_stock_heads_are_accepted():
    class Bitmaps(ToyDetector):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            for sample in super().forward(inputs, data_samples, mode):
                detections = sample.pred_instances
                size = detections.masks[0]['size'] if detections.masks else sample.ori_shape
                detections.masks = torch.stack([torch.zeros(*size, dtype=bool)] * 0 + [
                    torch.from_numpy(paint_rles([rle]) > 0) for rle in detections.masks]) if len(
                        detections) else torch.zeros(0, *size, dtype=bool)
            return data_samples

    field = discs((50, 60), [(1, 25, 26, 8), (2, 6, 6, 3)])
    sample, = TiledDetector(Bitmaps(), **TILES).test_step(as_data(field))
    plain, = ToyDetector().test_step(as_data(field))
    assert as_set(sample.pred_instances) == as_set(plain.pred_instances)


def test_a_detector_without_masks_is_refused():
    class Boxes(ToyDetector):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            for sample in super().forward(inputs, data_samples, mode):
                sample.pred_instances.pop('masks')
            return data_samples

    with pytest.raises(ValueError, match='predictions have none'):
        TiledDetector(Boxes(), **TILES).test_step(as_data(np.ones((50, 60), int)))


def test_views_of_a_pipeline_are_refused():
    data = as_data(np.ones((50, 60), int))
    with pytest.raises(MmcellError, match='MaskTTAModel, which makes the views of each tile'):
        TiledDetector(ToyDetector(), **TILES).test_step({key: [value, value] for key, value in data.items()})


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(overlap_px=32), 'overlap must be from 0 to 31'), (dict(overlap_px=-5), 'got -5'),
    (dict(overlap_px=3, border_px=2), 'at least twice border_px, got border_px=2 and overlap_px=3'),
    (dict(border_px=0), 'border_px must be positive'), (dict(border_px=-1), 'border_px must be positive'),
    (dict(batch_size=0), 'batch_size must be at least 1'), (dict(upscale=0), 'upscale positive')])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TiledDetector(ToyDetector(), **{**TILES, **settings})
