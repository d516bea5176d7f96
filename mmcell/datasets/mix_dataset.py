"""The data set for augmentations that combine several images."""

from mmdet.datasets import MultiImageMixDataset
from mmdet.registry import DATASETS

from mmcell.framework.randomness import SeededIndex, own_randomness


@DATASETS.register_module()
class CellMixDataset(MultiImageMixDataset):
    """``MultiImageMixDataset`` whose samples depend only on the seed that their index carries.

    :class:`mmcell.datasets.SeededSampler` gives the indices their seeds. Indices without a seed are handled as in the
    stock class, which chooses and augments the other images with the current state of the worker's random generators:
    a resumed training would then see other samples than a training without interruption.

    Args:
        dataset, pipeline, skip_type_keys, max_refetch, lazy_init: The arguments of ``MultiImageMixDataset``.
    """

    def __getitem__(self, idx: int) -> dict:
        """Returns the mixed sample."""
        if not isinstance(idx, SeededIndex):
            return super().__getitem__(idx)
        with own_randomness(idx.seed):
            # The seed is taken off the index here. Otherwise the wrapped data set would seed its first image with it
            # again, and that image would get the same random numbers as the mix.
            return super().__getitem__(int(idx))
