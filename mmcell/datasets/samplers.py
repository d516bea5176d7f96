"""Samplers whose indices carry a seed for the augmentation of the sample."""

from collections.abc import Iterator, Sized
from itertools import count, islice

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.logging import MMLogger

from mmcell.datasets.class_balance import class_factors, count_cells, draw_by_weight, image_weights
from mmcell.datasets.class_order import class_names
from mmcell.framework.randomness import ORDER, SAMPLE, SeededIndex, derive_seed


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """``DefaultSampler`` that seeds each sample from the seed of the run, the epoch and the position in the epoch.

    Data sets that support it (:class:`mmcell.datasets.CellDataset`) augment with this seed. The samples then do not
    depend on the number of workers or processes, or on where the training was resumed.

    Args:
        times: The number of passes over the data set in one epoch. Each pass is shuffled separately.
        dataset, shuffle, seed, round_up: The arguments of ``DefaultSampler``.

    Raises:
        ValueError: ``times`` is less than 1.
    """

    def __init__(self, dataset: Sized, times: int = 1, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        if times < 1:
            raise ValueError(f'times must be at least 1, got {times}')
        self.times = times
        self._n_skipped = 0

    def skip(self, num_samples: int) -> None:
        """Leaves out the first ``num_samples`` samples of this process in the next epoch that is started."""
        self._n_skipped = num_samples

    def __iter__(self) -> Iterator[SeededIndex]:
        # Positions count over all processes. With 2 processes, times=2 and 4 images, process 0 yields the samples at
        # the positions 0, 2, 4, 6 of the epoch and process 1 those at 1, 3, 5, 7. A single process yields all eight,
        # with the same seeds.
        samples = islice(self._samples(), self._n_skipped, None)
        self._n_skipped = 0
        return samples

    def _samples(self) -> Iterator[SeededIndex]:
        """Yields the samples of this process in the present epoch."""
        epoch = self.epoch
        position = self.rank
        for pass_in_epoch in range(self.times):
            for index in self._indices_of_pass(epoch * self.times + pass_in_epoch):
                yield SeededIndex(index, derive_seed(SAMPLE, self.seed, epoch, position))
                position += self.world_size

    def _indices_of_pass(self, pass_number: int) -> Iterator[int]:
        """Returns the indices of this process in one pass; passes are numbered from 0 over all epochs."""
        # The stock class shuffles at once, with a generator that is seeded from the seed and self.epoch.
        epoch, self.epoch = self.epoch, pass_number
        indices = super().__iter__()
        self.epoch = epoch
        return indices

    def __len__(self) -> int:
        return self.times * super().__len__()


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """``InfiniteSampler``, for iteration-based training, that seeds each sample as :class:`SeededSampler` does."""

    def __iter__(self) -> Iterator[SeededIndex]:
        position = self.rank + self.world_size * self._n_skipped
        for index in super().__iter__():
            yield SeededIndex(index, derive_seed(SAMPLE, self.seed, 0, position))
            position += self.world_size

    _n_skipped = 0

    def skip(self, num_samples: int) -> None:
        """Continues after the first ``num_samples`` samples of this process, counted from the start of the training."""
        super().skip(num_samples)
        self._n_skipped = num_samples


class _BalancedPasses:
    """Mixin for a sampler: in each pass, images with rare classes are drawn more often than others."""

    def __init__(self, dataset: BaseDataset, threshold: float | None = None, max_factor: float = 5.,
                 unit: str = 'cells', shuffle: bool = True, **kwargs) -> None:
        if not shuffle:
            raise ValueError('shuffle must be True: a class-balanced sampler has no fixed order')
        super().__init__(dataset, shuffle=shuffle, **kwargs)
        self._weigh(dataset, threshold, max_factor, unit)

    def _weigh(self, dataset: BaseDataset, threshold: float | None, max_factor: float, unit: str) -> None:
        """Stores the weights of the images, and logs what they do to the proportions of the classes."""
        counts = count_cells(dataset)
        factors = class_factors(counts, threshold, max_factor, unit)
        self.weights = image_weights(counts, factors)
        names = class_names(dataset.metainfo) or ()
        shares = [totals / max(totals.sum(), 1e-9) for totals in (counts.sum(axis=0), self.weights @ counts)]
        # Messages that go through print_log do not reach the screen.
        MMLogger.get_current_instance().info(
            f'{type(self).__name__} draws images with rare classes up to {self.weights.max(initial=1):.2f} times as '
            'often as others. Proportions of cells, in the data and as drawn: '
            + ', '.join(f'{name} {before:.1%} -> {after:.1%}'
                        for name, before, after in zip(names, *shares, strict=True)))

    def _draw_pass(self, pass_number: int) -> list[int]:
        """Returns the indices of all processes in one pass; passes are numbered from 0."""
        generator = np.random.default_rng(derive_seed(ORDER, self.seed, pass_number))
        return draw_by_weight(self.weights, generator).tolist()


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(_BalancedPasses, SeededSampler):
    """``SeededSampler`` that draws images with rare classes more often, in epochs of the same length.

    An image has the weight r = max(1, sqrt(t / f)) of its rarest class, where f is the fraction of the class among all
    cells (:func:`mmcell.datasets.class_balance.class_factors`). In a pass over N images, it is drawn N * r / sum(r)
    times, rounded down or up at random (:func:`mmcell.datasets.class_balance.draw_by_weight`). The first lines of a
    training say what this does to the proportions of the classes.

    MMEngine's ``ClassBalancedDataset`` has the same formula, but rounds up, so that all factors between 1 and 2 count
    as 2; it makes epochs longer, counts images instead of cells, and drops the seed that an index carries, so that a
    resumed training would not continue exactly. CellViT (Hörst et al. 2024, Med. Image Anal. 94, 103143) adds up a
    weight for every class that an image contains, so that images with several frequent classes are drawn more often,
    too.

    Args:
        dataset: The data set. The weights come from its cells, also through wrappers.
        threshold: t; classes with at least this fraction of the cells have the factor 1. None stands for
            1 / number of classes.
        max_factor: The greatest weight of an image; the smallest is 1.
        unit: 'cells', or 'images' for f as the fraction of images that contain the class, as in LVIS.
        times, seed, round_up: The arguments of :class:`SeededSampler`. There is no order without shuffling.

    Raises:
        ValueError: An argument is not one of those above, or ``shuffle`` is False.
    """

    def _indices_of_pass(self, pass_number: int) -> Iterator[int]:
        indices = self._draw_pass(pass_number)
        # As in DefaultSampler, the first samples are repeated if the processes cannot share all samples equally.
        n_repeats = -(-self.total_size // max(len(indices), 1))
        return iter((indices * n_repeats)[self.rank:self.total_size:self.world_size])


@DATA_SAMPLERS.register_module()
class ClassBalancedInfiniteSampler(_BalancedPasses, SeededInfiniteSampler):
    """``SeededInfiniteSampler``, for iteration-based training, that draws images as :class:`ClassBalancedSampler`.

    Args:
        dataset, threshold, max_factor, unit: The arguments of :class:`ClassBalancedSampler`.
        seed: The seed of the order of the images.

    Raises:
        ValueError: An argument is not one of those above, or ``shuffle`` is False.
    """

    def _infinite_indices(self) -> Iterator[int]:
        for pass_number in count():
            yield from self._draw_pass(pass_number)
