"""Samplers whose indices carry the seed of the sample's augmentation."""

from collections.abc import Iterator, Sized

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmcell.framework.randomness import SAMPLE, SeededIndex, derive_seed


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """``DefaultSampler`` with a seed for each sample, from the seed of the run, epoch and position in the epoch.

    Data sets that know of it (:class:`mmcell.datasets.CellDataset`) augment with that seed: the result does not
    depend on the number of workers or processes, or on where the training was resumed.

    Args:
        times: passes over the data set in one epoch; each pass is shuffled by itself.
        dataset, shuffle, seed, round_up: as ``DefaultSampler``.
    """

    def __init__(self, dataset: Sized, times: int = 1, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        if times < 1:
            raise ValueError(f'times must be at least 1, got {times}')
        self.times = times

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch = self.epoch
        position = self.rank
        for time in range(self.times):
            for index in self._pass(epoch * self.times + time):
                yield SeededIndex(index, derive_seed(SAMPLE, self.seed, epoch, position))
                position += self.world_size

    def _pass(self, number: int) -> Iterator[int]:
        epoch, self.epoch = self.epoch, number
        indices = super().__iter__()  # shuffled at once, by seed and self.epoch
        self.epoch = epoch
        return indices

    def __len__(self) -> int:
        return self.times * super().__len__()


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """``InfiniteSampler``, for iteration-based training, with a seed for each sample as :class:`SeededSampler`."""

    def __iter__(self) -> Iterator[SeededIndex]:
        position = self.rank + self.world_size * self._n_skipped
        for index in super().__iter__():
            yield SeededIndex(index, derive_seed(SAMPLE, self.seed, 0, position))
            position += self.world_size

    _n_skipped = 0

    def skip(self, num_samples: int) -> None:
        """Goes to the position of this process after ``num_samples`` samples, counted from the start."""
        super().skip(num_samples)
        self._n_skipped = num_samples
