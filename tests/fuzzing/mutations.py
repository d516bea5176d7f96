"""Which changes fit which files: each input of a number is made from a seed of its corpus in the same way again."""

import random
from pathlib import Path

from fuzzing.byte_mutations import mutate_bytes
from fuzzing.container_mutations import (
    mutate_gzip,
    mutate_npy,
    mutate_pickle,
    mutate_png,
    mutate_safetensors,
    mutate_zip,
)
from fuzzing.text_mutations import mutate_json, mutate_json_lines, mutate_text, mutate_xml
from fuzzing.tiff_mutations import mutate_tiff

CORPUS = Path(__file__).parent / 'corpus'
# Files that inputs are read together with: an image, annotations, and a model.
BESIDE = CORPUS / 'beside'
# Files with other suffixes are changed as bytes.
MUTATORS = {
    '.tif': mutate_tiff, '.png': mutate_png, '.json': mutate_json, '.geojson': mutate_json, '.jsonl': mutate_json_lines,
    '.csv': mutate_text, '.txt': mutate_text, '.cfg': mutate_text, '.xml': mutate_xml, '.zip': mutate_zip,
    '.pth': mutate_zip, '.gz': mutate_gzip, '.pkl': mutate_pickle, '.npy': mutate_npy,
    '.safetensors': mutate_safetensors}
# Some inputs are changed as bytes, whatever they are, or only joined from two seeds.
_SHARE_AS_BYTES, _SHARE_JOINED = .1, .02


def seed_files(corpus):
    """Returns the files of a corpus, sorted by name."""
    return sorted(path for path in (CORPUS / corpus).iterdir() if not path.name.startswith('.'))


def mutate_by_format(suffix, content, rng):
    """Returns the content of a file with this suffix, changed as its format allows, or as bytes if none is known."""
    return MUTATORS.get(suffix, mutate_bytes)(content, rng)


def make_input(corpus, seed, number):
    """Returns the suffix and the content of one input.

    Args:
        corpus: The name of a folder of seeds.
        seed: The seed of a whole run.
        number: The number of the input in this run.
    """
    rng = random.Random(f'{corpus} {seed} {number}')
    seeds = seed_files(corpus)
    path = rng.choice(seeds)
    content, kind = path.read_bytes(), rng.random()
    if kind < _SHARE_JOINED:
        other = rng.choice(seeds).read_bytes()
        return path.suffix, content[:rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1):]
    if kind < _SHARE_JOINED + _SHARE_AS_BYTES:
        return path.suffix, mutate_bytes(content, rng)
    return path.suffix, mutate_by_format(path.suffix, content, rng)
