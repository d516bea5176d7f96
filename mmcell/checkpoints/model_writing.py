"""Writes models that are passed on; :mod:`mmcell.framework.model_files` reads them."""

import hashlib
import json
from pathlib import Path

from mmcell.files.whole_files import written_whole
from mmcell.framework.model_files import FORMAT, description_path
from mmcell.framework.weights_errors import WeightsError


def write_model(checkpoint: dict, path: str | Path, facts: dict) -> dict:
    """Writes a model and its description.

    Args:
        checkpoint: Weights in ``state_dict``; in ``meta`` the config (``cfg``) and the classes (``dataset_meta``), as
            :func:`mmcell.checkpoints.half_precision.to_half` returns them.
        path: The file to write, whose suffix is .safetensors. The description is written beside it, as .json.
        facts: What else is to be known about the model, in JSON's types: licence, training data, scores …

    Returns:
        The description. Its keys are those of ``facts`` and:

        - format: ``FORMAT``.
        - sha256: The SHA-256 sum of the file with the weights.
        - parameters: The number of weights; statistics of BatchNorm count as well.
        - classes: The names of the classes, in the order of the labels.
        - channel_order: 'rgb' or 'bgr', the order of the colours in the training images.
        - mpp: Micrometres per pixel of what the model was shown; None if not known.
        - config: The config as Python source, which is read without running it.
        - training: Epoch or step, seed, date, and software and data of the training, as far as they were recorded.

    Raises:
        WeightsError: The checkpoint has no config or no classes.
    """
    from safetensors.torch import save
    path = Path(path)
    meta = dict(checkpoint.get('meta') or {})
    config, data = meta.pop('cfg', None), meta.pop('dataset_meta', None)
    if not isinstance(config, str) or not isinstance(data, dict) or not data.get('classes'):
        raise WeightsError('the checkpoint has no config or no classes inside: a model that is passed on needs both')
    weights = {name: value.contiguous().clone() for name, value in checkpoint['state_dict'].items()}
    content = save(weights)
    description = {
        'format': FORMAT, 'mpp': data.get('mpp'), **facts,
        'classes': list(data['classes']), 'channel_order': data.get('channel_order', 'rgb'),
        'parameters': sum(value.numel() for value in weights.values()),
        'sha256': hashlib.sha256(content).hexdigest(), 'training': meta, 'config': config}
    with written_whole([path, description_path(path)]) as (weights_file, description_file):
        weights_file.write_bytes(content)
        description_file.write_text(json.dumps(description, indent=1, ensure_ascii=False, default=str) + '\n',
                                    encoding='utf-8')
    return description
