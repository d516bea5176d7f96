import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from support.bright_detector import CONFIG, save_checkpoint
from support.commands import CONFIG as DEMO
from support.paths import REPO

from mmcell.errors import MmcellError
from mmcell.images.image_file import open_image
from mmcell.inference.detection_limit import find_limit
from mmcell.inference.detector import DetectorError, load_detector
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.models import MaskTTAModel, TiledDetector

WHOLE, TILED = PredictionPlan('whole'), PredictionPlan('tiled', 64)


def image_with(*squares, shape=(30, 40)):
    """Returns a black image (H, W, 3) uint8 with one square in one channel for each (channel, y, x, side, value)."""
    image = np.zeros((*shape, 3), np.uint8)
    for channel, y, x, side, value in squares:
        image[y:y + side, x:x + side, channel] = value
    return image


@pytest.fixture
def detector(tmp_path):
    return load_detector(save_checkpoint(tmp_path / 'toy.pth'))


@pytest.fixture
def limited():
    """Returns the untrained model of the demo, which predicts 20 cells, the most that it may, in any image."""
    config = Config.fromfile(REPO / DEMO)
    config.model.test_cfg.rcnn.update(score_thr=0., max_per_img=20)
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    model.cfg, model.dataset_meta = config, {'classes': tuple('abcd'), 'channel_order': 'bgr'}
    return model


def test_an_image_is_predicted_whole(detector):
    predictor = Predictor(detector)
    assert predictor.percentiles is None and predictor.class_names == ['red', 'green', 'blue']
    cells = predictor.predict(image_with((0, 5, 5, 4, 204), (2, 20, 30, 6, 255)), WHOLE).cells
    assert cells.labels.tolist() == [0, 2] and cells.scores.tolist() == pytest.approx([.8, 1])
    assert cells.bboxes_xyxy.tolist() == [[5, 5, 9, 9], [30, 20, 36, 26]]
    assert cells.masks.areas_px.tolist() == [16, 36] and (cells.masks.height, cells.masks.width) == (30, 40)


def test_an_image_of_one_pixel_is_predicted(detector):
    assert len(Predictor(detector).predict(np.full((1, 1, 3), 255, np.uint8), WHOLE).cells) == 1


def test_all_ways_find_the_same_cells(tmp_path, detector):
    image = image_with((0, 5, 5, 4, 204), (1, 20, 50, 30, 255), (2, 40, 100, 8, 230), shape=(70, 140))
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', tile=(16, 16))
    predictor = Predictor(detector, overlap_px=20, tile_px=64)
    with open_image(tmp_path / 'a.tif') as file:
        streamed = list(predictor.stream(file, PredictionPlan('streamed', 64), tmp_path / 'journal'))
    # Parts without cells are not yielded.
    assert all(len(part.cells) for part in streamed)
    for cells in ([part.cells for part in streamed], [predictor.predict(image, TILED).cells]):
        found = sorted((label, area) for part in cells for label, area in
                       zip(part.labels.tolist(), part.masks.areas_px.tolist(), strict=True))
        assert found == [(0, 16), (1, 900), (2, 64)]


@pytest.mark.parametrize('loader, expected', [
    (dict(type='LoadTiff', percentiles=(1, 99.8)), 0), (dict(type='LoadImageFromFile'), 2)])
@pytest.mark.parametrize('way', ['whole', 'streamed'])
def test_models_get_colours_in_the_channel_order_of_their_own_loader(tmp_path, loader, expected, way):
    pipeline = [loader, dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))]
    predictor = Predictor(load_detector(save_checkpoint(
        tmp_path / 'toy.pth', test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)))))
    assert predictor.percentiles == loader.get('percentiles')
    image = image_with((0, 5, 5, 4, 255))
    if way == 'whole':
        cells = predictor.predict(image, WHOLE).cells
    else:
        tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb')
        with open_image(tmp_path / 'a.tif') as file:
            cells = next(predictor.stream(file, PredictionPlan('streamed', 256), tmp_path / 'journal')).cells
    assert cells.labels.tolist() == [expected]


