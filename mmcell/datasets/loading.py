"""Loading transforms."""

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmcell.images import CHANNEL_ORDERS, read_image


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
