"""A layout of the user's own: one function in a Python file."""

import json
import re

import numpy as np
import pytest
import tifffile
from support.commands import convert
from support.masks import paint_rles

SCRIPT = '''
import numpy as np

def read_cells(image_path):
    labels = image_path.with_suffix('.cells.npy')
    if not labels.exists():
        return None
    return {'nucleus': np.load(labels)}
'''


@pytest.fixture
def lab(tmp_path, rng):
    """A folder of a laboratory with two images, one of which has cells, and a Python file that reads them."""
    folder = tmp_path / 'lab' / 'day1'
    folder.mkdir(parents=True)
    for name in 'ab':
        tifffile.imwrite(folder / f'{name}.tif', rng.integers(0, 255, (20, 30, 3), np.uint8), photometric='rgb')
    cells = np.zeros((20, 30), np.int64)
    cells[2:8, 3:9], cells[10:15, 20:28] = 7, 3
    np.save(folder / 'a.cells.npy', cells)
    script = tmp_path / 'my_lab.py'
    script.write_text(SCRIPT)
    return tmp_path / 'lab', script, cells


@pytest.mark.parametrize('jobs', [1, 2])
def test_one_function_is_enough(lab, tmp_path, jobs):
    root, script, cells = lab
    np.save(root / 'day1' / 'b.cells.npy', cells)
    run = convert(root, '--layout', script, '--out', tmp_path / 'ann', '--jobs', jobs)
    assert run.returncode == 0, run.stderr
    document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
    assert document['categories'] == [{'id': 1, 'name': 'nucleus'}]
    assert [image['file_name'] for image in document['images']] == ['day1/a.tif', 'day1/b.tif']
    masks = [a['segmentation'] for a in document['annotations'] if a['image_id'] == 1]
    np.testing.assert_array_equal(paint_rles(masks, np.array([3, 7])), cells)


def test_files_that_are_no_images_with_cells_are_left_out_and_listed(lab, tmp_path):
    root, script, _ = lab
    run = convert(root, '--layout', script, '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'left out, images without a file of cells: 1 (day1/b.tif)' in run.stdout
    assert len(json.loads((tmp_path / 'ann' / 'train.json').read_text())['images']) == 1


@pytest.mark.parametrize('line, message', [
    ('return {"n": np.zeros((3, 3), int)}', r'for class .n. .*shape \(3, 3\).*expected a label map \(20, 30\)'),
    ('return {"n": np.full((20, 30), -1)}', 'must be positive'),
    ('return {"n": np.zeros((20, 30))}', 'integers'),
    ('return [1]', r'must return a dict .* returned \[1\]'),
])
def test_what_is_no_label_map_is_refused(lab, tmp_path, line, message):
    root, script, _ = lab
    script.write_text(f'import numpy as np\ndef read_cells(image_path):\n    {line}\n')
    run = convert(root, '--layout', script, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'nothing was written' in run.stderr
    assert re.search(message, run.stderr), run.stderr


def test_a_file_without_the_function_is_refused(lab, tmp_path):
    root, script, _ = lab
    script.write_text('x = 1')
    run = convert(root, '--layout', script, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'has no function read_cells(image_path)' in run.stderr
    run = convert(root, '--layout', tmp_path / 'none.py', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'no Python file' in run.stderr


def test_a_link_in_a_circle_does_not_repeat_images(lab, tmp_path):
    root, script, _ = lab
    (root / 'again').symlink_to(root)
    run = convert(root, '--layout', script, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert len(json.loads((tmp_path / 'ann' / 'trainval.json').read_text())['images']) == 1
