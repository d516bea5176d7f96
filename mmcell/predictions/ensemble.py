"""Predictions of several models for the same images, fused on RLE: boxes by weighted boxes fusion, masks by a mean."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.boxes.fusion import fuse_boxes
from mmcell.errors import MmcellError
from mmcell.masks.rle import encode_runs, foreground_pixels_of_all, parse_rles
from mmcell.predictions.dump_file import to_rles

# Pixels of masks that are held at once, some hundred bytes each.
_BATCH_PX = 1 << 21
_MAX_LISTED = 5


class EnsembleError(MmcellError):
    """Results do not belong together; the message says where they differ."""


def fuse_results(models: Sequence[list[dict]], names: Sequence[str], weights: Sequence[float] | None = None,
                 iou_threshold: float = .55, skip_threshold: float = 0.) -> Iterator[dict]:
    """Fuses the results of several models, image by image.

    Boxes, classes and scores are those of :func:`mmcell.boxes.fusion.fuse_boxes`. A pixel is in a fused mask where
    the masks that cover it have half of the sum of w s over all masks fused; w is a model's weight and s a score.

    Time and memory go with the pixels that masks cover, not with the size of images.

    Args:
        models: for each model what :func:`mmcell.predictions.dump_file.load_results` gives; images in any order.
        names: what errors call the models, the names of their files.
        weights: one positive number a model; None: all alike.
        iou_threshold, skip_threshold: of the fusion of boxes.

    Yields:
        One dict an image, in the order of the first model and with what that one says of the image. ``pred_instances``
        has bboxes (M, 4) float32 xyxy px, scores (M,) float32, labels (M,) int64, and masks, M RLEs.

    Raises:
        EnsembleError: images, classes or image sizes of the models differ, or there is no model, or the number of
            weights is another. Before the first image.
        ValueError: a weight is not positive, or an RLE is not valid.
    """
    weights = [1.] * len(models) if weights is None else weights
    if len(weights) != len(models) or not models:
        raise EnsembleError(f'{len(weights)} weights for {len(models)} results files: one each')
    by_id = [_index_by_image(results, name) for results, name in zip(models, names, strict=True)]
    for other, name in zip(by_id[1:], names[1:], strict=True):
        _check_same_images(by_id[0], other, names[0], name)
    return (_fuse_image([results[image_id] for results in by_id], np.asarray(weights, np.float64), iou_threshold,
                        skip_threshold) for image_id in by_id[0])


def _index_by_image(results: list[dict], name: str) -> dict:
    by_id = {result['img_id']: result for result in results}
    if len(by_id) < len(results):
        raise EnsembleError(f'{name}: {len(results)} results for {len(by_id)} images; an image id is there twice')
    for image_id, result in by_id.items():
        if len(_sizes_of(result)) > 1:
            raise EnsembleError(f'{name}: image {image_id} has masks of several sizes: {_sizes_of(result)}')
    return by_id


def _check_same_images(first: dict, other: dict, first_name: str, other_name: str) -> None:
    for here, there, has, lacks in ((first, other, first_name, other_name), (other, first, other_name, first_name)):
        missing = [image_id for image_id in here if image_id not in there]
        if missing:
            more = ' …' if len(missing) > _MAX_LISTED else ''
            raise EnsembleError(f'{has} has {len(missing)} images that {lacks} has not: image ids '
                                f'{", ".join(map(str, missing[:_MAX_LISTED]))}{more}')
    for image_id, result in first.items():
        for what, of_image in (('classes', _classes_of), ('image size (height, width)', _sizes_of)):
            values = [of_image(result), of_image(other[image_id])]
            if all(values) and values[0] != values[1]:
                raise EnsembleError(f'image {image_id}: {what} {values[0]} in {first_name}, {values[1]} in '
                                    f'{other_name}')


def _classes_of(result: dict) -> list[str] | None:
    """Names of the classes; MMDetection's own dumps have none."""
    return result.get('classes')


def _sizes_of(result: dict) -> list[tuple]:
    """(height, width) of the image, as far as the result tells it; more than one where the masks differ."""
    sizes = {tuple(rle['size']) for rle in to_rles(result['pred_instances']['masks'])}
    return sorted(sizes | ({tuple(result['ori_shape'][:2])} if 'ori_shape' in result else set()))


