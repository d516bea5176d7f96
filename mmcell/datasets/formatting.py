"""The last transform."""

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackCellInputs(PackDetInputs):
    """``PackDetInputs`` that takes images with a side of one pixel.

    Flipped, such an image has a negative stride, but NumPy calls it contiguous all the same: the stock transform
    passes it to torch, which refuses it.

    Required, modified and added keys, and arguments: as ``mmdet.datasets.transforms.PackDetInputs``.
    """

    def transform(self, results: dict) -> dict:
        """Packs the sample; the image is copied where a stride is negative."""
        if 'img' in results and min(results['img'].strides) < 0:
            results['img'] = np.array(results['img'], order='C')
        return super().transform(results)
