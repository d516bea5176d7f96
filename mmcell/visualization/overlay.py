"""Drawing outlines of cells, given as RLE, over their image."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcell.files.names import shorten_name
from mmcell.files.whole_files import written_whole
from mmcell.masks.rle import foreground_pixels_of_all
from mmcell.ragged import begins_of


def picture_name(img_id: int | str, img_path: str | Path, file_format: str = 'png') -> str:
    """Returns a file name for the picture of an image, unique in a data set: the id of the image and a readable name.

    Examples: 0007_abc.png for image 7 in the file train/abc/image.tif, and 0012_consep_1.png for image 12 in the file
    consep_1.png.
    """
    path = Path(img_path)
    # In the raw layout all images are called image.tif, and the name of the folder tells them apart.
    return f"{img_id:0>4}_{shorten_name(path.parent.name if path.stem.lower() == 'image' else path.stem)}.{file_format}"


def draw_instances(image: np.ndarray, rles: list[dict], colors: list[tuple[int, int, int]], scale: int = 1,
                   fill: float = .15, dashes_px: Sequence[int] | None = None, width_px: int = 1) -> np.ndarray:
    """Draws an image with each instance tinted and outlined in its colour.

    Args:
        image: The image, (H, W, 3) uint8 RGB.
        rles: The masks of N instances, compressed COCO RLEs of size (H, W).
        colors: One RGB colour per instance, each value 0–255.
        scale: The whole number by which height and width are multiplied.
        fill: The weight of the colour inside the outline, from 0 (not tinted) to 1 (colour only).
        dashes_px: For each instance the length of the dashes of its outline, and of the gaps between them, in px of
            the result; 0 for an outline without gaps. None: no outline has gaps.
        width_px: The width of outlines in px of the result. They grow from the border of a cell to its inside.

    Returns:
        The picture, (scale * H, scale * W, 3) uint8 RGB. The time is proportional to the pixels that cells cover.
    """
    height, width = image.shape[:2]
    canvas = image.astype(np.float32)
    positions, areas_px = foreground_pixels_of_all(rles)
    masks = []
    for first, area_px, color, dash_px in zip(begins_of(areas_px), areas_px, colors, dashes_px or [0] * len(rles),
                                              strict=True):
        if area_px == 0:
            continue
        # Positions count down the columns. In an image of height 3, the positions [7 8 10] are x = [2 2 3] and
        # y = [1 2 1]. The mask is kept only within its box: 2 x 2 px at (2, 1), [[1 1], [1 0]].
        x, y = np.divmod(positions[first:first + area_px], height)
        canvas[y, x] += fill * (np.array(color, np.float32) - canvas[y, x])
        mask = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1), np.uint8)
        mask[y - y.min(), x - x.min()] = 1
        masks.append((mask, (int(x.min()), int(y.min())), color, dash_px))
    canvas = cv2.resize(canvas.round().astype(np.uint8), (scale * width, scale * height), interpolation=cv2.INTER_CUBIC)
    for mask, (left, top), color, dash_px in masks:
        # Each pixel becomes scale x scale pixels: with scale 2, [[1 0]] becomes [[1 1 0 0], [1 1 0 0]].
        enlarged = np.kron(mask, np.ones((scale, scale), np.uint8))
        outline = _outline(enlarged, dash_px, width_px)
        y, x = np.nonzero(outline)
        canvas[y + scale * top, x + scale * left] = color
    return canvas


def _outline(mask: np.ndarray, dash_px: int, width_px: int) -> np.ndarray:
    """Returns the pixels (h, w) bool of the outline of a mask (h, w) uint8, and of the outlines of its holes."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outline = np.zeros(mask.shape, np.uint8)
    for contour in contours:
        # Dashes of 4 px that are 2 px wide: the points 0 … 7 of an outline are drawn, drawn, and six times not. When
        # the width grows, each dash also becomes one px longer at both ends.
        n_drawn = max(dash_px - 2 * (width_px - 1), 1)
        drawn = contour if dash_px == 0 else contour[np.arange(len(contour)) % (2 * dash_px) < n_drawn]
        outline[drawn[:, 0, 1], drawn[:, 0, 0]] = 1
    if width_px > 1:
        outline = cv2.dilate(outline, np.ones((2 * width_px - 1, 2 * width_px - 1), np.uint8)) & mask
    return outline.astype(bool)


def write_png(picture: np.ndarray, path: str | Path) -> None:
    """Writes a picture (H, W, 3) uint8 RGB to a PNG file, completely or not at all; makes its folder if necessary."""
    _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
    with written_whole([path]) as (temporary,):
        temporary.write_bytes(encoded.tobytes())


def draw_boxes(picture: np.ndarray, bboxes_xyxy: np.ndarray, colors: Sequence[tuple[int, int, int]],
               scale: int = 1, width_px: int = 1) -> None:
    """Draws boxes into a picture.

    Args:
        picture: The picture, (scale * H, scale * W, 3) uint8 RGB, which is changed in place.
        bboxes_xyxy: (N, 4) boxes in px of the image; the right and the lower border do not belong to the box.
        colors: One RGB colour per box, each value 0–255.
        scale: The number by which the image was enlarged to the picture.
        width_px: The width of the lines in px of the picture.
    """
    for (left, top, right, bottom), color in zip((np.asarray(bboxes_xyxy) * scale).round().astype(int).tolist(), colors,
                                                 strict=True):
        cv2.rectangle(picture, (left, top), (max(right - 1, left), max(bottom - 1, top)), color, width_px)
