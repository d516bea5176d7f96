"""Data for trainings with the toy model."""

import numpy as np
import pytest
import tifffile
from support.synthetic_data import write_annotations


@pytest.fixture
def ann_file(raw_root, tmp_path, rng):
    """The path of an annotation file with the two training images of raw_root, whose pixels are noise."""
    for path in (raw_root[0] / 'train').glob('*/image.tif'):
        tifffile.imwrite(path, rng.integers(0, 256, (*tifffile.imread(path).shape[:2], 3), np.uint8))
    path = tmp_path / 'train.json'
    write_annotations(raw_root[0], path, ['a', 'b'])
    return path
