"""Predictions as COCO detections, and the dump files that contain them."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pycocotools.mask

from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.masks.rle import area_px, with_text_counts


def to_coco_detections(sample: dict, category_ids: list[int]) -> list[dict]:
    """Returns the instances that are predicted in one image as COCO results.

    Args:
        sample: MMDetection's data sample as a dict with ``img_id`` and ``pred_instances``, which has bboxes (N, 4) xyxy
            in px, scores (N,), labels (N,) from 0, and masks: (N, H, W) bool, or N compressed RLEs. They are arrays, or
            tensors on any device.
        category_ids: The category id of each label.

    Returns:
        N dicts with image_id, category_id, bbox (xywh in px), score, and segmentation (compressed RLE with ``counts``
        as str).

    Raises:
        ResultsError: A label has no category, because model and annotation file have different classes.
    """
    instances = {key: value.cpu().numpy() if hasattr(value, 'cpu') else value
                 for key, value in sample['pred_instances'].items()}
    labels = np.array(instances['labels']).tolist()
    if labels and not 0 <= min(labels) <= max(labels) < len(category_ids):
        raise ResultsError(f"image {sample['img_id']}: labels {min(labels)} to {max(labels)} are predicted, but there "
                           f'are {len(category_ids)} categories with the labels 0 to {len(category_ids) - 1}')
    bboxes_xywh = np.array(instances['bboxes'], dtype=float).reshape(-1, 4)
    bboxes_xywh[:, 2:] -= bboxes_xywh[:, :2]
    return [
        {'image_id': sample['img_id'], 'category_id': category_ids[label], 'bbox': bbox, 'score': score,
         'segmentation': rle}
        for bbox, score, label, rle in zip(
            bboxes_xywh.tolist(), np.array(instances['scores'], dtype=float).tolist(),
            labels, to_rles(instances['masks']), strict=True)]


def to_rles(masks: object) -> list[dict]:
    """Returns masks as compressed RLEs with counts as str.

    Args:
        masks: (N, H, W) bool, a tensor on the CPU or an array, or a list of N compressed RLEs.
    """
    if not isinstance(masks, list | tuple):
        masks = [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in np.asarray(masks)]
    return [with_text_counts(rle) for rle in masks]


def drop_empty_and_repeated(detections: list[dict]) -> tuple[list[dict], int, int]:
    """Removes masks without a pixel and repeated masks.

    Of equal masks of one class in one image only the mask with the best score is kept.

    Returns:
        The remaining detections in their order, the number of empty masks, and the number of repeated masks.
    """
    not_empty = [detection for detection in detections if area_px(detection['segmentation']) > 0]
    best: dict[tuple, dict] = {}
    for detection in not_empty:
        key = (detection['image_id'], detection['category_id'], detection['segmentation']['counts'])
        if key not in best or detection['score'] > best[key]['score']:
            best[key] = detection
    kept_ids = {id(detection) for detection in best.values()}
    kept = [detection for detection in not_empty if id(detection) in kept_ids]
    return kept, len(detections) - len(not_empty), len(not_empty) - len(kept)


class ResultsError(MmcellError):
    """Predictions are not in the format of MMDetection's ``tools/test.py --out``, or do not fit the annotation file."""


def load_results(path: str | Path) -> list[dict]:
    """Reads a dump of ``tools/test.py --out``: one dict per image with ``img_id`` and ``pred_instances``.

    Loading a pickle can run any code. Therefore only numbers, strings, containers and tensors are accepted. Tensors
    are returned as NumPy arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ResultsError: The file is not such a dump, or contains anything else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no results file {path}: make it with tools/test.py CONFIG CHECKPOINT --out {path}')
    try:
        with open(path, 'rb') as file:
            results = _TensorsOnlyUnpickler(file).load()
    # A damaged pickle can make the unpickler fail in any way, even with a MemoryError.
    except Exception as error:
        raise ResultsError(f'{path}: cannot be read as a results file: {error}') from error
    is_dump = isinstance(results, list) and all(
        isinstance(result, dict) and 'img_id' in result and isinstance(result.get('pred_instances'), dict)
        for result in results)
    if not is_dump:
        raise ResultsError(f'{path} must contain a list of dicts with img_id and pred_instances, which tools/test.py '
                           '--out writes')
    for result in results:
        missing = {'bboxes', 'scores', 'labels', 'masks'} - result['pred_instances'].keys()
        if missing:
            raise ResultsError(f"{path}: the predictions of image {result['img_id']} have no {sorted(missing)}")
    return results


def save_results(results: list[dict], path: str | Path) -> None:
    """Writes a file that :func:`load_results` reads, completely or not at all.

    Arrays become tensors, as in MMDetection's dump.
    """
    from mmengine.fileio import dump
    with written_whole([path]) as (temporary,):
        dump([{**_to_tensors(result),
               'pred_instances': {**_to_tensors(result['pred_instances']),
                                  'masks': [{'size': rle['size'], 'counts': rle['counts'].encode()}
                                            for rle in to_rles(result['pred_instances']['masks'])]}}
              for result in results], str(temporary), file_format='pkl')


def _to_tensors(values: dict) -> dict:
    import torch
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in values.items()}


class _TensorsOnlyUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers, strings and CPU tensors, and refuses every other global name.

    Even NumPy's names are refused: ``numpy.dtype`` is enough for a crafted file to read memory.
    """

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f'it contains {module}.{name}, but only numbers, strings and tensors are allowed')


def _rebuild_tensor(storage: object, offset: int, size: tuple, stride: tuple, *unused: object) -> np.ndarray:
    import torch
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    return torch.as_strided(flat, size, stride, offset).numpy()


def _load_storage(data: bytes) -> object:
    import torch
    return torch.load(io.BytesIO(data), weights_only=True)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it contains text encoded as {encoding}, but only latin1 is allowed')
    return text.encode(encoding)


_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch.storage', '_load_from_bytes'): _load_storage,
    # This is how bytes are stored in pickle protocol 2, which MMEngine writes.
    ('_codecs', 'encode'): _encode,
}
