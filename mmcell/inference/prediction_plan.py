"""Decides how an image is predicted: whole, in tiles, or streamed from its file.

============================================ ================ ======================== ===============================
size of the image                            parts readable?  no side of tiles given   side of tiles given
============================================ ================ ======================== ===============================
up to ``WHOLE_PX`` / number of views         yes or no        whole                    in tiles of that side
above, up to ``STREAMED_PX``                 yes or no        in tiles of the default  in tiles of that side
above ``STREAMED_PX``                        no               in tiles of the default  in tiles of that side
above ``STREAMED_PX``                        yes              streamed, default tiles  streamed, in tiles of that side
============================================ ================ ======================== ===============================

An image of another scale than that of the model is enlarged or reduced for the prediction. Its size after that counts
for whole images, its own size for streamed ones, and tiles have their side after that.

If the test pipeline of the model changes images (resizes them, for example), the size of the file says little about the
size that is predicted: such images are predicted whole up to ``STREAMED_PX``, and cannot be streamed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmcell.writers.formats import PICTURE_FORMATS

# Larger images are predicted in tiles to save memory: only the first features of a ResNet take 64 bytes per pixel and
# view.
WHOLE_PX = 4_000_000
# Larger images are also read in tiles, and are never in memory as a whole.
STREAMED_PX = 25_000_000
# The side of tiles, unless views need smaller ones.
DEFAULT_TILE_PX = 1024
# A tile may only begin at multiples of this number of px, which is the largest stride of usual detectors.
_ALIGN_PX = 32


@dataclass(frozen=True)
class PredictionPlan:
    """How one image is predicted.

    Attributes:
        way: 'whole': at once. 'tiled': read as a whole, and predicted in overlapping tiles. 'streamed': read, predicted
            and written tile by tile, so that the image is never in memory as a whole.
        tile_px: Side of the tiles in px of the image; None if the image is predicted whole.
        formats: Output formats that are possible in this way. Pictures need an image in memory.
        refusal: Why the image cannot be predicted, and what to do; None if it can.
    """

    way: Literal['whole', 'tiled', 'streamed']
    tile_px: int | None = None
    formats: tuple[str, ...] = ()
    refusal: str | None = None


def prediction_plan(size: tuple[int, int], *, n_views: int = 1, tile_px: int | None = None, reads_parts: bool = False,
                    keeps_size: bool = True, formats: Sequence[str] = (), factor: float = 1.) -> PredictionPlan:
    """Returns how an image is predicted, by the table of this module.

    Args:
        size: Height and width of the image in px.
        n_views: Number of views that are predicted of the image or of each tile.
        tile_px: Side of the tiles that the user or the config of the model wants for all images; None for neither.
        reads_parts: Whether parts of the image can be read from its file without the rest.
        keeps_size: Whether the test pipeline of the model leaves the image as it was loaded.
        formats: The output formats that the user wants.
        factor: The factor by which the image is enlarged for the prediction.
    """
    n_px = size[0] * size[1]
    is_streamed = reads_parts and n_px > STREAMED_PX
    n_px_shown = n_px * factor ** 2
    if tile_px is None and not is_streamed and n_px_shown <= (WHOLE_PX // n_views if keeps_size else STREAMED_PX):
        return PredictionPlan('whole', None, tuple(formats))
    tile_px = tile_side_px(n_views, tile_px, factor)
    if not is_streamed:
        return PredictionPlan('tiled', tile_px, tuple(formats))
    possible, refusal = tuple(key for key in formats if key not in PICTURE_FORMATS), None
    if formats and not possible:
        refusal = f'is too large for {" and ".join(formats)}: name another format with --formats'
    elif not keeps_size:
        refusal = ('is too large to be predicted as a whole, and cannot be read in tiles either: the test pipeline of '
                   'the model changes images (resizes them, for example), and would change each tile in another way. '
                   'Use a model or --config whose test pipeline only loads and packs images')
    return PredictionPlan('streamed', tile_px, possible, refusal)


def tile_side_px(n_views: int = 1, tile_px: int | None = None, factor: float = 1.) -> int:
    """Returns the side of tiles in px of the image; the arguments are those of :func:`prediction_plan`."""
    tile_px = default_tile_px(n_views) if tile_px is None else tile_px
    return tile_px if factor == 1 else max(round(tile_px / factor / _ALIGN_PX), 2) * _ALIGN_PX


def default_tile_px(n_views: int = 1) -> int:
    """Returns the side of tiles in px if nobody has chosen one.

    All views of a tile are in memory at the same time. With 8 views, a tile may have 4,000,000 / 8 = 500,000 px. The
    side is then 707 px, rounded down to a multiple of 32: 704 px.
    """
    return min(DEFAULT_TILE_PX, int((WHOLE_PX / n_views) ** .5) // _ALIGN_PX * _ALIGN_PX)
