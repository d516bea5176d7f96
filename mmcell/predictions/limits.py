"""Limits for files of predictions that other people made, so that reading one takes bounded time and memory."""

from dataclasses import dataclass


@dataclass
class Limits:
    """Limits that hold in this process for every file. Assign to an attribute of ``LIMITS`` to change one.

    Attributes:
        json_bytes: Greatest size of a JSON file, and of the JSON in a zip after it is unpacked.
        json_values: Greatest number of values in it. A value needs up to a hundred bytes of memory.
        image_px: Greatest number of pixels of an image that masks belong to.
        fused_px: Greatest number of pixels, together, of all masks that become one mask of an ensemble.
    """

    json_bytes: int = 2**30
    json_values: int = 50_000_000
    image_px: int = 1_000_000_000
    fused_px: int = 50_000_000


LIMITS = Limits()


def exceeds(limit: str, found: str) -> str:
    """Returns the sentence that says that what a file has (``found``) exceeds an attribute of :class:`Limits`."""
    return (f'{found}; the limit is {getattr(LIMITS, limit):,}: to raise the limit in Python, set '
            f'mmcell.predictions.limits.LIMITS.{limit}')
