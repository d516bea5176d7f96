"""Loads images and annotations, and packs them for the model: the two ends of every pipeline."""

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.structures import InstanceData

from mmcell.annotations.coco_json import AnnotationError
from mmcell.datasets.decoded_images import DecodedImages
from mmcell.images.colors import stretch_contrast
from mmcell.images.image_file import CHANNEL_ORDERS, read_image
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class LoadTiff(BaseTransform):
    """Loads a microscopy image as RGB uint8, whatever pixel type the file holds, by the rules of :func:`read_image`.

    Unlike MMDetection's loader, it returns red, green, blue: set ``bgr_to_rgb=False`` in the data preprocessor.

    Required keys:

    - img_path, or img: (H, W, 3) uint8, BGR as MMDetection's functions take arrays. A path or an array in place of the
      dict is accepted as well.
    - channel_order (optional): the channel order of the files, as the data set declares it

    Added or modified keys:

    - img: (H, W, 3) uint8, RGB
    - img_shape, ori_shape: (H, W)
    - scale_factor: (1.0, 1.0), which mask heads need; a later resize changes it
    - channel_order, percentiles: the values that were used, so that pictures can show the same image

    Args:
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first. None takes the order that
            the data set declares, or 'rgb' if it declares none.
        percentiles: (low, high) in percent: the contrast of each channel is stretched between these percentiles.
            None leaves the contrast as it is.

    Attributes:
        decoded: Where decoded images are kept; None if each is decoded whenever it is loaded.

    Raises:
        ImageReadError: The file cannot be read as an image; the message names the file.
        FileNotFoundError: The file does not exist.
        ValueError: ``channel_order`` is not one of the values above.
    """

    def __init__(self, channel_order: str | None = None, percentiles: tuple[float, float] | None = None) -> None:
        if channel_order not in (None, *CHANNEL_ORDERS):
            raise ValueError(f'channel_order must be None or one of {CHANNEL_ORDERS}, got {channel_order!r}')
        self.channel_order = channel_order
        self.percentiles = percentiles
        self.decoded: DecodedImages | None = None

    def transform(self, results: dict | str | np.ndarray) -> dict:
        """Reads ``results['img_path']``, or takes ``results['img']``."""
        if not isinstance(results, dict):
            results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
        order = self.channel_order or results.get('channel_order', 'rgb')
        if 'img' in results:
            image, order = np.ascontiguousarray(results['img'][:, :, ::-1]), 'rgb'
            if self.percentiles is not None:
                image = stretch_contrast(image, *self.percentiles)
        else:
            read = partial(read_image, results['img_path'], order, self.percentiles)
            image = read() if self.decoded is None else self.decoded.image(results, read)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], scale_factor=(1., 1.),
                       channel_order=order, percentiles=self.percentiles)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(channel_order={self.channel_order!r}, percentiles={self.percentiles})'


@TRANSFORMS.register_module()
class LoadCellAnnotations(LoadAnnotations):
    """``LoadAnnotations`` that decodes masks straight into :class:`mmcell.masks.label_map_masks.LabelMapMasks`.

    Masks may be COCO RLE, compressed or not, or polygons. Time and memory grow with the pixels that cells cover,
    whereas the stock class decodes one full-size bitmap per instance. Masks and the flags of invalid annotations are
    the same as with the stock class. For a model that needs bitmaps, use
    ``dict(type='LoadAnnotations', with_bbox=True, with_mask=True)``.

    Required keys: img_path, ori_shape, and instances with bbox, bbox_label, ignore_flag and mask. Added keys:
    gt_bboxes, gt_bboxes_labels, gt_ignore_flags, gt_masks (LabelMapMasks).

    Args:
        with_bbox: Whether boxes are loaded.
        with_mask: Whether masks are loaded.
        kwargs: Further arguments of ``mmdet.datasets.transforms.LoadAnnotations``. ``poly2mask`` must be True.

    Attributes:
        decoded: Where decoded cells are kept; None if they are decoded whenever they are loaded.

    Raises:
        AnnotationError: A mask cannot be decoded, or its size differs from the size of the image.
        ValueError: ``poly2mask`` is False.
    """

    def __init__(self, with_bbox: bool = True, with_mask: bool = True, **kwargs) -> None:
        super().__init__(with_bbox=with_bbox, with_mask=with_mask, **kwargs)
        if not self.poly2mask:
            raise ValueError('LoadCellAnnotations always makes label maps; to keep polygons, use '
                             "dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False)")
        self.decoded: DecodedImages | None = None

    def _load_masks(self, results: dict) -> None:
        masks = self._process_masks(results)
        to_rle = partial(_to_rle, size=results['ori_shape'])
        try:
            results['gt_masks'] = (LabelMapMasks.from_rles([to_rle(mask) for mask in masks], *results['ori_shape'])
                                   if self.decoded is None else self.decoded.masks(results, masks, to_rle))
        except ValueError as error:
            raise AnnotationError(f"the annotations of {results.get('img_path')}: {error}") from error


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


def _to_rle(mask: dict | list, size: tuple[int, int]) -> dict:
    """Returns an RLE unchanged, and the polygons of an instance as one RLE."""
    if isinstance(mask, dict):
        return mask
    (rle,), problems = to_compressed_rles([mask], [size])
    for problem in problems.values():
        raise ValueError(str(problem))
    return rle


def load_true_instances(data_info: dict, size: tuple[int, int]) -> InstanceData:
    """Returns the true cells of an image as ``labels`` (N,) int64 and ``masks`` (``LabelMapMasks``).

    They are in the frame of the image file, whatever the pipeline of the data set does. Cells of which only the box is
    known are left out.

    Args:
        data_info: The entry of the data set, see MMEngine's ``BaseDataset.get_data_info``.
        size: Height and width of the image in px.

    Raises:
        AnnotationError: A mask cannot be decoded, or has another size than the image.
    """
    results = {'img_path': data_info.get('img_path'), 'ori_shape': size,
               'instances': [copy.deepcopy(instance) for instance in data_info['instances'] if instance.get('mask')]}
    results = LoadCellAnnotations()(results)
    return InstanceData(labels=torch.as_tensor(results['gt_bboxes_labels']), masks=results['gt_masks'])
