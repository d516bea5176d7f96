"""Samples made of several images."""

from mmdet.datasets import MultiImageMixDataset
from mmdet.registry import DATASETS

from mmcell.framework.randomness import SeededIndex, own_randomness


@DATASETS.register_module()
class CellMixDataset(MultiImageMixDataset):
    """``MultiImageMixDataset`` whose samples depend on the seed of their index alone, where it carries one.

    The stock class draws the other images, and augments them, with whatever the worker's generators have come to, so
    that a resumed training sees other samples. Indices get seeds from :class:`mmcell.datasets.SeededSampler`.

    Args:
        dataset, pipeline, skip_type_keys, max_refetch, lazy_init: as ``MultiImageMixDataset``.
    """

    def __getitem__(self, idx: int) -> dict:
        """The mixed sample."""
        if not isinstance(idx, SeededIndex):
            return super().__getitem__(idx)
        with own_randomness(idx.seed):
            # Without its seed, which would make the first image's draws the mix's, too.
            return super().__getitem__(int(idx))
