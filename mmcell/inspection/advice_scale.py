"""Which scale of the input, size of crops, tiles and masks fit the sizes of cells."""

from collections.abc import Iterator, Mapping

import numpy as np

from mmcell.inspection.advice_cells import SeenCells
from mmcell.inspection.advice_places import (
    detector_key,
    find,
    find_pipelines,
    insert_after_loading,
    is_resizing,
    set_stages,
)
from mmcell.inspection.advice_record import Advice

# The finest level of an FPN has one value per 4 px. With fewer than three values across half of the cells, their
# shapes are hardly seen; with more than 40, the anchors and the 28 x 28 px of masks are far too coarse.
_STRIDE_PX, _MIN_MEDIAN_PX, _MAX_MEDIAN_PX, _WANTED_PX = 4, 12., 160., 24.
# How different the factors may be (percentiles 5 and 95 of the images) by which a pipeline resizes images.
_MAX_SPREAD = 2.
# Cells whose box is this much larger than the grid of the mask head lose their details.
_MAX_PX_PER_MASK_PX, _SHARE_OF_LARGE = 2.5, .1
_MAX_CUT_SHARE, _WANTED_CUT_SHARE = .3, .15
_CROPS_PX = 256, 384, 512, 768, 1024
# Larger images need more memory in training than most GPUs have, and tiles in prediction.
_LARGE_PX = 1400
_TILES_PX = 512, 768, 1024, 1536, 2048
_ALIGN_PX, _BORDER_PX = 32, 4
_CROWDED = 1000


def advise_scale(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on the factor by which images are resized: only if cells are much too small or too large for the FPN."""
    low, median, high = np.percentile(cells.sizes_px, (5, 50, 95))
    text = (f'The median of the cells is {median:.0f} px at the input (5 to 95 %: {low:.0f} to {high:.0f} px), which '
            f'is {median / _STRIDE_PX:.1f} values of the finest level of an FPN; {(cells.sizes_px < 12).mean():.0%} of '
            'the cells have fewer than three.')
    factors = np.sqrt(cells.scales.prod(axis=1))
    least, most = np.percentile(factors, (5, 95))
    if most / least > _MAX_SPREAD:
        text += (f' The pipeline resizes images by factors from {least:.2f} to {most:.2f}, so that equal cells have '
                 'different sizes: keep the scale of the images if they have the same um/px.')
    percents = 1, 5, 50, 95, 99
    table = (('percentile', 'px at the input'), *((f'{percent} %', f'{value:.1f}') for percent, value in zip(
        percents, np.percentile(cells.sizes_px, percents), strict=True)))
    if _MIN_MEDIAN_PX <= median <= _MAX_MEDIAN_PX:
        yield Advice('input-scale', f'{text} The scale fits.' if most / least <= _MAX_SPREAD else text, table=table)
        return
    factor = float(np.median(factors)) * _WANTED_PX / median
    factor = round(2 * factor) / 2 if factor > 1 else round(factor, 2)
    settings = {key: _resize(pipeline, factor) for key, pipeline in find_pipelines(config).items()}
    reason = 'too small to show shapes' if median < _MIN_MEDIAN_PX else 'far larger than the model needs'
    yield Advice('input-scale', f'{text} That is {reason}: resize the images by {factor:g}.', settings,
                 table=table)


def _resize(pipeline: list[dict], factor: float) -> list[dict]:
    step = dict(type='Resize', scale_factor=factor, keep_ratio=True)
    kept = [entry for entry in pipeline if not is_resizing(entry)]
    return insert_after_loading(kept, step)


def cut_share(boxes_wh: np.ndarray, sizes: np.ndarray, crop_px: float) -> float:
    """Returns which share of the cells in random square crops are cut by the border of the crop, 0 to 1.

    A window of length c that shows a part of an interval of length w shows all of it with the probability
    (c - w) / (c + w), unless the image is not longer than the window.

    Args:
        boxes_wh: (N, 2) float, widths and heights of the boxes in px.
        sizes: (N, 2) float, height and width of the image of each box in px.
        crop_px: The side of the crop.
    """
    shown = np.where(sizes[:, ::-1] <= crop_px, 1, ((crop_px - boxes_wh) / (crop_px + boxes_wh)).clip(0))
    return float(1 - shown.prod(axis=1).mean())


def find_crop(config: Mapping) -> tuple[str, int, int] | None:
    """Returns the key of the training pipeline, the place of its crop, and the side in px; None if it has none."""
    for key, pipeline in find_pipelines(config, ['train_dataloader']).items():
        for place, step in enumerate(pipeline):
            size = step.get('crop_size')
            if size is not None and step.get('crop_type', 'absolute') == 'absolute':
                return key, place, min(size) if isinstance(size, list | tuple) else size
    return None


def advise_crop(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on the side of the crops of the training: few cells should be cut, and crops should fit into memory."""
    boxes, sizes = cells.boxes_xywh[:, 2:], cells.sizes[cells.image_index]
    longest, crop = np.percentile(cells.sizes.max(axis=1), 95), find_crop(config)
    pipelines = find_pipelines(config, ['train_dataloader'])
    shares = {side: cut_share(boxes, sizes, side) for side in sorted({*_CROPS_PX, *(() if crop is None else crop[2:])})}
    wanted = next((side for side in _CROPS_PX if shares[side] <= _WANTED_CUT_SHARE), _CROPS_PX[-1])
    table = (('crop', 'cells cut by its border'), *((f'{side} px', f'{share:.1%}') for side, share in shares.items()))
    if crop is None and longest <= _LARGE_PX:
        yield Advice('crop', f'The model is trained on whole images of up to {longest:.0f} px (95 % of them), which '
                     'need no crop.')
    elif crop is None:
        wanted = max(wanted, 512)
        step = dict(type='RandomCrop', crop_size=(wanted, wanted), allow_negative_crop=True, recompute_bbox=True)
        yield Advice('crop', f'The model is trained on whole images, 5 % of which are longer than {longest:.0f} px at '
                     f'the input. Crops of {wanted} px need less memory, and cut {shares[wanted]:.1%} of their cells.',
                     {key: _insert_crop(pipeline, step) for key, pipeline in pipelines.items()}, table=table)
    elif shares[crop[2]] <= _MAX_CUT_SHARE or wanted <= crop[2]:
        yield Advice('crop', f'Crops of {crop[2]} px fit: their border cuts {shares[crop[2]]:.1%} of the cells that '
                     'they show.', table=table)
    else:
        key, place, side = crop
        changed = pipelines[key]
        changed[place] = {**changed[place], 'crop_size': (wanted, wanted)}
        yield Advice('crop', f'The border of crops of {side} px cuts {shares[side]:.1%} of the cells that they show, '
                     f'with {wanted} px {shares[wanted]:.1%}.', {key: changed}, table=table)


def _insert_crop(pipeline: list[dict], step: dict) -> list[dict]:
    n_resizing = next((place for place, entry in enumerate(pipeline) if not str(entry['type']).startswith('Load')
                       and not is_resizing(entry)), len(pipeline))
    only_visible = dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False)
    following = pipeline[n_resizing:]
    has_filter = bool(following) and following[0]['type'] == 'FilterAnnotations'
    return [*pipeline[:n_resizing], step, *([] if has_filter else [only_visible]), *following]