def _fuse_image(results: list[dict], weights: np.ndarray, iou_threshold: float, skip_threshold: float) -> dict:
    instances = [result['pred_instances'] for result in results]
    bboxes, scores, labels = (np.concatenate([np.asarray(one[key]) for one in instances])
                              for key in ('bboxes', 'scores', 'labels'))
    sources = np.repeat(np.arange(len(results)), [len(one['scores']) for one in instances])
    fused = fuse_boxes(bboxes, scores, labels, sources, weights, iou_threshold, skip_threshold)
    rles = [rle for one in instances for rle in to_rles(one['masks'])]
    return {**results[0], 'pred_instances': {
        'bboxes': fused.bboxes_xyxy.astype(np.float32), 'scores': fused.scores.astype(np.float32),
        'labels': fused.labels, 'masks': fuse_masks(rles, fused.fused_index, scores * weights[sources])}}


def fuse_masks(rles: list[dict], fused_index: np.ndarray, mask_weights: np.ndarray,
               threshold: float = .5) -> list[dict]:
    """Weighted means of masks, as RLE.

    Args:
        rles: N masks of one size.
        fused_index: (N,) which mean each mask goes into, from 0 without a gap; -1: none.
        mask_weights: (N,), not negative.
        threshold: least share of the weights of a mean's masks that must cover a pixel.

    Returns:
        M RLEs with counts as str.

    Raises:
        ValueError: an RLE is not valid.
    """
    order = np.argsort(fused_index, kind='stable')
    order = order[fused_index[order] >= 0]
    n_fused = fused_index.max(initial=-1) + 1
    if not n_fused:
        return []
    height, width = rles[0]['size']
    totals = np.bincount(fused_index[order], mask_weights[order], n_fused)
    runs = [_runs_inside([rles[i] for i in batch], fused_index[batch], mask_weights[batch], totals * threshold,
                         height * width)
            for batch in _batches_of_whole_means(order, rles, fused_index)]
    return encode_runs(*(np.concatenate(parts) for parts in zip(*runs, strict=True)), n_fused, height, width)


def _batches_of_whole_means(order: np.ndarray, rles: list[dict], fused_index: np.ndarray) -> list[np.ndarray]:
    """``order``, sorted by mean, in parts of about ``_BATCH_PX`` pixels that leave no mean in two parts."""
    runs, n_runs = parse_rles([rles[i] for i in order])
    # Every second run is inside; the first is not.
    inside = np.arange(len(runs)) - np.repeat(np.cumsum(n_runs) - n_runs, n_runs)
    n_px = np.add.reduceat(np.where(inside % 2 == 1, runs, 0), np.cumsum(n_runs) - n_runs)
    means = fused_index[order]
    first_of_mean = np.flatnonzero(np.diff(means, prepend=-1))
    begins = (np.cumsum(n_px) - n_px)[first_of_mean] // _BATCH_PX
    return np.split(order, first_of_mean[np.flatnonzero(np.diff(begins)) + 1])


def _runs_inside(rles: list[dict], fused_index: np.ndarray, mask_weights: np.ndarray, least: np.ndarray,
                 n_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, first and one-past-last position of the runs of pixels whose weights reach ``least`` of their mean."""
    positions, areas_px = foreground_pixels_of_all(rles)
    # Images of means one after another: pixels of one mean sort together, and down the columns.
    keys, pixel_of = np.unique(np.repeat(fused_index, areas_px) * n_px + positions, return_inverse=True)
    covered = np.bincount(pixel_of, np.repeat(mask_weights, areas_px), len(keys))
    # Sums of the same weights in another order may differ in their last digits.
    keys = keys[covered >= least[keys // n_px] * (1 - 1e-9)] if len(keys) else keys
    means = keys // n_px if len(keys) else keys
    begins = np.ones(len(keys), bool)
    begins[1:] = (np.diff(keys) != 1) | (np.diff(means) != 0)
    ends = np.append(begins[1:], True)[:len(keys)]
    positions = keys - means * n_px
    return means[begins], positions[begins], positions[ends] + 1
