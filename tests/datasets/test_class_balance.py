"""Images with rare classes are drawn more often: weights, draws, and the samplers that use them."""

import numpy as np
import pytest
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from mmengine.logging import MMLogger
from scipy.stats import chisquare
from support.samplers import in_process, pairs

from mmcell.datasets import ClassBalancedInfiniteSampler, ClassBalancedSampler
from mmcell.datasets.class_balance import class_factors, count_cells, draw_by_weight, image_weights

# Cells of three classes in six images. Class 2 is rare, and in two images only.
COUNTS = np.array([[9, 0, 0], [50, 20, 0], [0, 0, 0], [30, 10, 1], [0, 70, 0], [1, 5, 4]])


class Images(BaseDataset):
    """Images with the cells of ``COUNTS``, in reverse order of classes, and an ignored cell each."""

    METAINFO = dict(classes=('a', 'b', 'c'))

    def load_data_list(self):
        return [dict(instances=[dict(bbox_label=label, ignore_flag=0) for label in np.repeat(range(3), row)[::-1]]
                     + [dict(bbox_label=2, ignore_flag=1)]) for row in COUNTS]

    def get_cat_ids(self, index):
        return [cell['bbox_label'] for cell in self.get_data_info(index)['instances'] if not cell['ignore_flag']]

    def __getitem__(self, index):
        return int(index), index.seed


def test_cells_are_counted_also_through_wrappers():
    np.testing.assert_array_equal(count_cells(Images()), COUNTS)
    np.testing.assert_array_equal(count_cells(RepeatDataset(Images(), 2)), np.tile(COUNTS, (2, 1)))
    np.testing.assert_array_equal(count_cells(ConcatDataset([Images(), Images()])), np.tile(COUNTS, (2, 1)))


def test_cells_of_an_annotation_file_are_counted(annotation_file):
    dataset = dict(type='CellDataset', ann_file=str(annotation_file), pipeline=[], _scope_='mmdet')
    mixed = DATASETS.build(dict(type='CellMixDataset', dataset=dataset, pipeline=[], _scope_='mmdet'))
    np.testing.assert_array_equal(count_cells(mixed), [[2, 1], [1, 0]])


def test_factors_follow_the_formula():
    counts = np.array([[5, 40, 0, 0], [10, 35, 10, 0]])
    np.testing.assert_allclose(class_factors(counts), [(25 / 15) ** .5, 1, 2.5 ** .5, 1])
    np.testing.assert_allclose(class_factors(counts, threshold=.15), [1, 1, 1.5 ** .5, 1])
    np.testing.assert_allclose(class_factors(counts, threshold=.1501)[0], (.1501 / .15) ** .5)
    np.testing.assert_allclose(class_factors(counts, threshold=1., max_factor=2), [2, (4 / 3) ** .5, 2, 1])
    assert (class_factors(np.zeros((3, 4), int)) == 1).all() and (class_factors(np.zeros((0, 2), int)) == 1).all()


@pytest.mark.parametrize('threshold', [.1, .5, .7, 1.])
def test_factors_by_images_are_those_of_mmengine(threshold):
    stock = ClassBalancedDataset(Images(), oversample_thr=threshold)
    ours = image_weights(COUNTS, class_factors(COUNTS, threshold, max_factor=99, unit='images'))
    np.testing.assert_allclose(ours, stock._get_repeat_factors(Images(), threshold))


def test_an_image_has_the_weight_of_its_rarest_class():
    assert image_weights(COUNTS, np.array([1, 1.5, 4])).tolist() == [1, 1.5, 1, 4, 1.5, 4]
    assert image_weights(np.zeros((0, 3), int), np.ones(3)).tolist() == []


def test_equal_weights_give_permutations():
    for n_images in (0, 1, 2, 27, 209):
        orders = {tuple(draw_by_weight(np.full(n_images, 1.21), np.random.default_rng(seed))) for seed in range(20)}
        assert all(sorted(order) == list(range(n_images)) for order in orders)
        assert len(orders) > 10 or n_images < 3


def test_each_image_is_drawn_its_expected_number_of_times_rounded_down_or_up():
    weights = np.random.default_rng(0).uniform(1, 5, 40)
    expected = 40 * weights / weights.sum()
    counts = np.array([np.bincount(draw_by_weight(weights, np.random.default_rng(seed)), minlength=40)
                       for seed in range(2000)])
    assert (counts.sum(axis=1) == 40).all()
    assert ((counts == np.floor(expected)) | (counts == np.ceil(expected))).all()
    # A count is one of two neighbouring numbers, so that its standard deviation is at most 1/2.
    assert np.abs(counts.mean(axis=0) - expected).max() < 4.5 * .5 / 2000 ** .5


