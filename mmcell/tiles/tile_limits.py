"""Which sizes tiles may have. The commands check their flags with it, before they import anything else."""

from math import inf

OVERLAP_PX, BORDER_PX, ALIGN_PX = 128, 4., 32


def refuse_wrong_grid(tile_px: int, overlap_px: int, align_px: int = ALIGN_PX) -> None:
    """Stops if no grid of tiles can be laid.

    Args:
        tile_px, overlap_px, align_px: As for :func:`mmcell.tiles.tiling.make_grid`.

    Raises:
        ValueError: Tiles are smaller than ``align_px``, or would advance by less than ``align_px``.
    """
    if tile_px < align_px:
        raise ValueError(f'tiles must have a side of at least {align_px} px, got {tile_px}')
    if not 0 <= overlap_px <= tile_px - align_px:
        raise ValueError(f'the overlap must be from 0 to {tile_px - align_px} px (tiles of {tile_px} px, which must '
                         f'advance by at least {align_px} px), got {overlap_px}')


def refuse_wrong_tiles(tile_px: int, overlap_px: int = OVERLAP_PX, batch_size: int = 1, upscale: float = 1.,
                       border_px: float = BORDER_PX, align_px: int = ALIGN_PX) -> None:
    """Stops if images cannot be predicted in tiles with these settings.

    Args:
        tile_px, overlap_px, batch_size, upscale, border_px, align_px: As for
            :class:`mmcell.models.tiled_detector.TiledDetector`, whose defaults they have.

    Raises:
        ValueError: A size, ``batch_size`` or ``upscale`` is out of its range.
    """
    refuse_wrong_grid(tile_px, overlap_px, align_px)
    if not 0 < 2 * border_px <= overlap_px:
        raise ValueError('border_px must be positive and overlap_px at least twice border_px, got '
                         f'border_px={border_px:g} and overlap_px={overlap_px}')
    if batch_size < 1 or not 0 < upscale < inf:
        raise ValueError('batch_size must be at least 1, and upscale positive and finite, got '
                         f'batch_size={batch_size} and upscale={upscale}')
