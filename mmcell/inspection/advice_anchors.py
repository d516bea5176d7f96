"""Which anchors fit the boxes of cells: k-means with the IoU as similarity against the anchors of a config."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

import numpy as np

from mmcell.inspection.advice_cells import SeenCells
from mmcell.inspection.advice_places import detector_key, find
from mmcell.inspection.advice_record import Advice, as_options

# Other anchors are advised only if they raise the mean of the recalls at IoU .5 and .7 by this much; an anchor with .7,
# and the best anchor of each cell, are the positive examples of the RPN.
# For less, a model that cannot be compared with others, or start from their weights, is not worth it.
MIN_GAIN = .05
# Twice the anchors per position have to earn their cost as well.
_MIN_GAIN_OF_MORE = .1
IOU_THRESHOLDS = .5, .7
# A square anchor of twice its stride has an IoU of at least .39 with a box of its size; a smaller one may have none.
_SIZE_PER_STRIDE = 2
_MAX_BOXES = 20_000
_MAX_ROUNDS, _N_ATTEMPTS = 300, 5
# Settings that differ from those of the config, and the recalls that they reach.
_Candidate = tuple[dict, tuple[float, float]]


def iou_of_shapes(first_wh: np.ndarray, second_wh: np.ndarray) -> np.ndarray:
    """Returns the IoU (N, K) of boxes (N, 2) and (K, 2) of widths and heights that have the same centre."""
    shared = np.minimum(first_wh[:, None], second_wh[None]).prod(axis=2)
    return shared / (first_wh.prod(axis=1)[:, None] + second_wh.prod(axis=1)[None] - shared)


def cluster_shapes(boxes_wh: np.ndarray, n_clusters: int) -> np.ndarray:
    """Returns the centres of k-means with the distance 1 - IoU (Redmon & Farhadi 2017, "YOLO9000", section 2).

    The best of five attempts is taken, whose first centres are drawn by k-means++ (Arthur & Vassilvitskii 2007) from a
    fixed seed. scikit-learn's k-means has only the Euclidean distance.

    Args:
        boxes_wh: (N, 2) float, widths and heights in px, positive.
        n_clusters: K; fewer centres are returned if there are fewer different boxes.

    Returns:
        (K, 2) float64, the mean width and height of each cluster, by ascending area, then by ascending h / w.
    """
    rng = np.random.default_rng(0)
    attempts = [_refine(boxes_wh, _draw_centers(boxes_wh, n_clusters, rng)) for _ in range(_N_ATTEMPTS)]
    centers = max(attempts, key=lambda centers: iou_of_shapes(boxes_wh, centers).max(axis=1).mean())
    return centers[np.lexsort((centers[:, 1] / centers[:, 0], centers.prod(axis=1).round(6)))]


def _draw_centers(boxes_wh: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [int(rng.integers(len(boxes_wh)))]
    while len(chosen) < n_clusters:
        distances = 1 - iou_of_shapes(boxes_wh, boxes_wh[chosen]).max(axis=1)
        if distances.max() < 1e-9:
            break
        chosen.append(int(rng.choice(len(boxes_wh), p=distances ** 2 / (distances ** 2).sum())))
    return boxes_wh[chosen].astype(float)


def _refine(boxes_wh: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Moves centres to the means of the boxes that are nearest to them, until these boxes stay the same."""
    nearest = None
    for _ in range(_MAX_ROUNDS):
        before, nearest = nearest, iou_of_shapes(boxes_wh, centers).argmax(axis=1)
        if before is not None and (nearest == before).all():
            break
        counts = np.bincount(nearest, minlength=len(centers))[:, None]
        sums = np.stack([np.bincount(nearest, boxes_wh[:, axis], len(centers)) for axis in (0, 1)], axis=1)
        centers = np.where(counts > 0, sums / np.maximum(counts, 1), centers)
    return centers


