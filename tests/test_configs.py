"""Every config loads, builds, trains one step and predicts at a tiny size."""

import ast
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import REPO, discs, write_annotations
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import BaseLoop, Runner
from mmengine.structures import InstanceData

from mmcell.structures import LabelMapMasks

CONFIGS = sorted((REPO / 'configs' / 'cell').glob('*.py'))
SIDE = 96


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request):
    cfg = Config.fromfile(request.param)
    init_default_scope(cfg.default_scope)
    return cfg


def depth_of(path):
    """Levels of inheritance inside this project, the file itself counted."""
    bases = next((ast.literal_eval(node.value) for node in ast.parse(path.read_text()).body
                  if isinstance(node, ast.Assign) and node.targets[0].id == '_base_'), [])
    own = [(path.parent / base).resolve() for base in bases if '::' not in base]
    return 1 + max((depth_of(base) for base in own), default=0)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_inheritance_is_at_most_three_levels(path):
    assert 1 < depth_of(path) <= 3


def test_mmcell_is_named_in_one_base_alone():
    named = [path for path in (REPO / 'configs').rglob('*.py') if 'custom_imports' in path.read_text()]
    assert [path.name for path in named] == ['runtime.py']


def test_the_facts_of_cells_hold(config):
    model = config.model
    assert model.data_preprocessor.bgr_to_rgb is False
    of_torchvision = model.rpn_head.anchor_generator.type == 'TorchvisionAnchorGenerator'
    assert model.rpn_head.anchor_generator.scales == ([8] if of_torchvision else [4])
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 4
    assert model.test_cfg.rcnn.max_per_img >= 300
    assert model.test_cfg.rpn.max_per_img >= model.test_cfg.rcnn.max_per_img
    orders = {_innermost(config[f'{split}_dataloader'].dataset).channel_order for split in ('train', 'val', 'test')}
    assert len(orders) == 1
    assert config.default_hooks.checkpoint.save_best == 'AP50'
    assert config.test_evaluator.type == 'SubmissionFormatter'


def _innermost(dataset):
    return _innermost(dataset.dataset) if 'dataset' in dataset else dataset


