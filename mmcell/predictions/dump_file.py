"""Predictions as COCO detections, and the files that hold them."""

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
    """The instances predicted in one image as COCO results.

    Args:
        sample: MMDetection's data sample as a dict: img_id, and pred_instances with bboxes (N, 4) xyxy, scores (N,),
            labels (N,) from 0, and masks: (N, H, W) bool, or N compressed RLEs. Arrays, or tensors on any device.
        category_ids: the category id of each label.

    Returns:
        N dicts with image_id, category_id, bbox xywh, score, segmentation (compressed RLE, ``counts`` a str).

    Raises:
        ResultsError: a label has no category: model and annotation file disagree about the classes.
    """
    instances = {key: value.cpu().numpy() if hasattr(value, 'cpu') else value
                 for key, value in sample['pred_instances'].items()}
    labels = np.array(instances['labels']).tolist()
    if labels and not 0 <= min(labels) <= max(labels) < len(category_ids):
        raise ResultsError(f"image {sample['img_id']}: labels {min(labels)} to {max(labels)} predicted, but there are "
                           f'{len(category_ids)} categories')
    bboxes_xywh = np.array(instances['bboxes'], dtype=float).reshape(-1, 4)
    bboxes_xywh[:, 2:] -= bboxes_xywh[:, :2]
    return [
        {'image_id': sample['img_id'], 'category_id': category_ids[label], 'bbox': bbox, 'score': score,
         'segmentation': rle}
        for bbox, score, label, rle in zip(
            bboxes_xywh.tolist(), np.array(instances['scores'], dtype=float).tolist(),
            labels, to_rles(instances['masks']), strict=True)]


def to_rles(masks: object) -> list[dict]:
    """Compressed RLEs with str counts of (N, H, W) masks (tensor or array) or of N RLEs."""
    if not isinstance(masks, list | tuple):
        masks = [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in np.asarray(masks)]
    return [with_text_counts(rle) for rle in masks]


def drop_empty_and_repeated(detections: list[dict]) -> tuple[list[dict], int, int]:
    """Leaves out masks without a pixel, and of equal masks of one class in one image all but the best scored.

    Returns:
        What is left in its order, the number of empty masks, the number of repeated ones.
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
    """A results file is not what MMDetection's ``tools/test.py --out`` writes."""


def load_results(path: str | Path) -> list[dict]:
    """Reads the dump of ``tools/test.py --out``: one dict an image with ``img_id`` and ``pred_instances``.

    A pickle can run any code when it is loaded. Here it may hold numbers, strings, containers and tensors alone;
    tensors come back as numpy arrays.

    Raises:
        FileNotFoundError: there is no such file.
        ResultsError: it is not such a dump, or holds anything else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no results file {path}: make it with tools/test.py CONFIG CHECKPOINT --out {path}')
    try:
        with open(path, 'rb') as file:
            results = _TensorsOnlyUnpickler(file).load()
    # A damaged pickle can make the unpickler fail in any way, MemoryError included.
    except Exception as error:
        raise ResultsError(f'{path}: cannot be read as a results file: {error}') from error
    is_dump = isinstance(results, list) and all(
        isinstance(result, dict) and 'img_id' in result and isinstance(result.get('pred_instances'), dict)
        for result in results)
    if not is_dump:
        raise ResultsError(f'{path}: a list of dicts with img_id and pred_instances expected')
    for result in results:
        missing = {'bboxes', 'scores', 'labels', 'masks'} - result['pred_instances'].keys()
        if missing:
            raise ResultsError(f"{path}: the predictions of image {result['img_id']} have no {sorted(missing)}")
    return results


def save_results(results: list[dict], path: str | Path) -> None:
    """Writes what :func:`load_results` reads, whole or not at all; arrays become tensors, as in MMDetection's dump."""
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
    """Unpickles containers, numbers, strings and CPU tensors; refuses every other global.

    Not even numpy's own: ``numpy.dtype`` alone lets a crafted file read memory.
    """

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f'it holds {module}.{name}; only numbers, strings and tensors are read')


def _rebuild_tensor(storage: object, offset: int, size: tuple, stride: tuple, *unused: object) -> np.ndarray:
    import torch
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    return torch.as_strided(flat, size, stride, offset).numpy()


def _load_storage(data: bytes) -> object:
    import torch
    return torch.load(io.BytesIO(data), weights_only=True)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it holds text encoded as {encoding}')
    return text.encode(encoding)


_ALLOWED = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch.storage', '_load_from_bytes'): _load_storage,
    # Bytes, in the pickle protocol 2 that mmengine writes.
    ('_codecs', 'encode'): _encode,
}
