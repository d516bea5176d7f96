"""Randomness that depends on a seed and a position alone: a resumed training goes on as if it had never stopped.

mmengine saves no generator state, seeds the workers of a data loader alike in every epoch, and lets persistent ones go
on from wherever they are. Here each sample and each training step has a seed of its own, whatever the number of
workers and wherever the training was resumed.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# First parts of the seeds of samples and of training steps, which must not coincide.
SAMPLE, STEP = 0, 1


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2**64) for a tuple of integers in [0, 2**32); near tuples give unrelated seeds (SeedSequence)."""
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0])


def seed_generators(seed: int) -> None:
    """Seeds Python's, NumPy's (legacy) and torch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's CPU generators for a block, and gives them their old state afterwards."""
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
    """The index of a sample with the seed of its augmentation; survives pickling to a worker.

    Differences and remainders keep the seed: so mmengine's ConcatDataset and RepeatDataset find the index in a part.

    Attributes:
        seed: in [0, 2**64).
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        """An index that carries a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.seed

    def __sub__(self, other: int) -> 'SeededIndex':
        return SeededIndex(int(self) - other, self.seed)

    def __mod__(self, other: int) -> 'SeededIndex':
        return SeededIndex(int(self) % other, self.seed)
