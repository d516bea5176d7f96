"""Samplers whose indices carry a seed for the augmentation of the sample."""

from collections.abc import Iterator, Sized
from itertools import islice

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmcell.framework.randomness import SAMPLE, SeededIndex, derive_seed


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
