"""MMDetection's own tools over configs and files of this project."""

import json
import re
import sys

import mmdet_tool as command
import pytest
import torch
from mmengine.fileio import dump
from support.commands import CONFIG
from support.paths import REPO

from mmcell.images.image_file import read_image

pytestmark = pytest.mark.skipif(not command.find_tools(), reason='this MMDetection was installed without its tools')


@pytest.fixture
def run(annotation_file, tmp_path, monkeypatch, capsys):
    """Runs a tool over the demo config with the data of the annotation file, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))

    def run_tool(name, *arguments):
        options = [f'{split}_dataloader.dataset.ann_file={annotation_file}' for split in ('train', 'val', 'test')]
        monkeypatch.setattr(sys, 'argv', [
            'mmdet_tool.py', name, str(REPO / CONFIG), *map(str, arguments), '--cfg-options', *options,
            'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False'])
        command.main()
        return capsys.readouterr().out
    return run_tool


@pytest.fixture
def results(annotation_file, tmp_path):
    """A dump with all true cells of both images, except that the first cell is of the other class."""
    document = json.loads(annotation_file.read_text())
    samples = []
    for image in document['images']:
        cells = [cell for cell in document['annotations'] if cell['image_id'] == image['id']]
        boxes = torch.tensor([cell['bbox'] for cell in cells])
        boxes[:, 2:] += boxes[:, :2]
        samples.append(dict(img_id=image['id'], pred_instances=dict(
            bboxes=boxes, scores=torch.full((len(cells),), .9), masks=[cell['segmentation'] for cell in cells],
            labels=torch.tensor([1 if cell['id'] == 1 else cell['category_id'] - 1 for cell in cells]))))
    dump(samples, str(tmp_path / 'results.pkl'))
    return tmp_path / 'results.pkl'


def test_print_config(run):
    assert "backbone=dict(" in run('print_config')


def test_get_flops(run):
    printed = run('get_flops', '--num-images', 1)
    assert 'Flops: ' in printed and 'Params: 4.054M' in printed


def test_confusion_matrix(run, results, tmp_path):
    run('confusion_matrix', results, tmp_path / 'matrix')
    assert read_image(tmp_path / 'matrix' / 'confusion_matrix.png').std() > 0


@pytest.mark.parametrize('name', command.REPLACEMENTS)
def test_tools_that_do_not_fit_name_what_to_use_instead(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', f'{name}.py', 'config.py'])
    assert command.main() == 1
    path, = [word for word in capsys.readouterr().err.split() if word.startswith('tools/')]
    assert (REPO / path).exists() and name in command.find_tools()


@pytest.mark.parametrize('option', [['--out', 'results.pkl'], ['--out=results.pkl']])
def test_dumps_are_left_to_the_command_of_the_project(monkeypatch, capsys, option):
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', 'test', 'config.py', 'checkpoint.pth', *option])
    assert command.main() == 1
    assert re.search(r'--out of MMDetection.*test needs bitmaps.* use tools/test.py CONFIG', capsys.readouterr().err)


def test_names_of_tools(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', 'get_flop'])
    assert command.main() == 1 and 'error: MMDetection has no tool get_flop' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py'])
    command.main()
    assert {'get_flops', 'print_config', 'browse_dataset', 'test'} <= set(capsys.readouterr().out.split())


def test_a_training_of_a_fold_is_left_to_the_command_of_the_project(annotation_file, tmp_path, monkeypatch, capsys):
    loader = f"dict(num_workers=0, persistent_workers=False, dataset=dict(ann_file='{annotation_file}'))"
    files = [f'{split}_dataloader = {loader}' for split in ('train', 'val')]
    (tmp_path / 'mine.py').write_text('\n'.join([f"_base_ = ['{REPO / CONFIG}']", 'fold = 0', *files]))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', 'train', str(tmp_path / 'mine.py'), '--work-dir', str(tmp_path)])
    assert command.main() == 1
    assert ("error: the config has fold=0, but the training data are not those of a fold: start mmcell's tools/train.py"
            in capsys.readouterr().err)