@pytest.mark.parametrize('place', [0, 4, -1])
def test_every_place_of_a_pass_has_the_distribution_of_the_weights(place):
    weights = np.array([1, 3, 1, 2.5, 1, 1])
    drawn = [draw_by_weight(weights, np.random.default_rng(seed))[place] for seed in range(3000)]
    assert chisquare(np.bincount(drawn, minlength=6), 3000 * weights / weights.sum()).pvalue > .001


def sampler_of(rank=0, world_size=1, epoch=0, kind=ClassBalancedSampler, **kwargs):
    return in_process(kind(Images(), seed=2, **kwargs), rank, world_size, len(COUNTS), epoch)


def test_epochs_have_the_length_of_the_data_and_the_expected_proportions():
    sampler = sampler_of(times=2)
    np.testing.assert_allclose(sampler.weights, image_weights(COUNTS, class_factors(COUNTS)))
    drawn = []
    for epoch in range(400):
        sampler.set_epoch(epoch)
        drawn.append([index for index, _ in pairs(sampler)])
        assert len(drawn[-1]) == len(sampler) == 12
    expected = 4800 * sampler.weights / sampler.weights.sum()
    np.testing.assert_allclose(np.bincount(np.ravel(drawn), minlength=6), expected, rtol=.05)
    assert len(set(map(tuple, drawn))) > 390 and drawn[0][:6] != drawn[0][6:]


@pytest.mark.parametrize('world_size', [2, 4])
@pytest.mark.parametrize('epoch', [0, 3])
def test_processes_together_draw_what_a_single_process_draws(world_size, epoch):
    single = pairs(sampler_of(epoch=epoch))
    shards = [pairs(sampler_of(rank, world_size, epoch)) for rank in range(world_size)]
    together = [pair for row in zip(*shards, strict=True) for pair in row]
    assert together[:6] == single
    # Four processes need eight samples: the first two are repeated, with seeds of their own.
    assert [index for index, _ in together[6:]] == [index for index, _ in single[:len(together) - 6]]
    assert len({seed for _, seed in together}) == len(together)


def test_a_resumed_epoch_continues_with_the_same_samples():
    whole = pairs(sampler_of(epoch=1, times=2))
    resumed = sampler_of(epoch=1, times=2)
    resumed.skip(7)
    assert pairs(resumed, 5) == whole[7:]
    assert pairs(resumed) == whole


def test_an_infinite_sampler_draws_the_same_images_and_continues_where_it_stopped():
    single = pairs(sampler_of(kind=ClassBalancedInfiniteSampler), 24)
    passes = [index for epoch in range(4) for index, _ in pairs(sampler_of(epoch=epoch))]
    assert [index for index, _ in single] == passes
    shards = [pairs(sampler_of(rank, 2, kind=ClassBalancedInfiniteSampler), 12) for rank in range(2)]
    assert [pair for both in zip(*shards, strict=True) for pair in both] == single
    resumed = sampler_of(1, 2, kind=ClassBalancedInfiniteSampler)
    resumed.skip(7)
    assert pairs(resumed, 5) == shards[1][7:]
    assert isinstance(resumed, InfiniteSampler)


@pytest.mark.parametrize('kind', ['ClassBalancedSampler', 'ClassBalancedInfiniteSampler'])
@pytest.mark.parametrize('arguments, message', [
    (dict(threshold=2), 'threshold must be None or from 0 to 1, got 2'),
    (dict(max_factor=.5), 'max_factor must be at least 1, got 0.5'),
    (dict(unit='pixels'), "unit must be 'cells' or 'images', got 'pixels'"),
    (dict(shuffle=False), 'shuffle must be True')])
def test_wrong_arguments_are_refused(kind, arguments, message):
    assert DATA_SAMPLERS.build(dict(type=kind, dataset=Images(), seed=0)).weights.max() > 1
    with pytest.raises(ValueError, match=message):
        DATA_SAMPLERS.build(dict(type=kind, dataset=Images(), seed=0, **arguments))


def test_the_log_says_what_happens_to_the_classes(monkeypatch):
    messages = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', messages.append)
    sampler = ClassBalancedSampler(Images(), max_factor=3, seed=0)
    (message,) = messages
    share = (sampler.weights @ COUNTS)[2] / (sampler.weights @ COUNTS).sum()
    assert 'up to 3.00 times as often' in message and f'c 2.5% -> {share:.1%}' in message and share > .03
