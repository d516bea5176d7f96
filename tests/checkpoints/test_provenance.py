import json
import shutil
import subprocess

import numpy as np
import pytest
import tifffile
from mmdet.registry import DATASETS
from mmengine.dataset import ConcatDataset, RepeatDataset
from support.paths import REPO
from support.synthetic_data import write_annotations

from mmcell.checkpoints import provenance
from mmcell.checkpoints.provenance import compare_data, describe_data, describe_software, find_commit


def dataset_of(path, **kwargs):
    return DATASETS.build(dict(type='CellDataset', ann_file=str(path), pipeline=[], **kwargs))


@pytest.fixture
def ann_file(raw_root, tmp_path):
    write_annotations(raw_root[0], tmp_path / 'train.json', ['a', 'b'])
    return tmp_path / 'train.json'


def hash_of(*args, **kwargs):
    description, = describe_data(dataset_of(*args, **kwargs))
    return description['sha256']


def test_the_hash_depends_only_on_the_content(ann_file, raw_root, tmp_path):
    first = hash_of(ann_file)
    shutil.copytree(raw_root[0], tmp_path / 'moved' / 'raw')
    write_annotations(tmp_path / 'moved' / 'raw', tmp_path / 'moved' / 'elsewhere.json', ['a', 'b'])
    assert hash_of(tmp_path / 'moved' / 'elsewhere.json') == first
    assert hash_of(ann_file, indices=1) != first
    document = json.loads(ann_file.read_text())
    for change in (lambda d: d['categories'][0].update(name='c'), lambda d: d['annotations'].pop()):
        changed = json.loads(json.dumps(document))
        change(changed)
        ann_file.write_text(json.dumps(changed))
        assert hash_of(ann_file) != first
    ann_file.write_text(json.dumps(document))
    image = raw_root[0] / 'train' / 'a' / 'image.tif'
    tifffile.imwrite(image, np.zeros((*tifffile.imread(image).shape[:2], 3), np.uint8))
    assert hash_of(ann_file) != first


def test_data_sets_inside_wrappers_are_described(ann_file):
    dataset = dataset_of(ann_file)
    assert describe_data(RepeatDataset(dataset, 3)) == describe_data(dataset)
    assert describe_data(ConcatDataset([dataset, dataset])) == describe_data(dataset) * 2
    assert describe_data(range(3)) == []


def test_differences_between_training_and_test_data_are_reported(ann_file, tmp_path):
    both = describe_data(dataset_of(ann_file))
    first = describe_data(dataset_of(ann_file, indices=[0]))
    second = describe_data(dataset_of(ann_file, indices=[1]))
    swapped = describe_data(dataset_of(ann_file, indices=[1], channel_order='bgr'))
    other_files = [{**swapped[0], 'images': {'new.tif': 7}}]
    recorded = {'train': first, 'val': second}
    assert compare_data(recorded, second, 'val') == []
    assert compare_data(recorded, second, 'test') == []
    leak, differs = compare_data(recorded, both, 'val')
    assert leak.startswith('1 of the 2 images tested were in the training data')
    assert 'val data' in differs and 'differ' in differs
    order, = compare_data(recorded, swapped, 'val')
    assert order.endswith('in the channel order rgb, and the same images are now read as bgr')
    # Other files may well have another order: the model is shown the same colours.
    assert compare_data(recorded, other_files, 'test') == []
    assert compare_data({'train': [], 'val': []}, both, 'val') == []


def test_the_commit_is_found_only_in_a_clone(tmp_path, monkeypatch):
    git = shutil.which('git')
    head = subprocess.run([git, '-C', REPO, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=False)
    if head.returncode == 0:
        assert find_commit().removesuffix('-dirty') == head.stdout.strip()
    package = tmp_path / 'site' / 'mmcell'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    subprocess.run([git, 'init', '-q', tmp_path], check=True)
    monkeypatch.setattr(provenance.mmcell, '__file__', str(package / '__init__.py'))
    assert find_commit() is None


def test_missing_packages_have_no_version():
    software = describe_software(('numpy', 'no-such-package'))
    assert software['numpy'] == np.__version__ and software['no-such-package'] is None
