"""MMDetection's functions for single images take this project's configs, paths and arrays."""

import json

import mmdet.apis.det_inferencer
import numpy as np
import pytest
import tifffile
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from support.commands import CONFIG
from support.paths import REPO

from mmcell.framework import prepare
from mmcell.framework.inferencer import accept_cells


def read_config():
    """Returns the demo config with few detections; MMDetection's functions change the config that they get."""
    cfg = Config.fromfile(REPO / CONFIG)
    cfg.model.test_cfg.rcnn.update(score_thr=.1, max_per_img=8)
    return cfg


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A checkpoint and an image file, whose channels differ."""
    folder = tmp_path_factory.mktemp('inferencer')
    torch.manual_seed(0)
    model = init_detector(read_config(), device='cpu')
    model.roi_head.mask_head.conv_logits.bias.data += 1
    save_checkpoint(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=list('abcd')))),
                    str(folder / 'model.pth'))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    image[..., 0] //= 2
    tifffile.imwrite(folder / 'image.tif', image, photometric='rgb')
    return str(folder / 'model.pth'), str(folder / 'image.tif'), image


@pytest.fixture
def model(files):
    return init_detector(read_config(), files[0], device='cpu')


def assert_alike(sample, expected):
    found, wanted = sample.pred_instances, expected.pred_instances
    assert len(wanted) > 0 and found.masks == wanted.masks
    assert found.scores.tolist() == wanted.scores.tolist() and found.bboxes.tolist() == wanted.bboxes.tolist()


def test_arrays_are_bgr_as_in_mmdetection(model, files):
    _, path, image = files
    from_file = inference_detector(model, path)
    bgr = np.ascontiguousarray(image[..., ::-1])
    assert_alike(inference_detector(model, bgr), from_file)
    assert_alike(inference_detector(model, [bgr, bgr])[1], from_file)
    swapped = inference_detector(model, image)
    assert swapped.pred_instances.scores.tolist() != from_file.pred_instances.scores.tolist()


def test_the_inferencer_takes_paths_and_arrays(model, files, tmp_path):
    checkpoint, path, image = files
    expected = inference_detector(model, path)
    inferencer = DetInferencer(read_config(), checkpoint, device='cpu', show_progress=False)
    for image_input in (path, np.ascontiguousarray(image[..., ::-1])):
        assert_alike(inferencer(image_input, return_datasamples=True)['predictions'][0], expected)
        result = inferencer(image_input, out_dir=str(tmp_path), no_save_pred=False, return_vis=True)
        [prediction], [picture] = result['predictions'], result['visualization']
        assert prediction['masks'] == expected.pred_instances.masks and picture.ndim == 3 and picture.std() > 0
    assert {file.name for file in tmp_path.rglob('*.json')} == {'image.json', '0.json'}
    saved = json.loads((tmp_path / 'preds' / 'image.json').read_text())
    assert saved['masks'] == expected.pred_instances.masks


def test_an_image_without_cells_has_an_empty_result(files):
    cfg = read_config()
    cfg.model.test_cfg.rcnn.score_thr = 1.
    result = DetInferencer(cfg, files[0], device='cpu', show_progress=False)(files[1])
    assert result['predictions'] == [dict(labels=[], scores=[], bboxes=[], masks=[])]


def test_other_configs_and_masks_are_left_to_the_stock_class():
    stock_masks = np.zeros((2, 5, 6), bool)
    stock_masks[1, 2:4] = True
    encoded = mmdet.apis.det_inferencer.encode_mask_results([*stock_masks, dict(size=[5, 6], counts='N1')])
    assert [mask['size'] for mask in encoded] == [[5, 6]] * 3
    cfg = read_config()
    cfg.test_dataloader.dataset.pipeline = [dict(type='PackDetInputs')]
    with pytest.raises(ValueError, match='LoadImageFromFile is not found'):
        DetInferencer(cfg, device='cpu')


def test_a_second_call_changes_nothing():
    before = mmdet.apis.det_inferencer.DetInferencer._init_pipeline
    accept_cells(mmdet.apis.det_inferencer)
    prepare()
    assert mmdet.apis.det_inferencer.DetInferencer._init_pipeline is before
