"""The gallery of a page: images with true and predicted cells, packed so that a page with hundreds of images is small.

The script of the page (``page.js``) draws what :func:`gallery_of` returns. It does not match cells: the verdict on each
predicted cell is that of the tables, and the script counts the verdicts on the cells that reach the chosen score.
"""

import base64
import json
import zlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.cells.outlines import outline_paths
from mmcell.evaluation.error_types import CORRECT, ERROR_KINDS, Verdicts, judge_predictions
from mmcell.evaluation.pairs import Pairs, cells_of_image
from mmcell.masks.runs import MaskRuns
from mmcell.predictions.cells import Predictions
from mmcell.visualization.cell_panels import VERDICTS
from mmcell.visualization.colors import class_colors, to_hex

# More images would make the page slow to open, and longer than people look at.
MAX_IMAGES = 200
# The pictures of a page have about this many bytes together. As base64 text they take a third more.
PICTURE_BYTES = 16_000_000
THUMBNAIL_SIDE_PX = 144
# Browsers hold an opened picture with 4 bytes per pixel, and WebP has at most 16,383 px per side.
_MAX_SIDE_PX = 4096
_QUALITY = 75
_KINDS = (CORRECT, *ERROR_KINDS)


def gallery_of(names: Sequence[str], pairs: Sequence[Pairs], score_threshold: float,
               read_pixels: Callable[[int], np.ndarray], max_images: int = MAX_IMAGES) -> dict:
    """Returns the gallery of one or more results files for the same images.

    Args:
        names: The names of the R results files.
        pairs: The true cells and the predicted cells of each file. The true cells are the same for all files.
        score_threshold: The score threshold at which the page opens. The page has the predictions of all scores.
        read_pixels: A function that returns an image, (H, W, 3) uint8 RGB, by its place in the annotation file.
        max_images: How many images are shown at most: those with the lowest F1 in the first file.

    Returns:
        ``{'text', 'threshold', 'classes', 'verdicts', 'kinds', 'images', 'truth', 'runs'}``, made of numbers, strings,
        lists and dicts. ``images`` are in the order of the annotation file; ``truth`` and the ``cells`` of each run are
        packed by :func:`pack`, with one entry per image.

    Raises:
        ValueError: An image has another size than its cells.
    """
    truth = pairs[0].truth
    verdicts = [judge_predictions(each, 0.) for each in pairs]
    images = order_images(truth, verdicts[0], score_threshold)
    text = ('True cells are shown beside predicted cells, the image with the lowest F1 first. A hit is a detection of '
            'the right class with an IoU above .5, and F1 is twice the hits, divided by all true and predicted cells; '
            'F1@IoU.50_pooled does not look at the class.')
    if len(images) > max_images:
        text += f' Of {len(images):,} images, the page has the {max_images:,} with the lowest F1 in {names[0]}.'
    images = np.sort(images[:max_images]).tolist()
    max_bytes = PICTURE_BYTES // max(len(images), 1)
    class_names = truth.class_names
    return {
        'text': text, 'threshold': score_threshold, 'kinds': list(_KINDS),
        'classes': [{'name': name, 'color': to_hex(color)}
                    for name, color in zip(class_names, class_colors(len(class_names)), strict=True)],
        'verdicts': {name: {'color': to_hex(color), 'dash_px': dash_px}
                     for name, (color, dash_px) in VERDICTS.items()},
        'images': [_pack_image(truth, [each.predictions for each in pairs], image, read_pixels(image), max_bytes)
                   for image in images],
        'truth': pack([truth.class_index[cells_of_image(truth.image_index, image)].tolist() for image in images]),
        'runs': [{'name': name, 'cells': pack(_predicted_cells(each, judged, images))}
                 for name, each, judged in zip(names, pairs, verdicts, strict=True)]}


