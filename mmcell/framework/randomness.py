"""Random numbers that depend only on a seed and a position, so that a resumed training continues exactly.

MMEngine does not save the state of random generators. It seeds the workers of a data loader in the same way in every
epoch, and persistent workers continue with whatever state they have. Here, each sample and each training step has its
own seed, independent of the number of workers and of the step at which the training was resumed.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# The first number in the tuple that a seed is derived from, so that seeds of samples, of steps, and of the order of
# images do not coincide.
SAMPLE, STEP, ORDER = 0, 1, 2


def derive_seed(*parts: int) -> int:
    """Returns a seed in [0, 2**64) for a tuple of integers in [0, 2**32).

    Similar tuples give unrelated seeds; NumPy's SeedSequence is designed for that.
    """
    # The length is hashed as well, because SeedSequence treats (0,) and (0, 0) as the same.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0])


def seed_generators(seed: int) -> None:
    """Seeds the global generators of Python, of NumPy (the legacy generator) and of torch (on every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeds the global CPU generators of Python, NumPy and torch for a block and restores their state afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededIndex(int):
    """Index of a sample that carries the seed of its augmentation, also when it is pickled for a worker.

    Differences and remainders keep the seed, because MMEngine's ConcatDataset and RepeatDataset compute the index
    inside one of their parts with these operations.

    Attributes:
        seed: Seed in [0, 2**64).
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        """Makes an index that carries a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.seed

    def __sub__(self, other: int) -> 'SeededIndex':
        return SeededIndex(int(self) - other, self.seed)

    def __mod__(self, other: int) -> 'SeededIndex':
        return SeededIndex(int(self) % other, self.seed)
