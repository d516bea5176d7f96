"""Names of classes in a conversion, and files that say themselves which images are for what."""

import json
import re

import numpy as np
import pytest
import tifffile
from support.commands import convert

SCRIPT = '''
import numpy as np

CELLS = {
    'a': {'tumour': 1, 'immune': 2, 'stroma': 3},
    'b': {'tumour': 1, 'immune': 2},
    'c': {'stroma': 2},
}

def read_cells(image_path):
    maps = {}
    for row, (name, n_cells) in enumerate(CELLS[image_path.stem].items()):
        maps[name] = np.zeros((20, 30), np.uint8)
        for number in range(1, n_cells + 1):
            maps[name][6 * row:6 * row + 3, 6 * number:6 * number + 3] = number
    return maps
'''


@pytest.fixture
def named(tmp_path):
    """Three images whose cells have the classes immune, stroma and tumour, and the layout that reads them."""
    (tmp_path / 'lab').mkdir()
    for name in 'abc':
        tifffile.imwrite(tmp_path / 'lab' / f'{name}.tif', np.full((20, 30, 3), 200, np.uint8), photometric='rgb')
    (tmp_path / 'lab.py').write_text(SCRIPT)
    return [tmp_path / 'lab', '--layout', tmp_path / 'lab.py', '--out', tmp_path / 'ann']


def cells_by_name(tmp_path):
    """Returns the number of cells of each class in trainval.json by the name of the class, in the order of classes."""
    document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
    assert [category['id'] for category in document['categories']] == list(range(1, len(document['categories']) + 1))
    return {category['name']: sum(a['category_id'] == category['id'] for a in document['annotations'])
            for category in document['categories']}


@pytest.mark.parametrize('flags, expected', [
    ([], {'immune': 4, 'stroma': 5, 'tumour': 2}),
    (['--class-names', 'tumour', 'stroma', 'immune'], {'tumour': 2, 'stroma': 5, 'immune': 4}),
    (['--class-names', 'tumour', 'other', 'stroma', 'immune'], {'tumour': 2, 'other': 0, 'stroma': 5, 'immune': 4}),
    (['--rename', 'tumour=epithelial'], {'epithelial': 2, 'immune': 4, 'stroma': 5}),
    (['--rename', 'tumour=cell', 'immune=cell', 'stroma=cell'], {'cell': 11}),
    (['--rename', 'stroma='], {'immune': 4, 'tumour': 2}),
    (['--rename', 'tumour=immune', 'immune=tumour'], {'immune': 2, 'stroma': 5, 'tumour': 4}),
    (['--rename', 'stroma=', '--class-names', 'tumour', 'immune'], {'tumour': 2, 'immune': 4}),
])
def test_classes_are_ordered_renamed_joined_and_left_out(named, tmp_path, flags, expected):
    run = convert(*named, *flags)
    assert run.returncode == 0, run.stderr
    assert list(cells_by_name(tmp_path).items()) == list(expected.items())


@pytest.mark.parametrize('flags, message', [
    (['--class-names', 'tumour', 'immune'], '--class-names does not have stroma, of which there are cells'),
    (['--rename', 'tumor=x'], "--rename: there is no class 'tumor'; the classes are immune, stroma, tumour"),
    (['--rename', 'tumour= x'], "got ' x'"),
    (['--rename', 'immune=', 'tumour=', 'stroma='], 'no image has a cell, and no class is named'),
])
def test_wrong_names_are_refused(named, tmp_path, flags, message):
    run = convert(*named, *flags)
    assert run.returncode == 1 and message in run.stderr and not (tmp_path / 'ann').exists()


@pytest.mark.parametrize('flags', [['--rename', 'tumour'], ['--rename', '=x'], ['--rename', 'a=b', 'a=c']])
def test_renames_have_a_form(named, flags):
    run = convert(*named, *flags)
    assert run.returncode == 2 and '--rename' in run.stderr


def test_numbered_classes_are_renamed_by_their_numbers_first(raw_root, tmp_path):
    run = convert(raw_root[0], '--out', tmp_path / 'ann', '--rename', 'class2=small', 'class1=big')
    assert run.returncode == 0, run.stderr
    assert list(cells_by_name(tmp_path)) == ['big', 'small']


def test_left_out_cells_are_counted(named, tmp_path):
    run = convert(*named, '--rename', 'stroma=')
    assert re.search(r'left out, cells of the class stroma \(--rename\): 5', run.stdout), run.stdout
