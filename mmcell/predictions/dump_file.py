"""The dump files of predictions, opened without running code."""

import io
import math
import pickle
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np

from mmcell.errors import list_some
from mmcell.files.whole_files import written_whole
from mmcell.framework.bounded_pickles import BoundedUnpickler, refuse_unbounded
from mmcell.masks.encoding import masks_to_rles
from mmcell.predictions.rules import ResultsError
from mmcell.predictions.samples import problem_of_sample


def load_results(path: str | Path) -> list[dict]:
    """Reads a dump of ``tools/test.py --out``: one dict per image with ``img_id`` and ``pred_instances``.

    Loading a pickle can run any code. Therefore only numbers, strings, containers and tensors are accepted. Tensors
    are returned as NumPy arrays. Everything that mmcell reads in the dicts is checked, see
    :func:`mmcell.predictions.samples.problem_of_sample`; other entries are returned as they are.

    Raises:
        FileNotFoundError: There is no such file.
        ResultsError: The file is not such a dump, contains anything else or an image twice, or unfolds to far more
            than its size.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no results file {path}: make it with tools/test.py CONFIG CHECKPOINT --out {path}')
    try:
        content = path.read_bytes()
        results = _DumpUnpickler(content).load()
    except (pickle.UnpicklingError, OSError) as error:
        raise ResultsError(f'{path}: cannot be read as a results file: {error}. A pickle that tools/test.py --out '
                           'wrote is expected') from error
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise ResultsError(f'{path} must contain a list of dicts with img_id and pred_instances, which tools/test.py '
                           '--out writes')
    _refuse_shared(results, len(content), path)
    problems = [f'entry {index}: {problem}' for index, result in enumerate(results)
                if (problem := problem_of_sample(result)) is not None]
    if problems:
        raise ResultsError(f'{path}: {len(problems)} of {len(results)} entries are wrong: '
                           + list_some(problems, '; ', 3))
    for image_id, count in Counter(result['img_id'] for result in results).most_common(1):
        if count > 1:
            raise ResultsError(f'{path}: image {image_id} occurs more than once, so that its cells would count '
                               'repeatedly: fuse predictions of several models with tools/ensemble.py')
    return results


def _refuse_shared(results: list[dict], file_bytes: int, path: Path) -> None:
    """Raises ResultsError if entries share so much that working on each of them takes far more than the file's size.

    In a pickle, every further mention of an object takes two bytes.
    """
    n_bytes = 0
    for result in results:
        instances = result.get('pred_instances')
        for value in instances.values() if isinstance(instances, dict) else ():
            if isinstance(value, np.ndarray):
                n_bytes += value.nbytes
            elif isinstance(value, list):
                all_counts = (mask.get('counts') if isinstance(mask, dict) else None for mask in value)
                n_bytes += sum(len(counts) if isinstance(counts, str | bytes) else 8 for counts in all_counts)
            if n_bytes > 2 * file_bytes + 10**6:
                raise ResultsError(f'{path}: unfolds to far more predictions than a file of {file_bytes} bytes can '
                                   'hold, because its entries share their content')


def save_results(results: list[dict], path: str | Path) -> None:
    """Writes a file that :func:`load_results` reads, completely or not at all.

    Arrays become tensors, as in MMDetection's dump.

    Raises:
        ResultsError: An entry is nested too deeply for a pickle.
    """
    from mmengine.fileio import dump
    entries = [{**_to_tensors(result),
                'pred_instances': {**_to_tensors(result['pred_instances']),
                                   'masks': with_bytes(result['pred_instances']['masks'])}}
               for result in results]
    try:
        with written_whole([path]) as (temporary,):
            dump(entries, str(temporary), file_format='pkl')
    except RecursionError as error:
        raise ResultsError(f'{path}: cannot be written, because an entry is nested too deeply') from error


def with_bytes(masks: object) -> list[dict]:
    """Returns masks, as :func:`mmcell.masks.encoding.masks_to_rles` accepts them, as RLEs with counts as bytes."""
    return [{'size': rle['size'], 'counts': rle['counts'].encode()} for rle in masks_to_rles(masks)]


def _to_tensors(values: dict) -> dict:
    import torch
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in values.items()}


class _DumpUnpickler(BoundedUnpickler):
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
    if math.prod(size) > len(flat):  # elements that lie at the same place would unfold when they are copied
        raise pickle.UnpicklingError(f'a tensor of shape {size} has only {len(flat)} elements')
    return torch.as_strided(flat, size, stride, offset).numpy()


# The numbers say which part of the storage the tensor is.
_rebuild_tensor.makes_views = True


def _load_storage(data: bytes) -> object:
    import torch
    refuse_unbounded(data)
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it contains text encoded as {encoding}, but only latin1 is allowed')
    return text.encode(encoding)


_ALLOWED = {
    ('collections', 'OrderedDict'): lambda: OrderedDict(),
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch.storage', '_load_from_bytes'): _load_storage,
    # This is how bytes are stored in pickle protocol 2, which MMEngine writes.
    ('_codecs', 'encode'): _encode,
}
