"""A transform that limits the size of images."""

import mmcv
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CapLongSide(BaseTransform):
    """Shrinks an image whose longer side exceeds a limit; smaller images keep their size.

    ``Resize`` with ``keep_ratio`` would also enlarge small images, and their cells with them.

    Required and modified keys: the keys of ``mmdet.datasets.transforms.Resize``. Added keys: scale_factor.

    Args:
        max_side: The greatest length of the longer side in px.
        kwargs: Further arguments of ``Resize``, for example ``interpolation``.

    Raises:
        ValueError: ``max_side`` is not a whole number of at least 1.
    """

    def __init__(self, max_side: int, **kwargs) -> None:
        if not isinstance(max_side, int) or max_side < 1:
            raise ValueError(f'max_side must be a whole number of px, at least 1, got {max_side}')
        self.max_side = max_side
        self.kwargs = kwargs

    def transform(self, results: dict) -> dict:
        """Resizes image, boxes, masks and segmentation maps if the image is too large."""
        height, width = results['img'].shape[:2]
        if max(height, width) > self.max_side:
            new_width, new_height = mmcv.rescale_size((width, height), (self.max_side, self.max_side))
            # The short side of a long thin image must keep at least one pixel.
            scale = max(new_width, 1), max(new_height, 1)
            return Resize(scale=scale, keep_ratio=False, **self.kwargs)(results)
        results.setdefault('scale_factor', (1., 1.))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_side={self.max_side})'