def test_a_pipeline_without_a_loader_is_refused(tmp_path):
    settings = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(5, 5))]))
    with pytest.raises(DetectorError, match='begins with Resize'):
        Predictor(load_detector(save_checkpoint(tmp_path / 'toy.pth', test_dataloader=settings)))


def test_a_pipeline_that_resizes_images_is_seen_in_the_plan(tmp_path):
    loader, packer = CONFIG['test_dataloader']['dataset']['pipeline']
    pipeline = [loader, dict(type='Resize', scale=(60, 60), keep_ratio=True), packer]
    predictor = Predictor(load_detector(save_checkpoint(
        tmp_path / 'toy.pth', test_dataloader=dict(dataset=dict(pipeline=pipeline)))))
    assert predictor.plan((5000, 5000)).way == 'whole'
    assert 'pipeline' in predictor.plan((5000, 5001), reads_parts=True, formats=['csv']).refusal


def test_tiles_of_the_config(detector):
    tiled = TiledDetector(detector, tile_px=64, overlap_px=20, batch_size=3)
    tiled.cfg, tiled.dataset_meta = detector.cfg, detector.dataset_meta
    predictor = Predictor(tiled)
    assert predictor.plan((10, 10)) == PredictionPlan('tiled', 64)
    assert predictor.tile_settings == dict(tile_px=64, overlap_px=20, upscale=1., border_px=4., align_px=32)
    assert Predictor(tiled, tile_px=256).tile_settings['overlap_px'] == 128
    with pytest.raises(MmcellError, match='give --tile, too'):
        Predictor(tiled, overlap_px=32)
    with pytest.raises(MmcellError, match='a side of at least 32 px, got 0'):
        Predictor(detector, tile_px=0)


def test_views_are_made_of_the_detector_inside_the_tiles_which_is_not_changed(limited):
    tiled = TiledDetector(limited, tile_px=64, overlap_px=20)
    tiled.cfg, tiled.dataset_meta = limited.cfg, limited.dataset_meta
    predictor = Predictor(tiled, with_views=True)
    assert predictor.n_views == 8 and tiled.detector is limited
    assert Predictor(tiled).n_views == 1
    assert Predictor(limited, with_views=True).plan((1000, 1000)) == PredictionPlan('tiled', 704)


@pytest.mark.parametrize('plan, n_full', [(WHOLE, 1), (TILED, 4), (PredictionPlan('tiled', 160), 1)])
def test_what_reached_the_limit_is_part_of_the_result(limited, plan, n_full):
    detected = Predictor(limited, overlap_px=20, tile_px=64).predict(image_with(shape=(64, 140)), plan)
    assert len(detected.scores_at_limit) == n_full
    lowest = float(detected.scores_at_limit.max())
    assert 0 < lowest < 1
    assert detected.reached_limit(lowest) and not detected.reached_limit(lowest + 1e-6)


def test_an_image_below_the_limit(detector, limited):
    detected = Predictor(detector).predict(image_with((0, 5, 5, 4, 204)), WHOLE)
    assert detected.scores_at_limit.shape == (0,) and not detected.reached_limit(0.)
    limited.roi_head.test_cfg.max_per_img = 100_000
    assert not Predictor(limited).predict(image_with(shape=(64, 64)), WHOLE).reached_limit(0.)


def test_the_setting_of_the_limit_is_named(limited):
    expected = (20, 'model.test_cfg.rcnn.max_per_img')
    for options in ({}, dict(tile_px=64, overlap_px=20), dict(with_views=True)):
        limit = Predictor(limited, **options).limit
        assert (limit.n_detections, limit.setting) == expected
    tiled = TiledDetector(limited, tile_px=64, overlap_px=20)
    tiled.cfg, tiled.dataset_meta = limited.cfg, limited.dataset_meta
    assert Predictor(tiled).limit.setting == 'model.detector.test_cfg.rcnn.max_per_img'
    views = find_limit(MaskTTAModel(limited, tta_cfg=dict(max_per_img=7)))
    assert (views.n_detections, views.setting) == (7, 'tta_model.tta_cfg.max_per_img')
    assert find_limit(torch.nn.Identity()).n_detections == 0