def best_ious_on_grids(boxes_xywh: np.ndarray, sizes: np.ndarray, anchors: Sequence[np.ndarray],
                       strides: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns the greatest IoU of each box with the anchors of a whole image, (N,) float64.

    Of all positions of an anchor, the nearest to the box in x and in y has the greatest overlap. The values are those
    of :func:`mmcell.boxes.anchor_recall.best_ious` with all anchors of :func:`~mmcell.boxes.anchor_recall.lay_anchors`,
    which looks at many pairs per box; here there is one pair per box and shape.

    Args:
        boxes_xywh: (N, 4) float, boxes in px.
        sizes: (N, 2) float, height and width of the image of each box in px.
        anchors: The anchors of one position, (A, 4) xyxy in px relative to the position, one array per level.
        strides: The distances of positions in x and y in px, one pair per level.
    """
    low, wh = boxes_xywh[:, None, :2], boxes_xywh[:, None, 2:]
    best = np.zeros(len(boxes_xywh))
    for anchors_xyxy, stride in zip(anchors, strides, strict=True):
        n_positions = np.ceil(sizes[:, None, ::-1] / stride)
        anchor_low, anchor_wh = anchors_xyxy[None, :, :2], anchors_xyxy[None, :, 2:] - anchors_xyxy[None, :, :2]
        position = np.rint((low + wh / 2 - anchor_low - anchor_wh / 2) / stride).clip(0, n_positions - 1) * stride
        start = np.maximum(low, anchor_low + position)
        stop = np.minimum(low + wh, anchor_low + position + anchor_wh)
        shared = (stop - start).clip(0).prod(axis=2)
        ious = shared / (wh.prod(axis=2) + anchor_wh.prod(axis=2) - shared)
        best = np.maximum(best, ious.max(axis=1))
    return best


def propose_anchors(boxes_wh: np.ndarray, strides: Sequence[int], ratios: Sequence[float]) -> list[dict]:
    """Returns settings of ``AnchorGenerator`` that may fit boxes: base sizes per level, scales, and ratios (h / w).

    The sizes are the centres of clusters, with one per level of the FPN, but at least twice the stride. Scales give
    each level the size of a cluster, and the other levels sizes in proportion to their strides.

    Args:
        boxes_wh: (N, 2) float, widths and heights in px.
        strides: The stride of each level in px, ascending.
        ratios: The ratios of the config; as many are made from clusters of the shapes.
    """
    shapes = cluster_shapes(boxes_wh / np.sqrt(boxes_wh.prod(axis=1, keepdims=True)), len(ratios))
    clustered = np.unique((shapes[:, 1] / shapes[:, 0] / .05).round() * .05).round(2).tolist()
    sizes = np.sqrt(cluster_shapes(boxes_wh, len(strides)).prod(axis=1))
    sizes = np.concatenate([sizes, np.full(len(strides) - len(sizes), sizes[-1])])
    scales = {float(round(2 * value) / 2) for level, stride in enumerate(strides[:2])
              for value in sizes[:level + 2] / stride if value >= 1}
    layouts: list[dict] = [dict(base_sizes=[max(round(size), _SIZE_PER_STRIDE * stride) for size, stride in zip(
        sizes.tolist(), strides, strict=True)], scales=[1.])]
    layouts += [dict(scales=[scale]) for scale in sorted(scales)]
    layouts += [dict(scales=[scale, round(scale * 2 ** .5, 2)]) for scale in sorted(scales)]
    return [dict(layout, ratios=values) for layout in layouts
            for values in ([float(ratio) for ratio in ratios], clustered)]


def advise_anchors(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    """Advises on the anchors of the RPN, if there is one.

    The recall is the share of cells of which a box has an IoU of at least .5 or .7 with an anchor, before anything is
    learned. At most 20,000 cells, evenly spaced in the files, are looked at.
    """
    key = f'{detector_key(config)}.rpn_head.anchor_generator'
    settings = find(config, key)
    if settings is None or find(settings, 'strides') is None:
        return
    chosen = np.linspace(0, len(cells.boxes_xywh) - 1, min(len(cells.boxes_xywh), _MAX_BOXES)).astype(int)
    boxes, sizes = cells.boxes_xywh[chosen], cells.sizes[cells.image_index[chosen]]
    strides = [stride if isinstance(stride, int) else stride[0] for stride in settings['strides']]
    own = _recalls(settings, boxes, sizes)
    candidates = [(changes, _recalls(_with(settings, changes), boxes, sizes)) for changes in propose_anchors(
        boxes[:, 2:], strides, settings['ratios'])]
    best_of_few, best = _rank(candidates, _n_shapes(settings))
    changes, recalls = best if mean(best[1]) - mean(best_of_few[1]) >= _MIN_GAIN_OF_MORE else best_of_few
    table = _tabulate([('configured', settings, own), *((name, _with(settings, entry[0]), entry[1]) for name, entry in {
        'best of as many': best_of_few, 'best of up to twice as many': best}.items())])
    reached = f'{own[0]:.1%} of the cells have an anchor with an IoU of at least .5, and {own[1]:.1%} of at least .7'
    if mean(recalls) - mean(own) < MIN_GAIN:
        yield Advice('anchors', f'The anchors of the config fit: {reached}. The best of others reach {recalls[0]:.1%} '
                     f'and {recalls[1]:.1%}.', table=table)
        return
    new_settings = {f'{key}.{name}': value for name, value in _new_values(settings, changes)}
    numbers = [_n_shapes(settings), _n_shapes(changes)]
    per_position = f', with {numbers[1]} anchors per position in place of {numbers[0]}' * (numbers[0] != numbers[1])
    yield Advice('anchors', f'{reached}, before training. Anchors from k-means of the boxes reach {recalls[0]:.1%} and '
                 f'{recalls[1]:.1%}{per_position}: {_describe(_with(settings, changes))}.', new_settings,
                 as_options(new_settings), table)


def _tabulate(rows: Sequence[tuple[str, dict, tuple[float, float]]]) -> tuple[tuple[str, ...], ...]:
    return (('anchors', 'per position', 'cells with IoU >= .5', 'cells with IoU >= .7'),
            *((f'{name}: {_describe(settings)}', str(_n_shapes(settings)), *(f'{recall:.1%}' for recall in recalls))
              for name, settings, recalls in rows))


def _rank(candidates: Sequence[_Candidate], n_shapes: int) -> tuple[_Candidate, _Candidate]:
    """Returns the candidates with the best recall: of those with as many anchors per position as now, and of all."""
    few = [entry for entry in candidates if _n_shapes(entry[0]) <= n_shapes]
    best_of_few, best = (max(entries, key=lambda entry: mean(entry[1])) for entries in (few or candidates, candidates))
    return best_of_few, best


def _with(settings: dict, changes: dict) -> dict:
    # Octaves are another way to write scales; base sizes are the strides unless they are given.
    unused = dict.fromkeys(name for name in ('octave_base_scale', 'scales_per_octave', 'base_sizes')
                           if settings.get(name) is not None)
    return {**settings, **unused, **changes}


def _new_values(settings: dict, changes: dict) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in _with(settings, changes).items() if settings.get(name) != value)


def _recalls(settings: dict, boxes_xywh: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    from mmdet.registry import TASK_UTILS
    generator = TASK_UTILS.build(settings)
    best = best_ious_on_grids(boxes_xywh, sizes, [level.numpy().astype(float) for level in generator.base_anchors],
                              generator.strides)
    low, high = ((best >= threshold).mean().item() for threshold in IOU_THRESHOLDS)
    return low, high


def _n_shapes(settings: dict) -> int:
    return len(settings['ratios']) * len(settings.get('scales') or range(settings.get('scales_per_octave') or 1))


def _describe(settings: dict) -> str:
    strides = [stride if isinstance(stride, int) else stride[0] for stride in settings['strides']]
    bases = settings.get('base_sizes') or strides
    scales = settings.get('scales') or [settings['octave_base_scale'] * 2 ** (octave / settings['scales_per_octave'])
                                        for octave in range(settings['scales_per_octave'])]
    levels = ', '.join('+'.join(f'{base * scale:.0f}' for scale in scales) for base in bases)
    return f'{levels} px with h/w {", ".join(f"{ratio:g}" for ratio in settings["ratios"])}'
