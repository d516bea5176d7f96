"""Augmentations give the same samples by the seed of their index, in this process and in worker processes."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope

import mmcell  # noqa: F401
from mmcell.framework.randomness import SeededIndex

ALL = [dict(type='StainJitter', alpha=.2, beta=.1), dict(type='ElasticDeformation', prob=.8),
       dict(type='ScaleJitterCrop', crop_size=(32, 32)), dict(type='DefocusBlur', prob=.6),
       dict(type='ImageNoise', prob=.8), dict(type='GammaJitter'), dict(type='JPEGArtefacts', prob=.6),
       dict(type='StainNormalization')]


@pytest.mark.parametrize('n_workers', [0, 2])
def test_samples_depend_only_on_the_seed_of_their_index(annotation_file, n_workers):
    init_default_scope('mmdet')
    dataset = DATASETS.build(ConfigDict(
        type='CellDataset', ann_file=str(annotation_file),
        pipeline=[dict(type='LoadTiff'), dict(type='LoadCellAnnotations'), *ALL, dict(type='PackCellInputs')]))
    indices = [SeededIndex(number % 2, seed=number // 2 % 3 + 7) for number in range(12)]

    def load(order):
        loader = torch.utils.data.DataLoader(dataset, sampler=[indices[place] for place in order],
                                             num_workers=n_workers, collate_fn=pseudo_collate)
        return {place: batch['inputs'][0].numpy() for place, batch in zip(order, loader, strict=True)}

    np.random.seed(n_workers)
    forward, backward = load(range(12)), load(range(11, -1, -1))
    for place in range(12):
        np.testing.assert_array_equal(forward[place], backward[place])
        np.testing.assert_array_equal(forward[place], forward[place % 6])
        np.testing.assert_array_equal(forward[place], dataset[indices[place]]['inputs'].numpy())
    # Other seeds give other samples of the same image.
    assert len({forward[place].tobytes() for place in (0, 2, 4)}) == 3
