"""Samplers as processes of a distributed training have them, and what they draw."""

from mmengine.dataset import DefaultSampler


def in_process(sampler, rank, world_size, n_samples, epoch=0):
    """Returns a sampler as it is in one of several processes, in an epoch; infinite samplers have no epochs."""
    sampler.rank, sampler.world_size = rank, world_size
    if isinstance(sampler, DefaultSampler):
        sampler.num_samples = -(-n_samples // world_size)
        sampler.total_size = sampler.num_samples * world_size
        sampler.set_epoch(epoch)
    else:
        sampler.indices = sampler._indices_of_rank()
    return sampler


def pairs(sampler, n=None):
    """Returns the first n pairs of an index and its seed; None stands for one epoch."""
    return [(int(index), index.seed) for index, _ in zip(sampler, range(n or len(sampler)), strict=False)]
