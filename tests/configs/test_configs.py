"""Every config inherits from few files, and its data sets can be built and return samples."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import DATASETS
from support.configs import BASES, EXPERIMENTS, depth_of, load, path_of
from support.paths import REPO, tracked_files
from support.synthetic_data import write_annotations

SIDE = 96


@pytest.fixture(params=[name for name in EXPERIMENTS if name.startswith('cell/')])
def config(request):
    return load(request.param)


def test_the_list_of_configs_is_complete():
    listed = {f'configs/{name}.py' for name in [*BASES, *EXPERIMENTS]}
    assert [name for name in sorted(listed) if not (REPO / name).is_file()] == []
    assert sorted(set(tracked_files('configs/*.py')) - listed) == [], 'add them to tests/support/configs.py'


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_inheritance_is_at_most_three_levels(name):
    assert 1 < depth_of(path_of(name)) <= 3


def test_only_one_base_imports_mmcell():
    importing = [name for name in [*BASES, *EXPERIMENTS] if 'custom_imports' in path_of(name).read_text()]
    assert importing == ['_base_/runtime']


def _innermost(dataset):
    """The data set inside wrappers, with packed samples; those of a wrapper that mixes images are packed later."""
    if 'dataset' in dataset:
        return _innermost(dataset.dataset)
    is_packed = dataset.pipeline[-1].type == 'PackCellInputs'
    return dataset if is_packed else {**dataset, 'pipeline': [*dataset.pipeline, dict(type='PackCellInputs')]}


seen_pipelines = set()


def test_samples_keep_no_empty_mask_and_crops_may_be_without_cells(config, tmp_path):
    dataset_config = _innermost(config.train_dataloader.dataset)
    if str(dataset_config['pipeline']) in seen_pipelines:
        return
    seen_pipelines.add(str(dataset_config['pipeline']))
    crop = next((step['crop_size'][0] for step in dataset_config['pipeline'] if step['type'] == 'RandomCrop'), None)
    size = (crop or SIDE) + 88
    label_map = np.zeros((size, size), int)
    label_map[2:8, 2:8] = 1
    # A cell of two distant pixels: most crops overlap its box but contain none of its pixels.
    label_map[5, size // 2] = label_map[size - 5, size // 2] = 2
    folder = tmp_path / 'raw' / 'train' / 'a'
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / 'image.tif', np.zeros((size, size, 3), np.uint8), photometric='rgb')
    tifffile.imwrite(folder / 'class1.tif', label_map.astype(float))
    write_annotations(tmp_path / 'raw', tmp_path / 'train.json', ['a'])
    np.random.seed(0)
    dataset = DATASETS.build({**dataset_config, 'ann_file': str(tmp_path / 'train.json')})
    counts = set()
    for _ in range(40 if crop else 4):
        sample = dataset.prepare_data(0)
        assert crop is None or sample['inputs'].shape == (3, crop, crop)
        instances = sample['data_samples'].gt_instances
        assert len(instances.bboxes) == len(instances.labels) == len(instances.masks)
        assert (instances.masks.areas > 0).all()
        counts.add(len(instances.masks))
    assert max(counts) > 0
    assert crop is None or 0 in counts


def test_the_data_sets_build(config, raw_root, tmp_path, monkeypatch):
    root, _ = raw_root
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val', 'test'):
        dataset = _innermost(config[f'{split}_dataloader'].dataset)
        write_annotations(root, tmp_path / Path(dataset['ann_file']), ['a', 'b', 'c', 'd'])
        built = DATASETS.build(dataset)
        assert built.metainfo['classes'] == ('a', 'b', 'c', 'd')
        item = built[0]
        assert item['inputs'].dtype == torch.uint8 and item['inputs'].shape[0] == 3
        assert item['data_samples'].img_id > 0
