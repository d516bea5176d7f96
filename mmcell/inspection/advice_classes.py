"""How many classes a model needs, and whether rare classes should be shown more often."""

from collections.abc import Iterator, Mapping

import numpy as np

from mmcell.datasets.class_balance import class_factors, image_weights
from mmcell.errors import list_some
from mmcell.inspection.advice_cells import SeenCells
from mmcell.inspection.advice_places import detector_key, find, find_data_set, find_pipelines, set_stages
from mmcell.inspection.advice_record import Advice, as_options
from mmcell.inspection.advice_scale import find_crop
from mmcell.settings.names import iterate_dicts

# A class is rare if it has less than this share of the cells that it would have if all classes were equally frequent.
_RARE = .4
# A way to show rare classes more often is advised if the rarest gains this factor.
_MIN_FACTOR = 1.2
# The default of ClassBalancedCrop, and how many crops per image are drawn to estimate what it shows.
_UNIFORM_FRACTION = .5
_DRAWS = 200
_BALANCING = {'ClassBalancedSampler', 'ClassBalancedInfiniteSampler', 'ClassBalancedCrop', 'CellCopyPaste'}
# The heads of two-stage detectors, and of detectors such as YOLACT.
_HEADS = 'roi_head.bbox_head', 'roi_head.mask_head', 'bbox_head', 'mask_head', 'segm_head'
_PLAIN = {'SeededSampler': 'ClassBalancedSampler', 'SeededInfiniteSampler': 'ClassBalancedInfiniteSampler'}


