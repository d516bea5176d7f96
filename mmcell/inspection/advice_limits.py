"""How many proposals and detections a model must be allowed to return so that all cells can be found."""

from collections.abc import Iterator, Mapping

import numpy as np

from mmcell.inspection.advice_cells import SeenCells
from mmcell.inspection.advice_places import detector_key, find
from mmcell.inspection.advice_record import Advice, as_options

LIMITS = 100, 200, 300, 500, 1000, 2000
_STEPS = 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000
# Wrong detections take places, too: a new limit leaves a quarter more places than cells.
_ROOM = 1.25
# NMS leaves several proposals around a cell, and some where there is none.
_PROPOSALS_PER_CELL = 2


def reachable_share(counts: np.ndarray, limit: int) -> float:
    """Returns the share of cells, 0 to 1, that a model can find if it returns at most ``limit`` per image.

    Args:
        counts: (I,) integers, the number of cells of each image.
        limit: The limit.
    """
    return float(np.minimum(counts, limit).sum() / max(counts.sum(), 1))


def next_limit(number: float) -> int:
    """Returns the smallest round limit of at least this number."""
    return next((limit for limit in _STEPS if limit >= number), int(-(-number // 1000) * 1000))


def advise_limits(cells: SeenCells, config: Mapping, crop_px: float | None = None) -> Iterator[Advice]:
    """Advises on the limits of detections, and of proposals in training and in tests.

    A limit of detections fits if all cells of each image can be reached, a limit of proposals if it is twice the number
    of cells. ``nms_pre`` holds per level of the FPN: since most cells belong to one level, it should not be smaller.

    Args:
        cells: The cells.
        config: The config.
        crop_px: The side of the crops that the model is trained on; None: whole images.
    """
    key = detector_key(config)
    place = next((place for place in (f'{key}.test_cfg.rcnn', f'{key}.test_cfg') if find(
        config, f'{place}.max_per_img')), None)
    counts = cells.counts.sum(axis=1)
    if place is not None:
        yield _advise_detections(counts, f'{place}.max_per_img', find(config, f'{place}.max_per_img'))
    if find(config, f'{key}.test_cfg.rpn') is not None:
        n_trained = int(counts.max()) if crop_px is None else cells.most_in_windows(crop_px)
        yield _advise_proposals(config, key, int(counts.max()), n_trained)


def _advise_detections(counts: np.ndarray, key: str, limit: int) -> Advice:
    if limit <= 0:
        return Advice('detections', 'The number of detections is not limited.')
    share, most = reachable_share(counts, limit), int(counts.max())
    above = sum(counts > limit)
    needed = next_limit(_ROOM * most)
    shown = sorted({*LIMITS, limit, needed})
    table = (('limit', 'share of cells that can be found', 'images above it'),
             *((f'{value:,}' + (' (now)' if value == limit else ''), f'{reachable_share(counts, value):.1%}',
                str(int(sum(counts > value)))) for value in shown))
    if most <= limit:
        return Advice('detections', f'The limit of {limit:,} detections per image fits: the most crowded image has '
                      f'{most:,} cells.', table=table)
    return Advice('detections', f'With at most {limit:,} detections per image, only {share:.1%} of the cells can be '
                  f'found: {above} of {len(counts)} images have more cells, up to {most:,}. The limit {needed:,} is '
                  'above all of them and leaves room for wrong detections.',
                  {key: needed}, as_options({key: needed}), table)


def _advise_proposals(config: Mapping, key: str, most: int, most_trained: int) -> Advice:
    settings, texts = {}, []
    detections = find(config, f'{key}.test_cfg.rcnn.max_per_img', 0)
    for place, phase, number, least in (('test_cfg.rpn', 'tests', most, min(detections, _ROOM * most)),
                                        ('train_cfg.rpn_proposal', 'training', most_trained, 0)):
        limit, before_nms = (int(find(config, f'{key}.{place}.{name}', 0)) for name in ('max_per_img', 'nms_pre'))
        wanted = max(_PROPOSALS_PER_CELL * number, least)
        is_short = 0 < limit < wanted
        new_limit = next_limit(wanted) if is_short else limit
        if is_short:
            settings[f'{key}.{place}.max_per_img'] = new_limit
        if 0 < before_nms < min(wanted, new_limit or wanted):
            settings[f'{key}.{place}.nms_pre'] = max(new_limit, next_limit(wanted))
        texts.append(f'{limit:,} proposals ({before_nms:,} per level before NMS) in {phase}, where up to {number:,} '
                     'cells are seen at once')
    sentence = f'The config allows {texts[0]}, and {texts[1]}. '
    if not settings:
        return Advice('proposals', sentence + 'That is at least two per cell, which fits.')
    return Advice('proposals', sentence + 'Cells without a proposal cannot be found, and two proposals per cell are a '
                  'lower bound.', settings, as_options(settings))
