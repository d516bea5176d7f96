"""Drawing outlines of cells, given as RLE, over their image."""

from pathlib import Path

import cv2
import numpy as np

from mmcell.files.names import shorten_name
from mmcell.files.whole_files import written_whole
from mmcell.masks.rle import foreground_pixels

LEGEND_HEIGHT_PX = 22


def picture_name(img_id: int | str, img_path: str | Path) -> str:
    """Returns a file name for the picture of an image, unique in a data set: the id of the image and a readable name.

    Examples: 0007_abc.png for image 7 in the file train/abc/image.tif, and 0012_consep_1.png for image 12 in the file
    consep_1.png.
    """
    path = Path(img_path)
    # In the raw layout all images are called image.tif, and the name of the folder tells them apart.
    return f"{img_id:0>4}_{shorten_name(path.parent.name if path.stem.lower() == 'image' else path.stem)}.png"


def draw_instances(image: np.ndarray, rles: list[dict], colors: list[tuple[int, int, int]], scale: int = 1,
                   fill: float = .15) -> np.ndarray:
    """Draws an image with each instance tinted and outlined in its colour.

    Args:
        image: The image, (H, W, 3) uint8 RGB.
        rles: The masks of N instances, compressed COCO RLEs of size (H, W).
        colors: One RGB colour per instance, each value 0–255.
        scale: The whole number by which height and width are multiplied. Outlines are one pixel wide in the result.
        fill: The weight of the colour inside the outline, from 0 (not tinted) to 1 (colour only).

    Returns:
        The picture, (scale * H, scale * W, 3) uint8 RGB. The time is proportional to the pixels that cells cover.
    """
    height, width = image.shape[:2]
    canvas = image.astype(np.float32)
    masks = []
    for rle, color in zip(rles, colors, strict=True):
        # Positions count down the columns. In an image of height 3, the positions [7 8 10] are x = [2 2 3] and
        # y = [1 2 1]. The mask is kept only within its box: 2 x 2 px at (2, 1), [[1 1], [1 0]].
        x, y = np.divmod(foreground_pixels(rle), height)
        if len(x) == 0:
            continue
        canvas[y, x] += fill * (np.array(color, np.float32) - canvas[y, x])
        mask = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1), np.uint8)
        mask[y - y.min(), x - x.min()] = 1
        masks.append((mask, (int(x.min()), int(y.min())), color))
    canvas = cv2.resize(canvas.round().astype(np.uint8), (scale * width, scale * height), interpolation=cv2.INTER_CUBIC)
    for mask, (left, top), color in masks:
        # Each pixel becomes scale x scale pixels: with scale 2, [[1 0]] becomes [[1 1 0 0], [1 1 0 0]].
        enlarged = np.kron(mask, np.ones((scale, scale), np.uint8))
        contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE,
                                       offset=(scale * left, scale * top))
        cv2.drawContours(canvas, contours, -1, color, 1)
    return canvas


def write_png(picture: np.ndarray, path: str | Path) -> None:
    """Writes a picture (H, W, 3) uint8 RGB to a PNG file, completely or not at all; makes its folder if necessary."""
    _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
    with written_whole([path]) as (temporary,):
        temporary.write_bytes(encoded.tobytes())


def add_legend(picture: np.ndarray, title: str, names: list[str],
               colors: list[tuple[int, int, int]]) -> np.ndarray:
    """Adds a dark strip on top of a picture: a title in white, then each name in its colour.

    If the strip needs more width than the picture has, the picture is widened with white at its right.

    Args:
        picture: The picture, (H, W, 3) uint8 RGB.
        title: The text at the left of the strip.
        names: The names after the title.
        colors: One RGB colour per name, each value 0–255.

    Returns:
        A new picture, (H + ``LEGEND_HEIGHT_PX``, at least W, 3) uint8 RGB.
    """
    words = [(title, (255, 255, 255)), *zip(names, colors, strict=True)]
    font, size = cv2.FONT_HERSHEY_SIMPLEX, .45
    # After each word there is a gap of 12 px.
    widths = [cv2.getTextSize(word, font, size, 1)[0][0] + 12 for word, _ in words]
    width = max(picture.shape[1], sum(widths) + 6)
    framed = np.full((picture.shape[0] + LEGEND_HEIGHT_PX, width, 3), 255, np.uint8)
    framed[:LEGEND_HEIGHT_PX] = 30
    framed[LEGEND_HEIGHT_PX:, :picture.shape[1]] = picture
    left = 6
    for (word, color), word_width in zip(words, widths, strict=True):
        cv2.putText(framed, word, (left, LEGEND_HEIGHT_PX - 7), font, size, color, 1, cv2.LINE_AA)
        left += word_width
    return framed


def join_side_by_side(pictures: list[np.ndarray], gap_px: int = 8) -> np.ndarray:
    """Joins pictures of the same height from left to right, with a white gap between them."""
    gap = np.full((pictures[0].shape[0], gap_px, 3), 255, np.uint8)
    pieces = [piece for picture in pictures for piece in (gap, picture)]
    return np.concatenate(pieces[1:], axis=1)