def advise_classes(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on ``num_classes`` of all heads."""
    wanted, settings, numbers = len(cells.class_names), {}, []
    for name in _HEADS:
        key = f'{detector_key(config)}.{name}'
        heads = find(config, key, [])
        found = [head.get('num_classes') for head in (heads if isinstance(heads, list | tuple) else [heads])]
        if found and None not in found:
            numbers += found
            settings |= {} if set(found) == {wanted} else set_stages(config, key, 'num_classes', wanted)
    if numbers:
        named = f'{wanted} class{"es" * (wanted > 1)} ({list_some(cells.class_names)})'
        yield Advice('classes', f'The data have {named}, the model {" and ".join(map(str, sorted(set(numbers))))}.' + (
            '' if settings else ' That fits.'), settings, as_options(settings))


def cells_per_crop(cells: SeenCells, crop_px: float | None, uniform_fraction: float = 1., seed: int = 0) -> np.ndarray:
    """Estimates how many cells of each class a crop of each image shows, (I, C) float64.

    200 crops per image are drawn; a cell belongs to a crop if the centre of its box lies in it.

    Args:
        cells: The cells.
        crop_px: The side of the crops; None: the images are not cropped.
        uniform_fraction: The fraction of crops that lie anywhere, as in ``RandomCrop``; the others show a cell of a
            class that is drawn first, as in ``ClassBalancedCrop``.
        seed: The seed of the crops.
    """
    if crop_px is None:
        return cells.counts.astype(float)
    rng, shown = np.random.default_rng(seed), np.zeros(cells.counts.shape)
    for row, centers, labels, size in zip(shown, cells.of_each_image(cells.centers_xy),
                                          cells.of_each_image(cells.class_index), cells.sizes, strict=True):
        if len(labels):
            corners = _draw_corners(centers, labels, size[::-1], crop_px, uniform_fraction, rng)[:, None]
            is_inside = ((centers >= corners) & (centers < corners + crop_px)).all(axis=2)
            row += np.bincount(labels, is_inside.mean(axis=0), len(row))
    return shown


def _draw_corners(centers_xy: np.ndarray, labels: np.ndarray, size_xy: np.ndarray, crop_px: float,
                  uniform_fraction: float, rng: np.random.Generator) -> np.ndarray:
    free = (size_xy - crop_px).clip(0)
    anywhere = rng.uniform(0, 1, (_DRAWS, 2)) * free
    # First a class of the image is drawn, then one of its cells, then where in the crop it lies.
    weights = 1 / np.bincount(labels)[labels]
    aims = centers_xy[rng.choice(len(labels), _DRAWS, p=weights / weights.sum())]
    aimed = (aims - crop_px * rng.uniform(0, 1, (_DRAWS, 2))).clip(0, free)
    return np.where(rng.uniform(size=(_DRAWS, 1)) < uniform_fraction, anywhere, aimed)


def advise_sampling(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on class-balanced sampling of images, or on crops where many images have the rare classes.

    A class is rare if it has less than .4 of its fair share, 1 / C. Of sampler and crop, the one that shows the rarest
    class more often is advised, if it shows it at least 1.2 times as often as now.
    """
    totals = cells.counts.sum(axis=0)
    shares, present = totals / totals.sum(), totals > 0
    rare = present & (shares < _RARE / max(present.sum(), 1))
    names = [f'{name} {share:.1%}' for name, share in zip(cells.class_names, shares, strict=True)]
    if len(names) == 1:
        yield Advice('sampling', 'There is only one class, so that all images can be drawn equally often.')
        return
    if not rare.any():
        yield Advice('sampling', f'No class is rare (shares of the cells: {list_some(names)}): all images can be drawn '
                     'equally often.')
        return
    rarest = int(np.where(present, shares, np.inf).argmin())
    text = f'Only {shares[rarest]:.1%} of the cells ({totals[rarest]:,}) are {cells.class_names[rarest]}'
    crop = find_crop(config)
    used = {str(settings.get('type')) for _, settings in iterate_dicts(config.get('train_dataloader') or {})
            if settings.get('type') != 'CellCopyPaste' or settings.get('classes')}
    if used & _BALANCING:
        yield Advice('sampling', f'{text}. The config shows rare classes more often already.')
        return
    pasted = [name for name, is_rare in zip(cells.class_names, rare, strict=True) if is_rare]
    paste = (f' CellCopyPaste(classes={pasted}) can show them still more often: see '
             'configs/cell/mask-rcnn_r50_rare-paste.py.')
    now, ways = _ways(cells, config, crop)
    table = (('share of the cells shown', *cells.class_names),
             *((name, *(f'{share:.1%}' for share in values)) for name, values, _ in (('now', now, {}), *ways)))
    name, values, settings = max(ways, key=lambda way: way[1][rarest], default=('', now, {}))
    if values[rarest] < _MIN_FACTOR * now[rarest]:
        yield Advice('sampling', f'{text}. Neither drawing images nor placing crops by class shows them much more '
                     f'often.{paste}', table=table)
        return
    yield Advice('sampling', f'{text}. {name} raises their share of the cells that the training shows from '
                 f'{now[rarest]:.1%} to {values[rarest]:.1%}.{paste}', settings, as_options(settings), table)


def _ways(cells: SeenCells, config: Mapping, crop: tuple[str, int, int] | None) -> tuple[
        np.ndarray, list[tuple[str, np.ndarray, dict]]]:
    """Returns the shares of the classes now, and names, shares and settings of the ways to show rare classes more."""
    shown, ways = cells_per_crop(cells, None if crop is None else crop[2]), []
    sampler = find(config, 'train_dataloader.sampler.type')
    if sampler in _PLAIN and find_data_set(config, 'train_dataloader') is not None:
        weights = image_weights(cells.counts, class_factors(cells.counts))
        ways.append((_PLAIN[sampler], _shares(weights[:, None] * shown),
                     {'train_dataloader.sampler.type': _PLAIN[sampler]}))
    if crop is not None and _step(config, crop)['type'] == 'RandomCrop':
        key, place, side = crop
        pipeline = find_pipelines(config, ['train_dataloader'])[key]
        pipeline[place] = dict(type='ClassBalancedCrop', crop_size=pipeline[place]['crop_size'])
        ways.append(('ClassBalancedCrop', _shares(cells_per_crop(cells, side, _UNIFORM_FRACTION)), {key: pipeline}))
    return _shares(shown), ways


def _shares(shown: np.ndarray) -> np.ndarray:
    return shown.sum(axis=0) / max(shown.sum(), 1e-9)


def _step(config: Mapping, crop: tuple[str, int, int]) -> dict:
    return find_pipelines(config, ['train_dataloader'])[crop[0]][crop[1]]
