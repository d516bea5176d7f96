"""Loading transforms."""

import pycocotools.mask
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS

from mmcell.annotations.coco_json import AnnotationError
from mmcell.images.pixels import CHANNEL_ORDERS, read_image
from mmcell.masks.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class LoadTiff(BaseTransform):
    """Loads a microscopy image as RGB uint8, whatever the file holds; the rules are those of :func:`read_image`.

    Unlike MMDetection's loader this gives red, green, blue: set ``bgr_to_rgb=False`` in the data preprocessor.

    Required keys:

    - img_path
    - channel_order (optional): the order that the data set declares

    Modified keys:

    - none

    Added keys:

    - img: (H, W, 3) uint8, RGB
    - img_shape, ori_shape: (H, W)
    - scale_factor: (1.0, 1.0), which mask heads ask for; a later resize changes it
    - channel_order, percentiles: as they were used, so that pictures can be made of the same image

    Args:
        channel_order: 'rgb', or 'bgr' for files that say RGB but hold blue first. None: what the data set
            declares, 'rgb' where it declares nothing.
        percentiles: (low, high) in percent for a contrast stretch of each channel, None for none.

    Raises:
        ImageReadError: the file cannot be read as an image; the message names it.
    """

    def __init__(self, channel_order: str | None = None, percentiles: tuple[float, float] | None = None) -> None:
        if channel_order not in (None, *CHANNEL_ORDERS):
            raise ValueError(f'channel_order must be None or one of {CHANNEL_ORDERS}, got {channel_order!r}')
        self.channel_order = channel_order
        self.percentiles = percentiles

    def transform(self, results: dict) -> dict:
        """Reads ``results['img_path']``."""
        order = self.channel_order or results.get('channel_order', 'rgb')
        image = read_image(results['img_path'], order, self.percentiles)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], scale_factor=(1., 1.),
                       channel_order=order, percentiles=self.percentiles)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(channel_order={self.channel_order!r}, percentiles={self.percentiles})'


@TRANSFORMS.register_module()
class LoadCellAnnotations(LoadAnnotations):
    """``LoadAnnotations`` that decodes masks straight into :class:`mmcell.masks.label_map_masks.LabelMapMasks`.

    COCO RLE, compressed or not, and polygons; the cost goes with the pixels covered, where the stock class decodes a
    full-size bitmap an instance. The masks and the flags of invalid annotations are those of the stock class. For a
    model that needs bitmaps: ``dict(type='LoadAnnotations', with_bbox=True, with_mask=True)``.

    Required keys: img_path, ori_shape, and instances with bbox, bbox_label, ignore_flag and mask. Added keys:
    gt_bboxes, gt_bboxes_labels, gt_ignore_flags, gt_masks (LabelMapMasks).

    Args:
        with_bbox, with_mask: on by default.
        kwargs: as ``mmdet.datasets.transforms.LoadAnnotations``; ``poly2mask`` is always True.

    Raises:
        AnnotationError: an RLE does not decode, or has another size than the image.
    """

    def __init__(self, with_bbox: bool = True, with_mask: bool = True, **kwargs) -> None:
        super().__init__(with_bbox=with_bbox, with_mask=with_mask, **kwargs)
        if not self.poly2mask:
            raise ValueError("LoadCellAnnotations makes label maps; for PolygonMasks use dict(type='LoadAnnotations', "
                             'with_bbox=True, with_mask=True, poly2mask=False)')

    def _load_masks(self, results: dict) -> None:
        height, width = results['ori_shape']
        rles = [_to_rle(mask, height, width) for mask in self._process_masks(results)]
        try:
            results['gt_masks'] = LabelMapMasks.from_rles(rles, height, width)
        except ValueError as error:
            raise AnnotationError(f"the annotations of {results.get('img_path')}: {error}") from error


def _to_rle(mask: dict | list, height: int, width: int) -> dict:
    """A COCO mask as RLE; the parts of a polygon are merged, as they are one instance."""
    if isinstance(mask, dict):
        return mask
    return pycocotools.mask.merge(pycocotools.mask.frPyObjects(mask, height, width))
