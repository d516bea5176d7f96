import functools
import gc
import os
import sys
from pathlib import Path

# One thread per process, here and in the commands that tests start: on a busy machine, threads that wait for one
# another can turn a second of work into a minute.
os.environ['OMP_NUM_THREADS'] = '1'

import mmengine.config.utils
import numpy as np
import pytest
import tifffile
from hypothesis import settings

REPO = Path(__file__).resolve().parents[1]
# These folders hold scripts, which import one another by their bare names. Tests of their functions do the same.
sys.path[:0] = [str(REPO / folder) for folder in ('data_prep', 'tools', 'benchmarks')]

from support.examples import examples  # noqa: E402
from support.synthetic_data import discs, write_annotations  # noqa: E402

# A test must fail neither because a shared machine is slow (no deadline) nor by chance (the same examples in each run).
settings.register_profile('steady', deadline=None, derandomize=True, max_examples=examples(250))
settings.load_profile('steady')
# For each config that inherits from MMDetection, MMEngine reads the descriptions of all its models again. This reads
# each description only once.
mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)


def pytest_collectstart():
    # Before the first test file is imported. tests/framework/test_late_imports.py looks at what it loads.
    import support.first_imports  # noqa: F401


def pytest_collection_finish():
    # Each data set of MMEngine runs the garbage collector, which takes a third of a second with all of MMDetection in
    # memory. gc.freeze() makes the collector skip what is imported by now.
    gc.freeze()


@pytest.fixture
def real_data():
    """The folder of real data; tests are skipped if it does not exist (see MMCELL_REAL_DATA in CONTRIBUTING.md)."""
    folder = Path(os.environ.get('MMCELL_REAL_DATA', REPO.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set MMCELL_REAL_DATA')
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def raw_root(tmp_path):
    """A folder with two training images and one test image in the raw layout.

    The ids of cells have gaps, and the second image has no cells of class 2.

    Returns:
        The folder, and the label maps: image name to class number to label map.
    """
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
    """The path of an annotation file with the two training images of raw_root, and the classes big and small."""
    root, _ = raw_root
    path = tmp_path / 'ann' / 'train.json'
    write_annotations(root, path, ['big', 'small'])
    return path
