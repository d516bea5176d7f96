"""Images with true and predicted cells, packed for the page: pictures as WebP, outlines as compressed paths."""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

# All pictures together have about this many bytes, so that a page with hundreds of images opens at once.
PICTURE_BYTES = 16_000_000
LEAST_PICTURE_BYTES = 12_000
_QUALITY = 80
_SCALES = (1, .75, .5, .375, .25)


@dataclass(frozen=True)
class ShownSet:
    """The N predicted cells of an image from one results file.

    Attributes:
        labels: (N,) int, the labels of the classes.
        scores: (N,) float, from 0 to 1.
        outlines: (N,) shapely polygons along the edges of pixels.
        pairs: P tuples (index of the prediction, index of the true cell, IoU), those with an IoU above .5.
        score: What images are sorted by, the F1 of the image; NaN if it is not defined.
    """

    labels: np.ndarray
    scores: np.ndarray
    outlines: np.ndarray
    pairs: Sequence[tuple[int, int, float]]
    score: float


def pack_image(name: str, image: np.ndarray, true_labels: np.ndarray, true_outlines: np.ndarray,
               predicted: Sequence[ShownSet], n_images: int) -> dict:
    """Returns one image for the page.

    Args:
        name: What the image is called.
        image: (H, W, 3) uint8 RGB.
        true_labels: (N,) int, the labels of the true cells.
        true_outlines: (N,) shapely polygons.
        predicted: The predicted cells of each results file.
        n_images: The number of images of the page, which share ``PICTURE_BYTES``.
    """
    truth = [[label, to_path(outline)] for label, outline in zip(true_labels.tolist(), true_outlines, strict=True)]
    return {
        'name': name, 'width': image.shape[1], 'height': image.shape[0],
        'picture': _to_data_address(encode_picture(image, max(PICTURE_BYTES // n_images, LEAST_PICTURE_BYTES))),
        'truth': _pack(truth), 'predicted': [_pack(_plain(cells)) for cells in predicted],
        'scores': [None if np.isnan(cells.score) else round(float(cells.score), 4) for cells in predicted]}


def _plain(cells: ShownSet) -> dict:
    shown = zip(cells.labels.tolist(), np.round(cells.scores, 4).tolist(), cells.outlines, strict=True)
    return {'cells': [[label, score, to_path(outline)] for label, score, outline in shown],
            'pairs': [[int(index), int(cell), round(float(iou), 4)] for index, cell, iou in cells.pairs]}


def _pack(value: object) -> str:
    """Returns JSON, compressed by zlib and written in base64; the page unpacks it."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(',', ':')).encode(), 9)).decode()


def encode_picture(image: np.ndarray, max_bytes: int) -> bytes:
    """Returns an image as WebP, shrunk until it has at most ``max_bytes`` or a quarter of its height and width."""
    for scale in _SCALES:
        size = [max(round(side * scale), 1) for side in image.shape[1::-1]]
        shrunk = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode('.webp', shrunk[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
        if len(encoded) <= max_bytes:
            break
    return encoded


def _to_data_address(encoded: bytes) -> str:
    return f'data:image/webp;base64,{base64.b64encode(encoded).decode()}'


def to_path(outline: shapely.Geometry) -> str:
    """Returns an outline along the edges of pixels as an SVG path; every ring is a closed part.

    The square from (2, 1) to (4, 3) is 'M2 1h2v2h-2z'.
    """
    parts = []
    for polygon in getattr(outline, 'geoms', [outline]):
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.rint(shapely.get_coordinates(ring)).astype(int)
            if len(points):
                # The last step closes the ring: "z" draws it.
                steps = [f'h{dx}' if dx else f'v{dy}' for dx, dy in np.diff(points, axis=0)[:-1].tolist()]
                parts.append(f'M{points[0, 0]} {points[0, 1]}{"".join(steps)}z')
    return ''.join(parts)
