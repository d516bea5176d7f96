"""The channel order of image files, which the annotation file states."""

from pathlib import Path

from mmcell.annotations.coco_json import AnnotationError
from mmcell.images.image_file import CHANNEL_ORDERS


def stated_channel_order(document: dict, path: str | Path) -> str | None:
    """Returns ``info.channel_order`` of an annotation file, 'rgb' or 'bgr'; None if the file does not state it.

    Args:
        document: The content of the annotation file.
        path: The annotation file, for the message.

    Raises:
        AnnotationError: The file states another value.
    """
    info = document.get('info')
    order = info.get('channel_order') if isinstance(info, dict) else None
    if order not in (None, *CHANNEL_ORDERS):
        raise AnnotationError(f'{path}: info.channel_order must be one of {CHANNEL_ORDERS}, got {str(order)[:60]!r}')
    return order
