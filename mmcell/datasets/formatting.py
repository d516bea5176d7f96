"""The last transform."""

from collections.abc import Sequence

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackCellInputs(PackDetInputs):
    """``PackDetInputs`` that also tells how ``LoadTiff`` read the image, and takes images with a side of one pixel.

    Flipped, such an image has a negative stride, but NumPy calls it contiguous all the same: the stock transform
    passes it to torch, which refuses it.

    Required, modified and added keys: as ``mmdet.datasets.transforms.PackDetInputs``.

    Args:
        meta_keys: what goes into the meta information where the sample has it.
    """

    def __init__(self, meta_keys: Sequence[str] = (
            'img_id', 'img_path', 'channel_order', 'percentiles', 'ori_shape', 'img_shape', 'scale_factor', 'flip',
            'flip_direction')) -> None:
        super().__init__(meta_keys)

    def transform(self, results: dict) -> dict:
        """Packs the sample; the image is copied where a stride is negative."""
        if 'img' in results and min(results['img'].strides) < 0:
            results['img'] = np.array(results['img'], order='C')
        return super().transform(results)
