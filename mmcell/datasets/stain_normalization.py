"""The transform that gives all images the same stains, for training and prediction alike."""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmcell.datasets.appearance import check_uint8
from mmcell.images import stain_normalization
from mmcell.images.image_file import read_image
from mmcell.images.stain_normalization import ColorTarget, StainTarget

# Per method: how a target is made from an image, its standard, and how an image is changed to it.
_METHODS = {
    'macenko': (stain_normalization.estimate_stains, stain_normalization.STANDARD_STAINS, StainTarget,
                stain_normalization.normalize_stains),
    'reinhard': (stain_normalization.measure_colors, stain_normalization.STANDARD_COLORS, ColorTarget,
                 stain_normalization.normalize_colors),
}
_SHAPES = dict(stains=(2, 3), amounts=(2,), means=(3,), deviations=(3,))


@TRANSFORMS.register_module()
class StainNormalization(BaseTransform):
    """Gives images the stains ('macenko') or colours ('reinhard') of one target, so that laboratories look alike.

    **It can hurt**: Vu et al. (arXiv 2301.03418) found that it can make models that segment and classify nuclei worse.
    Compare with and without it on validation images, and with ``StainJitter``, which needs nothing at test time.

    **It belongs in the training and in the test pipeline**, with the same arguments, directly behind ``LoadTiff``:
    what is measured in a crop differs from what is measured in the image. Because the test pipeline then changes
    images, images that are too large to be predicted as a whole are refused.

    Nothing is random. Images without two stains (dark ones such as fluorescence, grey or empty ones, and those of one
    colour) are left as they are. Boxes and masks are not touched.

    Required and modified key: img, (H, W, 3) uint8 RGB.

    Args:
        method: 'macenko' (:func:`mmcell.images.stain_normalization.normalize_stains`) or 'reinhard'
            (:func:`mmcell.images.stain_normalization.normalize_colors`).
        target: What images are to look like. None takes the standard target of the method, whose source is stated in
            :mod:`mmcell.images.stain_normalization`. A path names an image, which must be there at each training and
            prediction. A dict holds the numbers of one, as ``repr`` of this transform shows them: ``stains`` and
            ``amounts`` for 'macenko', ``means`` and ``deviations`` for 'reinhard'.
        target_channel_order: The order of the channels in the file of the target, 'rgb' or 'bgr'.

    Raises:
        ValueError: ``method`` or ``target`` is not as above, or the image of the target has no two stains.
        ImageReadError: The image of the target cannot be read.
        FileNotFoundError: The image of the target does not exist.
    """

    def __init__(self, method: str = 'macenko', target: str | dict | None = None,
                 target_channel_order: str = 'rgb') -> None:
        if method not in _METHODS:
            raise ValueError(f'method must be one of {tuple(_METHODS)}, got {method!r}')
        self.method = method
        measure, standard, kind, self._normalize = _METHODS[method]
        if target is None:
            self.target = standard
        elif isinstance(target, str | Path):
            self.target = measure(read_image(target, target_channel_order))
            if self.target is None:
                raise ValueError('target must show stained tissue in transmitted light, but no stains were found in '
                                 f'{target}: it is dark, grey or empty, or has one colour')
        else:
            self.target = _to_target(kind, target)

    def transform(self, results: dict) -> dict:
        """Normalises the image of the sample."""
        check_uint8('StainNormalization', results['img'])
        results['img'] = self._normalize(results['img'], self.target)
        return results

    def __repr__(self) -> str:
        numbers = ', '.join(f'{name}={np.round(values, 4).tolist()}' for name, values in vars(self.target).items())
        return f'{type(self).__name__}(method={self.method!r}, target=dict({numbers}))'


def _to_target(kind: type[StainTarget | ColorTarget], numbers: dict) -> StainTarget | ColorTarget:
    """Returns the target that a dict describes.

    Raises:
        ValueError: The keys or shapes are wrong, or numbers that must be positive are not.
    """
    shapes = {name: _SHAPES[name] for name in kind.__dataclass_fields__}
    if set(numbers) != set(shapes):
        raise ValueError(f'target must be a path, or a dict with the keys {sorted(shapes)}, got {sorted(numbers)}')
    arrays = {name: np.array(values, float) for name, values in numbers.items()}
    for name, values in arrays.items():
        if values.shape != shapes[name] or not np.isfinite(values).all():
            raise ValueError(f'{name} of target must be {shapes[name]} numbers, got {numbers[name]}')
    if min(arrays['amounts' if kind is StainTarget else 'deviations']) <= 0:
        raise ValueError(f'amounts and deviations of target must be above 0, got {numbers}')
    if kind is StainTarget:
        lengths = np.linalg.norm(arrays['stains'], axis=1, keepdims=True)
        if not lengths.all() or np.linalg.matrix_rank(arrays['stains']) < 2:
            raise ValueError(f'stains of target must be two different directions, got {numbers["stains"]}')
        arrays['stains'] = arrays['stains'] / lengths
    return kind(**arrays)
