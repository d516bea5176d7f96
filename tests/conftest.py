import functools
import gc
import os
import sys
from pathlib import Path

# Threads that wait for one another on a busy machine make a second's work a minute's: neither here nor in commands.
os.environ['OMP_NUM_THREADS'] = '1'

import mmengine.config.utils
import numpy as np
import pytest
import tifffile
from hypothesis import settings

REPO = Path(__file__).resolve().parents[1]
# These are folders of scripts; tests of their functions import them as the scripts do one another.
sys.path[:0] = [str(REPO / folder) for folder in ('data_prep', 'tools', 'benchmarks')]

from support.examples import examples  # noqa: E402
from support.synthetic_data import discs, write_annotations  # noqa: E402

# A shared machine is sometimes slow, and a test must not fail for that or by chance.
settings.register_profile('steady', deadline=None, derandomize=True, max_examples=examples(250))
settings.load_profile('steady')
# For each config mmengine reads the descriptions of all of MMDetection's models again.
mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)


def pytest_collection_finish():
    # What is imported stays: each data set of mmengine collects garbage, a third of a second with all of MMDetection.
    import mmdet.apis  # noqa: F401
    gc.freeze()


@pytest.fixture
def real_data():
    """Folder of real data, where there is one (see MMCELL_REAL_DATA in the README)."""
    folder = Path(os.environ.get('MMCELL_REAL_DATA', REPO.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set MMCELL_REAL_DATA')
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def raw_root(tmp_path):
    """Two images and one test image in the raw layout; ids have gaps, class 2 is absent from the second image."""
    root = tmp_path / 'raw'
    maps = {
        'a': {1: discs((40, 50), [(3, 10, 10, 5), (9, 10, 20, 5)]), 2: discs((40, 50), [(7, 30, 30, 6)])},
        'b': {1: discs((36, 44), [(1, 12, 12, 4)])},
    }
    for name, masks in maps.items():
        folder = root / 'train' / name
        folder.mkdir(parents=True)
        shape = masks[1].shape
        image = np.zeros((*shape, 4), np.uint8) + np.array([200, 100, 50, 255], np.uint8)
        tifffile.imwrite(folder / 'image.tif', image, photometric='rgb', extrasamples=['unassalpha'], compression='lzw')
        for number, label_map in masks.items():
            tifffile.imwrite(folder / f'class{number}.tif', label_map.astype(np.float64))
    (root / 'test_release').mkdir()
    tifffile.imwrite(root / 'test_release' / 't.tif', np.zeros((30, 20, 4), np.uint8), photometric='rgb')
    (root / 'test_image_name_to_ids.json').write_text('[{"file_name": "t.tif", "id": 5, "height": 30, "width": 20}]')
    return root, maps


@pytest.fixture
def annotation_file(raw_root, tmp_path):
    """Annotations of the two images, whose classes are called big and small."""
    root, _ = raw_root
    path = tmp_path / 'ann' / 'train.json'
    write_annotations(root, path, ['big', 'small'])
    return path
