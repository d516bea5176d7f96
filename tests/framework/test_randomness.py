"""Seeds of samples and steps, and the samplers that hand them to data sets."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import BaseDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from support.samplers import in_process, pairs

from mmcell.datasets import SeededInfiniteSampler, SeededSampler
from mmcell.framework.randomness import SeededIndex, derive_seed, own_randomness, seed_generators


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeds_depend_on_every_part():
    seeds = [derive_seed(*parts) for parts in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 0), (0,), (2**31, 5))]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(1, 2) == derive_seed(1, 2)


def test_the_same_seed_gives_the_same_random_numbers():
    seed_generators(derive_seed(5))
    first = draw()
    draw()
    seed_generators(derive_seed(5))
    assert draw() == first
    seed_generators(derive_seed(6))
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_a_seeded_block_restores_the_generators():
    seed_generators(1)
    expected = [draw(), draw()]
    seed_generators(1)
    drawn = [draw()]
    with own_randomness(99):
        inside = draw()
    with pytest.raises(KeyError), own_randomness(99):
        assert draw() == inside
        raise KeyError
    assert [*drawn, draw()] == expected


def test_an_index_keeps_its_seed_when_it_is_pickled():
    index = pickle.loads(pickle.dumps(SeededIndex(7, 2**63 + 1)))
    assert index == 7 and index.seed == 2**63 + 1
    assert list(range(10))[index] == 7


def test_wrapped_data_sets_pass_the_seed_on():
    class Part(BaseDataset):
        def load_data_list(self):
            return [dict(name=name) for name in 'abc']

        def __getitem__(self, index):
            return int(index), index.seed

    for wrapped in (RepeatDataset(Part(), 2), ConcatDataset([Part(), Part()])):
        assert [wrapped[SeededIndex(index, 5 + index)] for index in (1, 3, 5)] == [(1, 6), (0, 8), (2, 10)]


def sampler_of(rank, world_size, epoch=0, kind=SeededSampler, **kwargs):
    return in_process(kind(range(5), shuffle=True, seed=2, **kwargs), rank, world_size, 5, epoch)


def test_every_sample_of_every_epoch_has_its_own_seed():
    epochs = [pairs(sampler_of(0, 1, epoch, times=3)) for epoch in range(2)]
    assert [len(epoch) for epoch in epochs] == [15, 15]
    for epoch in epochs:
        for repetition in (epoch[:5], epoch[5:10], epoch[10:]):
            assert sorted(index for index, _ in repetition) == list(range(5))
    assert len({seed for epoch in epochs for _, seed in epoch}) == 30
    orders = {tuple(index for index, _ in epoch[start:start + 5]) for epoch in epochs for start in (0, 5, 10)}
    assert len(orders) > 3


def test_two_processes_together_draw_what_a_single_process_draws():
    single = pairs(sampler_of(0, 1))
    shards = [pairs(sampler_of(rank, 2)) for rank in range(2)]
    assert [pair for both in zip(*shards, strict=True) for pair in both][:5] == single


def test_an_infinite_sampler_continues_where_it_stopped():
    whole = pairs(sampler_of(1, 2, kind=SeededInfiniteSampler), 12)
    resumed = sampler_of(1, 2, kind=SeededInfiniteSampler)
    resumed.skip(7)
    assert pairs(resumed, 5) == whole[7:]
    stock = InfiniteSampler(range(5), seed=2)
    assert [index for index, _ in pairs(sampler_of(0, 1, kind=SeededInfiniteSampler), 12)] == [
        index for index, _ in zip(stock, range(12), strict=False)]


def test_the_sampler_is_registered_and_checks_times():
    assert len(DATA_SAMPLERS.build(dict(type='SeededSampler', dataset=range(4), times=2, seed=0))) == 8
    with pytest.raises(ValueError, match='times must be at least 1, got 0'):
        SeededSampler(range(4), times=0, seed=0)
