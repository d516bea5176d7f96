"""Outlines of cells drawn over their image, from RLE."""

from pathlib import Path

import cv2
import numpy as np

from mmcell.masks.rle import foreground_pixels

LEGEND_HEIGHT_PX = 22


def picture_name(img_id: int | str, img_path: str | Path) -> str:
    """The name of an image's picture, its own within a data set: the id, then what tells people which it is."""
    path = Path(img_path)
    # The images of the raw layout are all called image.tif: their folder is their name.
    return f"{img_id:0>4}_{path.parent.name if path.stem == 'image' else path.stem}.png"


def draw_instances(image: np.ndarray, rles: list[dict], colors: list[tuple[int, int, int]], scale: int = 1,
                   fill: float = .15) -> np.ndarray:
    """The image with each instance tinted and outlined in its colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        rles: N compressed RLEs of size (H, W).
        colors: N RGB colours, 0–255.
        scale: whole factor of enlargement; outlines are one pixel wide after it.
        fill: weight of the colour inside, 0 to 1.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB. The time is proportional to the pixels covered.
    """
    height, width = image.shape[:2]
    canvas = image.astype(np.float32)
    masks = []
    for rle, color in zip(rles, colors, strict=True):
        x, y = np.divmod(foreground_pixels(rle), height)
        if len(x) == 0:
            continue
        canvas[y, x] += fill * (np.array(color, np.float32) - canvas[y, x])
        mask = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1), np.uint8)
        mask[y - y.min(), x - x.min()] = 1
        masks.append((mask, (int(x.min()), int(y.min())), color))
    canvas = cv2.resize(canvas.round().astype(np.uint8), (scale * width, scale * height), interpolation=cv2.INTER_CUBIC)
    for mask, (left, top), color in masks:
        enlarged = np.kron(mask, np.ones((scale, scale), np.uint8))
        contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE,
                                       offset=(scale * left, scale * top))
        cv2.drawContours(canvas, contours, -1, color, 1)
    return canvas


def add_legend(picture: np.ndarray, title: str, names: list[str],
               colors: list[tuple[int, int, int]]) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB with a strip on top: a title, then each name in its colour.

    The picture is widened with white where the strip needs more room.
    """
    words = [(title, (255, 255, 255)), *zip(names, colors, strict=True)]
    font, size = cv2.FONT_HERSHEY_SIMPLEX, .45
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


def beside(pictures: list[np.ndarray], gap_px: int = 8) -> np.ndarray:
    """Pictures of one height side by side, white between them."""
    gap = np.full((pictures[0].shape[0], gap_px, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)
