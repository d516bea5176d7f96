"""Sizes of images."""

from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CapLongSide(BaseTransform):
    """Shrinks an image whose longer side is over a limit; smaller images keep their size.

    ``Resize`` with ``keep_ratio`` would enlarge small images, and their cells with them.

    Required and modified keys: as ``mmdet.datasets.transforms.Resize``. Added keys: scale_factor.

    Args:
        max_side: limit of the longer side in px.
        kwargs: as ``Resize``, ``interpolation`` for example.
    """

    def __init__(self, max_side: int, **kwargs) -> None:
        if max_side < 1:
            raise ValueError(f'max_side must be at least 1 px, got {max_side}')
        self.max_side = max_side
        self.resize = Resize(scale=(max_side, max_side), keep_ratio=True, **kwargs)

    def transform(self, results: dict) -> dict:
        """Resizes image, boxes, masks and segmentation maps, if at all."""
        if max(results['img'].shape[:2]) > self.max_side:
            return self.resize(results)
        results.setdefault('scale_factor', (1., 1.))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_side={self.max_side})'
