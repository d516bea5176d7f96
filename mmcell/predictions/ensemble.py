"""Fuses the predictions of several models for the same images: boxes by weighted boxes fusion, masks by their mean.

Masks are RLEs throughout: time and memory are proportional to the pixels that masks cover, not to the size of images.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mmcell.boxes.fusion import fuse_boxes
from mmcell.classes.matching import match_classes
from mmcell.errors import MmcellError, list_some
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import areas_px, encode_runs, foreground_pixels_of_all
from mmcell.masks.runs import MaskRuns
from mmcell.masks.suppression import MaskNMS, suppress_masks
from mmcell.predictions.limits import LIMITS, exceeds
from mmcell.predictions.rules import problem_of_labels
from mmcell.ragged import begins_of, begins_of_runs, groups_of, reduce_groups

# How many pixels of masks are worked on at once. Each of them needs some hundred bytes of memory.
_BATCH_PX = 1 << 21


class EnsembleError(MmcellError):
    """The results of several models do not belong together. The message says where they differ."""


def fuse_results(models: Sequence[list[dict]], names: Sequence[str], weights: Sequence[float] | None = None,
                 iou_threshold: float = .55, skip_threshold: float = 0.,
                 mask_nms: MaskNMS | None = None) -> Iterator[dict]:
    """Fuses the results of several models, image by image.

    Boxes, classes and scores are fused by :func:`mmcell.boxes.fusion.fuse_boxes`. Each mask of a fused cell has the
    weight w s, where w is the weight of its model and s its score. A pixel belongs to the fused mask if the masks that
    cover it have at least half of the sum of these weights.

    Labels follow the first model: classes are matched by their names, as far as the results contain them.

    Args:
        models: The results of each model, as :func:`mmcell.predictions.dump_file.load_results` returns them. Their
            images may be in any order.
        names: How error messages call the models, for example the names of their files.
        weights: One positive number per model; None gives all models the same weight.
        iou_threshold: Boxes of the same class with a larger IoU are fused, from 0 to 1.
        skip_threshold: Detections with a lower score are left out, from 0 to 1.
        mask_nms: Settings of the non-maximum suppression that the fused masks of each image undergo; None for none.

    Yields:
        One dict per image, in the order of the first model, and with what the first model says about the image. Its
        ``pred_instances`` has bboxes (M, 4) float32 xyxy in px, scores (M,) float32, labels (M,) int64, and masks,
        which are M RLEs.

    Raises:
        ClassesError: The models have other classes. Like all errors, it is raised by the call, before the first image.
        EnsembleError: There is no model, the number of weights is wrong, the models differ in images or image sizes, or
            a label has no class.
        ValueError: A weight is not positive.
    """
    weights = [1.] * len(models) if weights is None else weights
    if len(weights) != len(models) or not models:
        raise EnsembleError(f'{len(weights)} weights for {len(models)} results files: give one weight per file')
    for results, name in zip(models, names, strict=True):
        _check_labels(results, name)
    first, *others = ({result['img_id']: result for result in results} for results in models)
    by_id = [first, *(_with_labels_of(first, other, names[0], name)
                      for other, name in zip(others, names[1:], strict=True))]
    fused = (_fuse_image([results[image_id] for results in by_id], np.asarray(weights, np.float64), iou_threshold,
                         skip_threshold) for image_id in first)
    return fused if mask_nms is None else (_suppress(result, mask_nms) for result in fused)


def _check_labels(results: list[dict], name: str) -> None:
    """Raises EnsembleError if a label stands for none of the classes, as far as the results of a model name them."""
    for result in results:
        classes, labels = result.get('classes'), np.asarray(result['pred_instances']['labels'])
        problem = None if classes is None else problem_of_labels(labels, len(classes))
        if problem is not None:
            raise EnsembleError(f"{name}: image {result['img_id']}: {problem}")


def _check_same_images(first: dict, other: dict, first_name: str, other_name: str) -> None:
    """Raises EnsembleError if two models differ in images or image sizes, as far as both have them."""
    for here, there, has, lacks in ((first, other, first_name, other_name), (other, first, other_name, first_name)):
        missing = [image_id for image_id in here if image_id not in there]
        if missing:
            raise EnsembleError(f'{has} has {len(missing)} images that {lacks} does not have: image ids '
                                f'{list_some(missing)}. Predictions of different images, as of the folds of a '
                                'cross-validation, are joined with --join ANNOTATIONS')
    for image_id, result in first.items():
        sizes = [_size_of(result), _size_of(other[image_id])]
        if all(sizes) and sizes[0] != sizes[1]:
            raise EnsembleError(f'image {image_id}: image size (height, width) {sizes[0]} in {first_name}, but '
                                f'{sizes[1]} in {other_name}')


def _with_labels_of(first: dict, other: dict, first_name: str, other_name: str) -> dict:
    """Returns the results of another model for the same images, by image id, with the labels of the first model."""
    _check_same_images(first, other, first_name, other_name)
    changed = {}
    for image_id, result in other.items():
        classes, wanted = result.get('classes'), first[image_id].get('classes')
        if classes is not None and wanted is not None:
            label_of = np.array(match_classes(classes, wanted, other_name, first_name), np.int64)
            instances = result['pred_instances']
            labels = np.asarray(instances['labels']).astype(np.int64)
            result = {**result, 'pred_instances': {**instances, 'labels': label_of[labels]}}
        changed[image_id] = result
    return changed


def _size_of(result: dict) -> tuple[int, int] | None:
    """Returns the (height, width) of the image in px, or None if there is neither a mask nor ``ori_shape``."""
    rles = masks_to_rles(result['pred_instances']['masks'][:1])
    size = rles[0]['size'] if rles else result.get('ori_shape')
    return None if size is None else tuple(size[:2])


def _fuse_image(results: list[dict], weights: np.ndarray, iou_threshold: float, skip_threshold: float) -> dict:
    instances = [result['pred_instances'] for result in results]
    bboxes, scores, labels = (np.concatenate([np.asarray(model_instances[key]) for model_instances in instances])
                              for key in ('bboxes', 'scores', 'labels'))
    # Two models with two detections and one detection give sources = [0, 0, 1].
    sources = groups_of([len(model_instances['scores']) for model_instances in instances])
    fused = fuse_boxes(bboxes, scores, labels, sources, weights, iou_threshold, skip_threshold)
    rles = [rle for model_instances in instances for rle in masks_to_rles(model_instances['masks'])]
    return {**results[0], 'pred_instances': {
        'bboxes': fused.bboxes_xyxy.astype(np.float32), 'scores': fused.scores.astype(np.float32),
        'labels': fused.labels, 'masks': fuse_masks(rles, fused.fused_index, scores * weights[sources])}}


def _suppress(result: dict, nms: MaskNMS) -> dict:
    """Returns the fused cells of one image that NMS of their masks keeps."""
    instances = result['pred_instances']
    rles, scores = instances['masks'], instances['scores']
    if not rles:
        return result
    kept = suppress_masks(MaskRuns.from_rles(rles, *rles[0]['size']), scores, instances['labels'], nms)
    return {**result, 'pred_instances': {**{key: instances[key][kept] for key in ('bboxes', 'scores', 'labels')},
                                         'masks': [rles[i] for i in kept]}}


def fuse_masks(rles: list[dict], fused_index: np.ndarray, mask_weights: np.ndarray) -> list[dict]:
    """Computes weighted means of masks and cuts them at one half.

    Args:
        rles: N masks of one size.
        fused_index: (N,) int64, the index of the mean to which each mask belongs, from 0 and without gaps. The value -1
            stands for masks that belong to none.
        mask_weights: (N,) weights of the masks, not negative.

    Returns:
        M RLEs with counts as str, one per mean. A pixel of a fused mask is covered by masks with at least half of the
        weights of the mean.

    Raises:
        EnsembleError: A mean has more pixels than the limit.
    """
    order = np.argsort(fused_index, kind='stable')
    order = order[fused_index[order] >= 0]
    n_fused = fused_index.max(initial=-1) + 1
    if not n_fused:
        return []
    height, width = rles[0]['size']
    totals = np.bincount(fused_index[order], mask_weights[order], n_fused)
    runs = [_runs_inside([rles[i] for i in batch], fused_index[batch], mask_weights[batch], totals / 2,
                         height * width)
            for batch in _batches_of_whole_means(order, rles, fused_index)]
    means, starts, ends = np.concatenate(runs, axis=1)
    return encode_runs(starts, ends, np.bincount(means, minlength=n_fused), height, width)


def _batches_of_whole_means(order: np.ndarray, rles: list[dict], fused_index: np.ndarray) -> list[np.ndarray]:
    """Divides masks, whose indices ``order`` (K,) are sorted by mean, into batches of about ``_BATCH_PX`` pixels.

    No mean is divided.
    """
    # Let five masks of [4, 4, 5, 3, 6] pixels belong to the means [0, 0, 1, 2, 2], and _BATCH_PX be 10. The means begin
    # at the masks first_of_mean = [0, 2, 3], before which there are [0, 8, 13] pixels. In units of 10 px this is
    # [0, 0, 1]. It rises at the third mean, so that the batches are the masks [0, 1, 2] and [3, 4].
    n_px = areas_px([rles[i] for i in order])
    first_of_mean = begins_of_runs(fused_index[order])
    largest_px = reduce_groups(np.add, n_px, np.diff(first_of_mean, append=len(order))).max()
    if largest_px > LIMITS.fused_px:
        raise EnsembleError(exceeds('fused_px', f'the masks of one cell have {largest_px:,} px together'))
    batch_of_mean = begins_of(n_px)[first_of_mean] // _BATCH_PX
    return np.split(order, first_of_mean[begins_of_runs(batch_of_mean)[1:]])


def _runs_inside(rles: list[dict], fused_index: np.ndarray, mask_weights: np.ndarray, least_weights: np.ndarray,
                 n_px: int) -> np.ndarray:
    """Finds the runs of pixels that the masks of a mean cover with enough weight, (3, R) int64: mean, start and end.

    ``fused_index`` (K,) is the mean of each mask, and ``least_weights`` (M,) is what a pixel of each mean must reach.
    """
    # In an image of 6 pixels three masks cover the pixels [1, 2, 5], [2, 3] and [0, 5], belong to the means [0, 0, 1],
    # and weigh [.5, .4, 1]; least_weights is [.45, .5]. The key of a pixel is mean * 6 + position. The keys
    # [1, 2, 3, 5, 6, 11] are covered with the weights [.5, .9, .4, .5, 1, 1]; all but 3 reach the least weight. In
    # [1, 2, 5, 6, 11] a run begins at 1, at 5 and 11, before which keys are missing, and at 6, because it is the first
    # pixel of mean 1: key - index, [1, 1, 3, 3, 7], or the mean changes there. The runs are [1, 3) and [5, 6) of mean
    # 0, and [0, 1) and [5, 6) of mean 1.
    positions, n_covered = foreground_pixels_of_all(rles)
    keys, pixel_of = np.unique(np.repeat(fused_index, n_covered) * n_px + positions, return_inverse=True)
    covered = np.bincount(pixel_of, np.repeat(mask_weights, n_covered), len(keys))
    # Sums of the same weights in another order may differ in their last digits: .1 + .2 is not .3.
    keys = keys[covered >= least_weights[keys // n_px] * (1 - 1e-9)]
    means, positions = np.divmod(keys, n_px)
    first = begins_of_runs(keys - np.arange(len(keys)), means)
    return np.stack([means[first], positions[first], positions[first] + np.diff(first, append=len(keys))])