def order_images(truth: GroundTruth, verdicts: Verdicts, score_threshold: float) -> np.ndarray:
    """Returns the places of all images, (I,) int64, those with the lowest F1 first.

    Among images of equal F1, those with more missed and spurious cells come first. Images without true and predicted
    cells are last.
    """
    n_images, is_kept = len(truth.image_ids), verdicts.scores >= score_threshold
    n_hits, n_cells = (np.bincount(image_index, minlength=n_images) for image_index in (
        verdicts.image_index[is_kept & (verdicts.kinds == CORRECT)],
        np.concatenate([truth.image_index, verdicts.image_index[is_kept]])))
    f1 = np.divide(2. * n_hits, n_cells, out=np.full(n_images, np.inf), where=n_cells > 0)
    return np.lexsort((2 * n_hits - n_cells, f1))


def _predicted_cells(pairs: Pairs, verdicts: Verdicts, images: Sequence[int]) -> list[dict]:
    """Returns the N predicted cells of each image, whatever their scores.

    Each image has lists of length N: the labels, the scores, the places of the kinds of error in ``_KINDS``, and the
    true cell of the image that a correct prediction has found, or that an error overlaps most; -1 if it overlaps none.
    """
    # What a prediction has found depends only on predictions of at least its own score. Therefore one verdict holds for
    # all thresholds that it reaches.
    kinds = np.select([verdicts.kinds == kind for kind in _KINDS], range(len(_KINDS)))
    true_cells = np.where(verdicts.found_true >= 0, verdicts.found_true, verdicts.nearest_true)
    tables = []
    for image in images:
        own = cells_of_image(verdicts.image_index, image)
        first = cells_of_image(pairs.truth.image_index, image).start
        tables.append({'labels': pairs.predictions.class_index[own].tolist(), 'scores': verdicts.scores[own].tolist(),
                       'kinds': kinds[own].tolist(), 'true': np.maximum(true_cells[own] - first, -1).tolist()})
    return tables


def _pack_image(truth: GroundTruth, predicted: Sequence[Predictions], image: int, pixels: np.ndarray,
                max_bytes: int) -> dict:
    height, width = truth.sizes[image].tolist()
    if pixels.shape[:2] != (height, width):
        raise ValueError(f'{truth.file_names[image]}: the cells are those of an image of {[height, width]}, but the '
                         f'image is {list(pixels.shape[:2])} (height, width)')
    cells = [pack(outline_paths(MaskRuns.from_rles(side.rles[cells_of_image(side.image_index, image)], height, width)))
             for side in (truth, *predicted)]
    thumbnail = encode_picture(pixels, max_bytes, THUMBNAIL_SIDE_PX)
    return {'name': truth.file_names[image], 'width': width, 'height': height,
            'picture': to_data_address(encode_picture(pixels, max_bytes)), 'thumbnail': to_data_address(thumbnail),
            'truth': cells[0], 'predicted': cells[1:]}


def pack(value: object) -> str:
    """Returns a value as JSON that is compressed by zlib and written in base64; the script of the page unpacks it."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(',', ':')).encode(), 9)).decode()


def encode_picture(pixels: np.ndarray, max_bytes: int, max_side_px: int = _MAX_SIDE_PX) -> bytes:
    """Returns an image as WebP, shrunk until no side and no file is too large.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        max_bytes: The largest size of the file. A picture of 16 px may be larger.
        max_side_px: The largest height and width in px.
    """
    scale = min(max_side_px / max(pixels.shape[:2]), 1.)
    while True:
        size = [max(round(side * scale), 1) for side in pixels.shape[1::-1]]
        shrunk = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode('.webp', shrunk[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
        if len(encoded) <= max_bytes or max(size) <= 16:
            return encoded
        # The bytes per pixel grow a little when an image shrinks.
        scale *= .95 * (max_bytes / len(encoded)) ** .5


def to_data_address(encoded: bytes) -> str:
    """Returns a WebP picture as an address that holds it."""
    return f'data:image/webp;base64,{base64.b64encode(encoded).decode()}'
