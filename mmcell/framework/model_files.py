"""Models that are passed on: weights as safetensors, and a JSON file beside them that says what they are.

``nuclei.safetensors`` has the tensors, ``nuclei.json`` everything else (:mod:`mmcell.checkpoints.model_writing` lists
its keys). Neither file can hold code. Both together give what a checkpoint of a training gives: the config, the
classes, the weights.
"""

import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import torch

from mmcell.errors import in_one_line
from mmcell.framework.weights_errors import WeightsError

SUFFIX = '.safetensors'
FORMAT = 'mmcell model 1'
# A description has a config and a list of scores: far less than this.
_MAX_BYTES = 20 * 2 ** 20
# Keys of the description that readers need, with their types.
_NEEDED = {'config': str, 'classes': list, 'channel_order': str, 'sha256': str}


def description_path(path: str | Path) -> Path:
    """Returns the path of the JSON file that belongs to the weights of a model."""
    return Path(path).with_suffix('.json')


def read_description(path: str | Path) -> dict:
    """Reads and checks the description of a model.

    Args:
        path: The file with the weights, or the description.

    Raises:
        WeightsError: The description is missing, is damaged, or lacks what readers need.
    """
    path = description_path(path)
    try:
        with open(path, 'rb') as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f'more than {_MAX_BYTES >> 20} MiB')
        description = json.loads(content)
    except FileNotFoundError as error:
        raise WeightsError(f'{path} is missing: a model is two files, and this one has its config and its '
                           'classes') from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f'{path}: not the description of a model ({in_one_line(error)})') from error
    if not isinstance(description, dict) or description.get('format') != FORMAT:
        raise WeightsError(f'{path}: not the description of a model: the key "format" must be "{FORMAT}"')
    for key, kind in _NEEDED.items():
        if not isinstance(description.get(key), kind):
            raise WeightsError(f'{path}: the key "{key}" is missing or no {kind.__name__}')
    return description


def read_model(path: str | Path, map_location: object = None) -> dict:
    """Reads a model that :func:`mmcell.checkpoints.model_writing.write_model` wrote.

    Args:
        path: The file with the weights.
        map_location: The device for the tensors: a name, a ``torch.device``, or None for the CPU.

    Returns:
        A checkpoint as that of a training, with ``state_dict`` and ``meta``; the whole description is in
        ``meta['description']``.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The description is wrong, the weights are damaged, or the two files do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load
    content = Path(path).read_bytes()
    description = read_description(path)
    if hashlib.sha256(content).hexdigest() != description['sha256']:
        raise WeightsError(f'{path}: damaged, or does not belong to {description_path(path)}, which names another '
                           'SHA-256 sum. Take another copy of both files')
    try:
        weights = load(content)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise WeightsError(f'{path}: not a file of safetensors ({in_one_line(error)})') from error
    device = 'cpu' if map_location is None else map_location
    if not isinstance(device, str | torch.device):
        raise TypeError(f'map_location must be a device, got {map_location!r}')
    training = description.get('training')
    return {
        'state_dict': OrderedDict((name, value.to(device)) for name, value in weights.items()),
        'meta': {**(training if isinstance(training, dict) else {}), 'cfg': description['config'],
                 'dataset_meta': {'classes': tuple(description['classes']),
                                  'channel_order': description['channel_order'], 'mpp': description.get('mpp')},
                 'description': description}}
