"""Compares two images by their prints: whether they show the same tissue, in the same or another position."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mmcell.inspection.measures.prints import THUMBNAIL_FACTOR, Prints

# Of 256 bits of a descriptor, pairs of key points of copies differ in about 20, of strangers in about 100.
_MAX_HAMMING = 60
# A pair of images is looked at further if so many key points agree on one position.
_MIN_AGREEING, _TOLERANCE_PX = 6, 6.
# Copies have about the same scale.
_SCALES = (.8, 1.25)
# Two squares of 32 px whose correlation is below this value are not of the same image.
_MIN_SQUARE_CORRELATION = .8
_ROWS_AT_ONCE = 1000
# Thumbnails are compared between these two sizes of details, in px of the thumbnail (sigma): without noise and the
# blocks of JPEG on one side, and without shading and vignetting on the other.
_SIGMAS_PX = 1., 5.
# The least common area: 24 x 24 px of thumbnails are 96 x 96 px of images, with some ten cells.
MIN_COMMON_PX = 24 * 24
# Copies reach .9 to 1, strangers .3 at most (docs/studies/data_doctor.md).
MIN_CORRELATION = .7
# The eight ways to lay an image down: whether it is mirrored left to right, then how often it is turned to the left.
TURNS = [(is_mirrored, n_turns) for is_mirrored in (False, True) for n_turns in range(4)]


def similar_pairs(prints: Sequence[Prints]) -> list[tuple[int, int]]:
    """Returns the pairs of images whose squares of 32 x 32 px are similar in one of eight ways, the first below.

    It is a fast filter before :func:`correlate_whole`: one product of matrices per way.
    """
    if not prints:
        return []
    squares = np.stack([one.square for one in prints])
    flat = squares.reshape(len(squares), -1)
    pairs = set()
    for is_mirrored, n_turns in TURNS:
        turned = squares[:, :, ::-1] if is_mirrored else squares
        turned = np.rot90(turned, n_turns, axes=(1, 2)).reshape(len(squares), -1)
        for start in range(0, len(flat), _ROWS_AT_ONCE):
            first, second = np.nonzero(flat[start:start + _ROWS_AT_ONCE] @ turned.T >= _MIN_SQUARE_CORRELATION)
            pairs.update((one, other) for one, other in zip((first + start).tolist(), second.tolist(), strict=True)
                         if one < other)
    return sorted(pairs)


def correlate_whole(prints: Prints, other: Prints) -> tuple[float, str]:
    """Returns the correlation of two thumbnails laid upon each other in the best of eight ways, and the way in words.

    Both are brought to the same size. The correlation is 0 if the images differ in their proportions.
    """
    height, width = prints.thumbnail.shape
    best = 0., ''
    for is_mirrored, n_turns in TURNS:
        turned = _turn(other.thumbnail, is_mirrored, n_turns)
        if .9 < turned.shape[1] * height / (turned.shape[0] * width) < 1.1:
            turned = cv2.resize(turned, (width, height), interpolation=cv2.INTER_AREA)
            best = max(best, (_correlate(prints.thumbnail, turned, np.ones((height, width), bool)),
                              describe_turn(is_mirrored, 90 * n_turns)))
    return best


def correlate_overlap(prints: Prints, other: Prints) -> tuple[float, float, str]:
    """Returns the correlation of what two images have in common, its share of the smaller image, and how it lies.

    The position comes from key points with similar descriptors: shifted, turned by any angle, or mirrored. The
    correlation is 0 if no position is found, or if the images have less than 96 x 96 px in common.
    """
    best = 0., 0., ''
    for is_mirrored, position in _find_positions(prints, other):
        thumbnail = other.thumbnail[:, ::-1] if is_mirrored else other.thumbnail
        height, width = prints.thumbnail.shape
        # Corners of pixels count as whole numbers in the position, centres of pixels in OpenCV.
        in_thumbnails = position.copy()
        in_thumbnails[:, 2] = position[:, 2] / THUMBNAIL_FACTOR + position[:, :2].sum(axis=1) * .5 - .5
        moved, covered = (cv2.warpAffine(image, in_thumbnails, (width, height)) for image in (
            np.ascontiguousarray(thumbnail), np.full(thumbnail.shape, 255, np.uint8)))
        is_common = cv2.erode(covered, np.ones((3, 3), np.uint8), borderValue=255) == 255
        if is_common.sum() >= MIN_COMMON_PX:
            angle = float(np.degrees(np.arctan2(-position[1, 0], position[0, 0]))) % 360
            share = is_common.sum() / min(prints.thumbnail.size, thumbnail.size)
            best = max(best, (_correlate(prints.thumbnail, moved, is_common), min(float(share), 1.),
                              describe_turn(is_mirrored, angle)))
    return best


def describe_turn(is_mirrored: bool, angle: float) -> str:
    """Returns how an image was turned by an angle in degrees to the left; empty if it was not."""
    turned = f'turned by {angle:.0f} degrees' if round(angle) % 360 else ''
    return ' and '.join(filter(None, ['mirrored' if is_mirrored else '', turned]))


def _turn(image: np.ndarray, is_mirrored: bool, n_turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if is_mirrored else image, n_turns))


def _find_positions(prints: Prints, other: Prints) -> Iterator[tuple[bool, np.ndarray]]:
    """Yields whether the other image is mirrored, and the matrix (2, 3) that moves it, in px, onto the first."""
    for is_mirrored, points_xy, descriptors in ((False, other.points_xy, other.descriptors),
                                                (True, other.mirrored_points_xy, other.mirrored_descriptors)):
        if min(len(prints.descriptors), len(descriptors)) < _MIN_AGREEING:
            continue
        pairs = [(pair.queryIdx, pair.trainIdx) for pair in cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(
            descriptors, prints.descriptors) if pair.distance <= _MAX_HAMMING]
        if len(pairs) < _MIN_AGREEING:
            continue
        source, target = (points[list(index)] for points, index in zip(
            (points_xy, prints.points_xy), zip(*pairs, strict=True), strict=True))
        position, agreeing = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_TOLERANCE_PX)
        if (position is not None and agreeing.sum() >= _MIN_AGREEING
                and _SCALES[0] < np.hypot(position[0, 0], position[1, 0]) < _SCALES[1]):
            yield is_mirrored, position


def _correlate(first: np.ndarray, second: np.ndarray, is_common: np.ndarray) -> float:
    """Returns the correlation of the details of two images where both show something."""
    weight = is_common.astype(np.float32)
    details = [_details(image.astype(np.float32), weight)[is_common] for image in (first, second)]
    details = [values - values.mean() for values in details]
    length = np.prod([np.linalg.norm(values) for values in details])
    # A quarter of a grey value is what rounding leaves of an even image.
    return float(details[0] @ details[1] / length) if length > .25 ** 2 * len(details[0]) else 0.


def _details(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the details between the two sizes, as if there were nothing where the weight is 0."""
    small, large = (cv2.GaussianBlur(image * weight, (0, 0), sigma)
                    / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3) for sigma in _SIGMAS_PX)
    return small - large