def sample(rng):
    label_map = discs((SIDE, SIDE), [(i + 1, 16 + 30 * (i // 3), 16 + 30 * (i % 3), 10) for i in range(9)])
    masks = LabelMapMasks.from_label_maps([label_map])
    instances = InstanceData(masks=masks, labels=torch.arange(9) % 4, bboxes=masks.get_bboxes('hbox').tensor)
    data_sample = DetDataSample(metainfo=dict(
        img_id=1, img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1., 1.)))
    data_sample.gt_instances = instances
    return torch.from_numpy(rng.integers(0, 255, (3, SIDE, SIDE), np.uint8)), data_sample


def test_one_step_and_one_prediction(config, rng):
    torch.manual_seed(0)
    config.model.backbone.init_cfg = None
    # An untrained model finds as many cells as it may; their masks are what takes the time.
    config.model.test_cfg.rcnn.max_per_img = 5
    config.model.train_cfg.rcnn.sampler.num = 32
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    inputs, data_sample = sample(rng)
    batch = model.data_preprocessor(dict(inputs=[inputs] * 2, data_samples=[data_sample] * 2), training=True)
    losses = model(**batch, mode='loss')
    total = sum(value.sum() if torch.is_tensor(value) else sum(v.sum() for v in value)
                for name, value in losses.items() if 'loss' in name)
    assert total.isfinite()
    total.backward()
    trainable = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in trainable.values())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-4)
    optimizer.step()
    model.eval()
    with torch.no_grad():
        batch = model.data_preprocessor(dict(inputs=[inputs], data_samples=[data_sample]))
        predicted = model(**batch, mode='predict')[0].pred_instances
    assert len(predicted.masks) == len(predicted) and {tuple(rle['size']) for rle in predicted.masks} <= {(SIDE, SIDE)}
    assert len(predicted.scores) <= 5


def test_crops_keep_no_empty_mask_and_may_be_without_cells(config, tmp_path):
    dataset_config = _innermost(config.train_dataloader.dataset)
    crop = next(step.crop_size[0] for step in dataset_config.pipeline if step.type == 'RandomCrop')
    size = crop + 88
    label_map = np.zeros((size, size), int)
    label_map[2:8, 2:8] = 1
    # Two pixels, one of them in few of the crops: most see its box but no pixel.
    label_map[5, size // 2] = label_map[size - 5, size // 2] = 2
    folder = tmp_path / 'raw' / 'train' / 'a'
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / 'image.tif', np.zeros((size, size, 3), np.uint8), photometric='rgb')
    tifffile.imwrite(folder / 'class1.tif', label_map.astype(float))
    write_annotations(tmp_path / 'raw', tmp_path / 'train.json', ['a'])
    np.random.seed(0)
    dataset = DATASETS.build({**dataset_config, 'ann_file': str(tmp_path / 'train.json')})
    counts = set()
    for _ in range(40):
        sample = dataset.prepare_data(0)
        assert sample['inputs'].shape == (3, crop, crop)
        instances = sample['data_samples'].gt_instances
        assert len(instances.bboxes) == len(instances.labels) == len(instances.masks)
        assert (instances.masks.areas > 0).all()
        counts.add(len(instances.masks))
    assert 0 in counts and max(counts) > 0


class SixtyEpochsOfTenSteps(BaseLoop):
    max_epochs, max_iters, dataloader = 60, 600, [None] * 10

    def run(self):
        pass


@pytest.mark.parametrize('config', [path for path in CONFIGS if 'tv-v2' not in path.stem], indirect=True,
                         ids=lambda path: path.stem)
def test_the_learning_rate_follows_the_length_of_the_training(config):
    config.train_cfg.max_epochs = 60
    runner = Runner.__new__(Runner)
    runner._train_loop = SixtyEpochsOfTenSteps.__new__(SixtyEpochsOfTenSteps)
    runner.logger = logging.getLogger('test')
    wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), config.optim_wrapper)
    runner.optim_wrapper = wrapper
    schedulers = runner.build_param_scheduler(config.param_scheduler)
    rates = []
    for _ in range(600):
        rates.append(wrapper.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[300] > .3 * max(rates)
    assert rates[450] > .05 * max(rates)
    assert rates[-1] < .01 * max(rates)


@pytest.mark.parametrize(('name', 'factors'), [('mask-rcnn_r50_tv-v2', {79: 1, 80: .1, 89: .1, 90: .01, 99: .01}),
                                               ('mask-rcnn_r50_tv-v2_constant-lr', {0: 1, 85: 1, 99: 1})])
def test_learning_rates_with_steps_at_80_and_90_percent_and_without(name, factors):
    config = Config.fromfile(REPO / 'configs' / 'cell' / f'{name}.py')
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), config.optim_wrapper.optimizer.lr)
    [scheduler] = [PARAM_SCHEDULERS.build(dict(**scheduler, optimizer=optimizer))
                   for scheduler in config.param_scheduler]
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert len(rates) == 100
    assert {epoch: rates[epoch] for epoch in factors} == pytest.approx({e: .005 * f for e, f in factors.items()})


def test_the_data_sets_build(config, raw_root, tmp_path, monkeypatch):
    root, _ = raw_root
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val', 'test'):
        dataset = _innermost(config[f'{split}_dataloader'].dataset)
        write_annotations(root, tmp_path / Path(dataset.ann_file), ['a', 'b', 'c', 'd'])
        built = DATASETS.build(dataset)
        assert built.metainfo['classes'] == ('a', 'b', 'c', 'd')
        item = built[0]
        assert item['inputs'].dtype == torch.uint8 and item['inputs'].shape[0] == 3
        assert item['data_samples'].img_id > 0
