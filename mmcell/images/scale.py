"""The scale of images, in micrometres per pixel. Importing this is cheap."""

import argparse
from collections.abc import Sequence
from statistics import median

# Scales outside of this range do not come from a microscope: the 72, 96 or 300 pixels per inch that image editors write
# are 353 to 85 um per pixel.
MIN_MPP, MAX_MPP = .01, 20
# Scales that differ by less than this factor count as equal: cells of one kind differ more in size.
SAME_SCALE = 1.1
# Images are enlarged or reduced at most by this factor: a greater one is more likely a mistake than a microscope.
MAX_FACTOR = 16


def is_plausible_mpp(mpp: float) -> bool:
    """Returns whether a number can be the micrometres per pixel of a microscope's image; NaN cannot."""
    return MIN_MPP <= mpp <= MAX_MPP


def refuse_implausible_mpp(mpp: float) -> None:
    """Stops if a setting cannot be the micrometres per pixel of a microscope's image.

    Raises:
        ValueError: It cannot.
    """
    if not is_plausible_mpp(mpp):
        raise ValueError(f'mpp must be from {MIN_MPP} to {MAX_MPP} um per pixel, got {mpp}')


def parse_mpp(text: str) -> float:
    """Returns the micrometres per pixel in an argument of a command.

    Raises:
        argparse.ArgumentTypeError: The text is no plausible number, which argparse prints.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.
    if not is_plausible_mpp(value):
        raise argparse.ArgumentTypeError(f'{text!r} is no number of micrometres per pixel from {MIN_MPP} to {MAX_MPP}')
    return value


def to_mpp(value: object) -> float | None:
    """Returns the micrometres per pixel that a file states; None for anything but a plausible number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and is_plausible_mpp(value) else None


def same_scale(first_mpp: float, second_mpp: float) -> bool:
    """Returns whether two scales count as equal."""
    return 1 / SAME_SCALE < first_mpp / second_mpp < SAME_SCALE


def common_mpp(stated: Sequence[float | None]) -> float | None:
    """Returns the scale of images that all state about the same one, their median; None if they do not."""
    if not stated or None in stated or not same_scale(max(stated), min(stated)):
        return None
    return median(stated)


def find_rescaling(image_mpp: float | None, model_mpp: float | None) -> float:
    """Returns the factor by which an image is enlarged before a model that knows another scale predicts it.

    Args:
        image_mpp: Micrometres per pixel of the image; None if not known.
        model_mpp: Micrometres per pixel of the images that the model was trained with; None if not known.

    Returns:
        The factor, below 1 if the image is reduced. It is 1 if a scale is not known, and if both count as equal.

    Raises:
        ValueError: The factor is beyond ``MAX_FACTOR``.
    """
    if image_mpp is None or model_mpp is None or same_scale(image_mpp, model_mpp):
        return 1.
    factor = image_mpp / model_mpp
    if not 1 / MAX_FACTOR <= factor <= MAX_FACTOR:
        raise ValueError(f'has {image_mpp:g} um per pixel, but the model was trained at {model_mpp:g}: a factor of '
                         f'{max(factor, 1 / factor):.0f} is probably a mistake')
    return factor
