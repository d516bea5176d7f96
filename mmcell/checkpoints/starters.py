"""The models that mmcell brings: trained weights to start with, named on the command line without a path."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / 'starters'


def find_starters() -> dict[str, Path]:
    """Returns the files with the weights of all models that mmcell brings, by name, sorted by name."""
    return {path.stem: path for path in sorted(FOLDER.glob('*.safetensors'))}


def describe_starters() -> list[dict]:
    """Returns the descriptions of the models, sorted by name, each with its ``name`` and without its config."""
    described = []
    for name, path in find_starters().items():
        facts = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
        facts.pop('config', None)
        described.append({'name': name, **facts})
    return described
