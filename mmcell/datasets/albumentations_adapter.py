"""Transforms of the package Albumentations on label maps."""

import difflib
import inspect
from importlib import import_module
from types import ModuleType

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.errors import MmcellError
from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.layers import number_instances

# What masks are filled with outside the image. Only 0 is background.
_FILL_KEYS = ('fill_mask', 'mask_value', 'mask_fill_value')


class AlbumentationsError(MmcellError):
    """Albumentations is not installed, or has no such transform, or a transform gives what cells cannot have."""


@TRANSFORMS.register_module()
class Albumentations(BaseTransform):
    """Transforms of Albumentations, on an image and the label maps of its cells, however many cells there are.

    The label maps are passed as ``masks`` and sampled at the nearest pixel, so that every pixel keeps the id of its
    cell, and cells that overlap stay whole in their layers. Boxes are made from the masks. Cells without a pixel left
    are dropped. MMDetection's ``Albu`` passes one bitmap per cell instead, and gives boxes that are not tight.

    The package is no dependency of mmcell: ``pip install albumentations`` (MIT license; version 2.0.8 of 2025 is the
    last one). Its successor albumentationsx has the same interface, but the AGPL-3.0 license. The colours of the image
    are those that the loader gives, red, green, blue after ``LoadTiff``, as the package expects. Random choices depend
    only on NumPy's generator.

    Required keys: img: (H, W, 3) uint8; gt_masks (LabelMapMasks or BitmapMasks); optionally gt_bboxes,
    gt_bboxes_labels and gt_ignore_flags. Modified keys: all of these and img_shape.

    Args:
        transforms: The transforms, one after the other, as dicts: ``dict(type='ElasticTransform', alpha=50, p=.5)``.
            The other keys are arguments. Compositions are written in the same way:
            ``dict(type='OneOf', transforms=[…], p=.3)``.
        p: The probability that the transforms are applied, 0 to 1.

    Raises:
        AlbumentationsError: The package is not installed or has no such transform, a transform fills masks with
            another value than 0, or the image or the masks that a transform returns are not those of cells: an image
            that is not (H, W, 3) uint8, or label maps that are not integers or have new ids.
        ValueError: A sample has no masks or has a gt_seg_map, or the package refuses an argument.
    """

    def __init__(self, transforms: list[dict], p: float = 1.) -> None:
        self.transforms, self.p = transforms, p
        package = _import_package()
        steps = [_build(step, package) for step in transforms]
        # Not all versions have these arguments. Where there is no mask_interpolation, masks are always sampled at the
        # nearest pixel; strict makes unknown arguments of a transform an error instead of a warning.
        known = inspect.signature(package.Compose.__init__).parameters
        optional = {name: value for name, value in (('mask_interpolation', cv2.INTER_NEAREST), ('strict', True))
                    if name in known}
        self.compose = package.Compose(steps, p=p, **optional)

    def transform(self, results: dict) -> dict:
        """Applies the transforms to image, masks and boxes of the sample."""
        if results.get('gt_masks') is None or results.get('gt_seg_map') is not None:
            raise ValueError('Albumentations needs gt_masks, and takes no gt_seg_map: it is for images with cells')
        masks = to_label_map_masks(results['gt_masks'])
        layers, numbers = number_instances(masks.layers, masks.layer_indices, masks.ids)
        # Without this, the package draws from generators of its own. Old versions have no such method, and draw from
        # the global generators.
        if hasattr(self.compose, 'set_random_seed'):
            self.compose.set_random_seed(np.random.randint(2**31))
        # Some transforms change arrays in place.
        output = self.compose(image=results['img'].copy(), **({'masks': [*layers.copy()]} if len(layers) else {}))
        image = np.ascontiguousarray(output['image'])
        if image.dtype != np.uint8 or image.shape[2:] != results['img'].shape[2:]:
            raise AlbumentationsError(f'the transforms give an image of the shape {image.shape} and of type '
                                      f'{image.dtype}, not (H, W, 3) and uint8: leave out Normalize, ToFloat and '
                                      'ToTensorV2, since the data preprocessor of the model normalises images')
        if len(layers):
            changed = _checked_layers(np.stack(output['masks']), layers, image.shape[:2])
            masks = LabelMapMasks(changed, masks.layer_indices, numbers)
        else:
            masks = masks.reframe(image.shape[:2])
        results.update(img=image, img_shape=image.shape[:2])
        # Transforms that would be needed to follow points do not tell their matrices.
        results.pop('homography_matrix', None)
        replace_instances(results, masks, masks.areas > 0, results)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms}, p={self.p})'


def _import_package() -> ModuleType:
    try:
        return import_module('albumentations')
    except ImportError as error:
        raise AlbumentationsError(f"type='Albumentations' needs a package that cannot be imported ({error}). Install "
                                  'it with: pip install albumentations') from error


def _build(step: dict, package: ModuleType) -> object:
    """Builds a transform or a composition of transforms from its dict."""
    if not isinstance(step, dict) or not isinstance(step.get('type'), str):
        raise AlbumentationsError(f"a transform of Albumentations is written as dict(type='NAME', …), got {step!r}")
    arguments = {key: value for key, value in step.items() if key != 'type'}
    kind = getattr(package, step['type'], None)
    if not inspect.isclass(kind):
        near = difflib.get_close_matches(step['type'], [name for name in dir(package) if name[0].isupper()])
        raise AlbumentationsError(f"Albumentations has no transform {step['type']!r}"
                                  + (f', did you mean {" or ".join(near)}?' if near else ''))
    for key in _FILL_KEYS:
        if arguments.get(key) not in (None, 0):
            raise AlbumentationsError(f'{step["type"]} has {key}={arguments[key]!r}, but masks can be filled only with '
                                      'background, 0')
    if 'transforms' in arguments:
        arguments['transforms'] = [_build(part, package) for part in arguments['transforms']]
    return kind(**arguments)


def _checked_layers(changed: np.ndarray, layers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns changed label maps (L, H, W), after checking that they have the size, and no new ids."""
    if changed.dtype.kind not in 'iu' or changed.shape != (len(layers), *size):
        raise AlbumentationsError(f'the transforms give masks of the shape {changed.shape} and of type '
                                  f'{changed.dtype}, not integers of the shape {(len(layers), *size)}')
    for before, after in zip(layers, changed, strict=True):
        if not np.isin(np.unique(after), [0, *np.unique(before)]).all():
            raise AlbumentationsError('the transforms give cells that are not in the image, so that one of them '
                                      'mixes the ids of cells: leave it out')
    return changed
