"""The last transform of a pipeline, which packs a sample for the model."""

from collections.abc import Sequence

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackCellInputs(PackDetInputs):
    """``PackDetInputs`` that also records how ``LoadTiff`` read the image, and accepts images with a side of one pixel.

    A flipped image with a side of one pixel has a negative stride, although NumPy calls it contiguous. The stock
    transform therefore passes it to torch as it is, and torch refuses negative strides.

    MMDetection's ``inference_detector`` loads arrays itself, as BGR and without ``scale_factor``. Such an image, which
    has no path and was not loaded by ``LoadTiff``, is turned to RGB, and its scale is 1 unless it was resized. A
    pipeline whose model gets BGR from MMDetection's own loader needs ``PackDetInputs``.

    Required, modified and added keys: the keys of ``mmdet.datasets.transforms.PackDetInputs``.

    Args:
        meta_keys: Keys of the sample that are copied to the meta information. Keys that the sample lacks are skipped.
    """

    def __init__(self, meta_keys: Sequence[str] = (
            'img_id', 'img_path', 'channel_order', 'percentiles', 'ori_shape', 'img_shape', 'scale_factor', 'flip',
            'flip_direction')) -> None:
        super().__init__(meta_keys)

    def transform(self, results: dict) -> dict:
        """Packs the sample; an image with a negative stride is copied first."""
        results.setdefault('scale_factor', (1., 1.))
        if 'channel_order' not in results and results.get('img_path', '') is None:
            results['img'] = results['img'][:, :, ::-1]
        if 'img' in results and min(results['img'].strides) < 0:
            results['img'] = np.array(results['img'], order='C')
        return super().transform(results)
