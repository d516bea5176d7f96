"""Images with hardly any pixels or cells, and batches of them, train and predict."""

import copy

import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from mmengine.runner import Runner
from support.paths import REPO
from support.synthetic_data import write_annotations

# Per image: its (height, width), and the cells of each class number as rectangles (y, x, height, width).
RECTANGLES = {
    'no cells': ((64, 64), {}),
    'no cells, odd shape': ((40, 71), {}),
    'one cell': ((64, 64), {1: [(20, 20, 12, 12)]}),
    'one pixel': ((1, 1), {}),
    'one pixel, one cell': ((1, 1), {2: [(0, 0, 1, 1)]}),
    'cells of one pixel': ((64, 64), {3: [(5 * i, 5 * i, 1, 1) for i in range(12)], 4: [(3, 50, 1, 1)]}),
    'one row': ((1, 200), {1: [(0, 10, 1, 20)]}),
    'one column': ((200, 1), {2: [(10, 0, 20, 1)]}),
    'one cell that fills the image': ((64, 64), {4: [(0, 0, 64, 64)]}),
}


@pytest.fixture
def ann_file(tmp_path, rng):
    for name, (shape, classes) in RECTANGLES.items():
        folder = tmp_path / 'raw' / 'train' / name
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / 'image.tif', rng.integers(0, 256, (*shape, 3), np.uint8), photometric='rgb')
        for number, rectangles in classes.items():
            label_map = np.zeros(shape, np.uint16)
            for label, (y, x, height, width) in enumerate(rectangles, start=1):
                label_map[y:y + height, x:x + width] = label
            tifffile.imwrite(folder / f'class{number}.tif', label_map)
    write_annotations(tmp_path / 'raw', tmp_path / 'train.json', ['a', 'b', 'c', 'd'])
    return tmp_path / 'train.json'


@pytest.mark.parametrize('batch_size', [pytest.param(1, marks=pytest.mark.slow), 3])
def test_degenerate_images_train_and_predict(ann_file, tmp_path, batch_size):
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py')
    loader = dict(num_workers=0, persistent_workers=False, dataset=dict(ann_file=str(ann_file)))
    cfg.merge_from_dict(dict(
        train_dataloader=copy.deepcopy(loader), val_dataloader=copy.deepcopy(loader), work_dir=str(tmp_path / 'run'),
        train_cfg=dict(max_epochs=1), model=dict(test_cfg=dict(rcnn=dict(score_thr=0., max_per_img=5))),
        log_level='WARNING', experiment_name=f'degenerate_{batch_size}'))
    cfg.train_dataloader.batch_size = batch_size
    cfg.train_dataloader.sampler.times = 1
    cfg.test_dataloader = None
    cfg.test_cfg = cfg.test_evaluator = None
    runner = Runner.from_cfg(cfg)
    predicted = []
    process = runner.val_loop.evaluator.process
    runner.val_loop.evaluator.process = lambda data_samples, data_batch=None: (
        predicted.extend(data_samples), process(data_samples, data_batch))
    runner.train()
    losses = runner.message_hub.log_scalars['train/loss'].data[0]
    assert len(losses) == -(-len(RECTANGLES) // batch_size) and np.isfinite(losses).all()
    assert len(predicted) == len(RECTANGLES)
    for sample, (_, (shape, _)) in zip(predicted, sorted(RECTANGLES.items()), strict=True):
        instances = sample.pred_instances
        assert len(instances.masks) == len(instances) <= 5
        assert {tuple(rle['size']) for rle in instances.masks} <= {shape}
