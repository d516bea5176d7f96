"""Finds masks that can be read, but whose values are probably not the instance ids that somebody drew."""

from collections import Counter
from collections.abc import Iterable

import cv2
import numpy as np

from mmcell.errors import list_some
from mmcell.masks.rle import EncodedInstances

# A piece counts as a possible cell if it has at least this share of the area of the largest piece.
_MIN_SHARE_OF_LARGEST_PIECE = .25
# Lossy compression and interpolation scatter pixels with numbers of their own along the outlines of cells: ten and more
# per cell in maps of CoNSeP and MoNuSAC that were saved as JPEG, turned or resized with interpolation. As published,
# these maps have 5 of them at most, and one per six cells at most.
_MIN_SCATTERED_PX, _MIN_SCATTERED_PX_PER_CELL = 6, .5
# The largest cell in CoNSeP and MoNuSAC covers 12 % of its image.
_MAX_SHARE_OF_IMAGE = .5

BINARY, BACKGROUND, SCATTERED = 'binary', 'background', 'scattered'
_SENTENCES = {
    BINARY: 'look binary: one number for several separate pieces, which become one cell. If the pieces are different '
            'cells, give each piece its own number, for example with scipy.ndimage.label',
    BACKGROUND: 'have no pixel with the value 0, or one number on more than half of the image, which becomes a cell: '
                'if it is the background, write 0 there',
    SCATTERED: 'have many single pixels that differ from all their neighbours: lossy compression (JPEG) and '
               'interpolation make numbers that nobody drew. Save masks without loss, and resize them with the nearest '
               'neighbour',
}


def find_doubts(label_map: np.ndarray, instances: EncodedInstances, class_number: int) -> list[str]:
    """Returns what is doubtful about a mask that has a cell.

    Args:
        label_map: (H, W) int32, 0 for background.
        instances: The cells of the label map.
        class_number: The number k in the file name class<k>.tif.

    Returns:
        Some of BINARY (several pieces share the only number, and it is a number that binary and semantic masks use: 1,
        255, 65535 or the class number), BACKGROUND and SCATTERED.
    """
    doubts = []
    areas_px = instances.areas_px
    if instances.ids.tolist() in ([1], [255], [65535], [class_number]) and _n_large_pieces(label_map) > 1:
        doubts.append(BINARY)
    if areas_px.sum() == label_map.size or areas_px.max() > _MAX_SHARE_OF_IMAGE * label_map.size:
        doubts.append(BACKGROUND)
    if _n_scattered_px(label_map) >= max(_MIN_SCATTERED_PX, _MIN_SCATTERED_PX_PER_CELL * len(areas_px)):
        doubts.append(SCATTERED)
    return doubts


def _n_scattered_px(label_map: np.ndarray) -> int:
    """Returns how many pixels of cells differ from their neighbours above, below, left and right."""
    differs_below = np.pad(label_map[1:] != label_map[:-1], ((1, 1), (0, 0)), constant_values=True)
    differs_right = np.pad(label_map[:, 1:] != label_map[:, :-1], ((0, 0), (1, 1)), constant_values=True)
    return int(((label_map > 0) & differs_below[:-1] & differs_below[1:] & differs_right[:, :-1]
                & differs_right[:, 1:]).sum())


def _n_large_pieces(label_map: np.ndarray) -> int:
    statistics = cv2.connectedComponentsWithStats((label_map > 0).astype(np.uint8))[2]
    areas_px = statistics[1:, cv2.CC_STAT_AREA]
    return int((areas_px >= _MIN_SHARE_OF_LARGEST_PIECE * areas_px.max()).sum())


def describe_doubts(masks: Iterable[tuple[str, int, tuple[str, ...]]]) -> list[str]:
    """Returns one sentence per kind of doubt.

    A single mask with one number in several pieces is usually one cell that something covers in the middle. BINARY is
    described only if it concerns at least half of the masks of a class.

    Args:
        masks: For each mask that has a cell: its path, its class number, and the result of :func:`find_doubts`.
    """
    masks = list(masks)
    n_masks = Counter(number for _, number, _ in masks)
    n_binary = Counter(number for _, number, doubts in masks if BINARY in doubts)
    sentences = []
    for kind, sentence in _SENTENCES.items():
        paths = [path for path, number, doubts in masks
                 if kind in doubts and (kind != BINARY or 2 * n_binary[number] >= n_masks[number])]
        if paths:
            sentences.append(f'{len(paths)} of {len(masks)} masks {sentence} ({list_some(paths)})')
    return sentences