def advise_tiles(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on tiles for the prediction of large images, and on their overlap.

    The overlap must hold the longest side of nearly all cells (99.5 %) and the border in which cells count as cut, on
    both sides. A tile is at least four overlaps. Tiles are also advised for images with more than 1,000
    cells, because detections and proposals are limited per tile, too.
    """
    height, width = cells.sizes[cells.sizes.prod(axis=1).argmax()]
    longest = np.percentile(cells.sides_px, 99.5)
    overlap = int(np.ceil((longest + 2 * _BORDER_PX) / _ALIGN_PX)) * _ALIGN_PX
    limit = find(config, f'{detector_key(config)}.test_cfg.rcnn.max_per_img', 0)
    tile = next((side for side in _TILES_PX if side >= 4 * overlap), _TILES_PX[-1])
    flag = f'--tile {tile} --overlap {overlap}'
    most, most_per_tile = int(cells.counts.sum(axis=1).max()), cells.most_in_windows(tile)
    reason = (f'99.5 % of the cells are at most {longest:.0f} px long, and a tile has up to {most_per_tile:,} cells'
              + (f' (limit: {limit:,} detections).' if limit > 0 else '.'))
    text = f'The largest image has {width:.0f} x {height:.0f} px at the input, and the most crowded {most:,} cells'
    if max(height, width) <= _LARGE_PX and most <= _CROWDED:
        yield Advice('tiles', f'{text}: no tiles are needed. For larger images, {flag} fits: {reason}')
    else:
        yield Advice('tiles', f'{text}: predict in tiles with {flag}. {reason}', flag=flag)


def advise_masks(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on the grid of the mask head, which is stretched over the box of each cell."""
    key = detector_key(config)
    stages, extractor = (find(config, f'{key}.{name}') for name in ('train_cfg.rcnn', 'roi_head.mask_roi_extractor'))
    first = stages[0] if isinstance(stages, list | tuple) and stages else stages
    grid, roi = find(first or {}, 'mask_size'), find(extractor or {}, 'roi_layer.output_size')
    if grid is None or roi is None:
        return
    original_px = cells.sides_px
    share = (original_px > _MAX_PX_PER_MASK_PX * grid).mean()
    text = (f'Masks have {grid} x {grid} px per cell; {share:.1%} of the cells are longer than '
            f'{_MAX_PX_PER_MASK_PX * grid:.0f} px, at which a px of the mask covers {_MAX_PX_PER_MASK_PX:g} px')
    if share <= _SHARE_OF_LARGE or grid >= 56:
        yield Advice('masks', f'{text}. That fits.')
        return
    settings = {**set_stages(config, f'{key}.train_cfg.rcnn', 'mask_size', 2 * grid),
                f'{key}.roi_head.mask_roi_extractor.roi_layer.output_size': 2 * roi}
    yield Advice('masks', f'{text}. Twice as many keep their outlines; the mask head then needs four times the time.',
                 settings)
