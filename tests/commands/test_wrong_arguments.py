"""One wrong argument is reported before anything is imported that takes time."""

import json
import os
import subprocess
import sys

import pytest
from support.command_reference import COMMANDS
from support.paths import REPO

# Importing each of these takes longer than everything else that a wrong argument needs.
HEAVY = ['cv2', 'matplotlib', 'mmcv', 'mmdet', 'mmengine', 'numpy', 'rich', 'scipy', 'torch']
CONFIG = str(REPO / 'configs/cell/mask-rcnn_r18_demo.py')
# A command line with one mistake, and a part of its message. In the folder there are the files that the command lines
# name, the empty folder `empty`, and a_file, in which no folder can be made.
CASES = [
    ('tools/train.py nowhere.py', 'no such file or folder: nowhere.py'),
    ('tools/train.py broken.py', "'(' was never closed, line 1: model = dict("),
    ('tools/train.py child.py', 'no such file or folder: missing.py'),
    ('tools/train.py CONFIG --resume nowhere.pth', '--resume: there is no checkpoint or work folder nowhere.pth'),
    ('tools/train.py CONFIG --resume empty', '--resume: the folder empty holds no complete checkpoint'),
    ('tools/train.py CONFIG --work-dir a_file/x', 'cannot write to the folder a_file/x (Not a directory)'),
    ('tools/train.py CONFIG --launcher pytorch', '--launcher pytorch needs processes of torchrun'),
    ('tools/test.py nowhere.py model.pth', 'no such file or folder: nowhere.py'),
    ('tools/test.py broken.py model.pth', "'(' was never closed"),
    ('tools/test.py CONFIG nowhere.pth', 'there is no checkpoint or work folder nowhere.pth'),
    ('tools/test.py CONFIG empty', 'the folder empty holds no checkpoint (*.pth)'),
    ('tools/test.py CONFIG model.pth --overlap 32', 'have an effect only on tiles'),
    ('tools/test.py CONFIG model.pth --tile 64 --overlap 64', 'the overlap must be from 0 to 32 px'),
    ('tools/test.py CONFIG model.pth --tile 16', 'tiles must have a side of at least 32 px, got 16'),
    ('tools/test.py CONFIG model.pth --tile 64 --overlap 9 --tile-batch 0', 'batch_size must be at least 1'),
    ('tools/test.py CONFIG model.pth --work-dir a_file', 'cannot write to the folder a_file (File exists)'),
    ('tools/test.py CONFIG model.pth --out a_file/x.pkl', 'cannot write to the folder a_file'),
    ('tools/test.py CONFIG model.pth --launcher pytorch', '--launcher pytorch needs processes of torchrun'),
    ('tools/predict.py nowhere.pth image.tif --out out', 'there is no checkpoint or work folder nowhere.pth'),
    ('tools/predict.py empty image.tif --out out', 'the folder empty holds no checkpoint'),
    ('tools/predict.py model.pth nowhere.tif --out out', 'nowhere.tif: no such image'),
    ('tools/predict.py model.pth image.tif --out a_file/x', 'cannot write to the folder a_file/x (Not a directory)'),
    ('tools/predict.py model.pth image.tif --out out --config nowhere.py', 'no such file or folder: nowhere.py'),
    ('tools/predict.py model.pth image.tif --out out --upscale 2', 'have an effect only on tiles'),
    ('tools/predict.py model.pth image.tif --out out --tile 0', 'tiles must have a side of at least 32 px'),
    ('tools/predict.py model.pth image.tif --out out --launcher pytorch', '--launcher pytorch needs processes'),
    ('tools/predict.py model.pth image.tif --out out --formats tiff', "invalid choice: 'tiff'"),
    ('tools/study.py nowhere.py --out out', 'no such file or folder: nowhere.py'),
    ('tools/study.py CONFIG broken.py --out out', "'(' was never closed"),
    ('tools/study.py CONFIG --out a_file/x', 'cannot write to the folder a_file/x'),
    ('tools/study.py CONFIG --out out --folds 1', '--folds must be at least 2, got 1'),
    ('tools/study.py CONFIG', '--out is needed with configs'),
    ('tools/half_weights.py nowhere.pth', 'there is no checkpoint or work folder nowhere.pth'),
    ('tools/export_model.py nowhere.pth --out new.safetensors', 'there is no checkpoint or work folder nowhere.pth'),
    ('tools/export_model.py nowhere.pth --out new.pth', '--out must end in .safetensors'),
    ('tools/half_weights.py --join nowhere.pth', 'there is neither a file nowhere.pth nor a part of it'),
    ('tools/half_weights.py model.pth --out a_file/x.pth', 'cannot write to the folder a_file'),
    ('tools/browse.py nowhere.json', 'no annotation file nowhere.json'),
    ('tools/browse.py nowhere.py', 'no such file or folder: nowhere.py'),
    ('tools/browse.py cells.json --images nowhere', 'no such file or folder: nowhere'),
    ('tools/browse.py cells.json --transforms dict(type=1', "'(' was never closed"),
    ('tools/browse.py cells.json --out a_file/x', 'cannot write to the folder a_file/x'),
    ('tools/anchor_recall.py CONFIG nowhere.py', 'no such file or folder: nowhere.py'),
    ('tools/anchor_recall.py CONFIG --ann-file nowhere.json', 'no annotation file nowhere.json'),
    ('tools/convert_torchvision.py nowhere.pth --out new.pth', 'no such file or folder: nowhere.pth'),
    ('tools/convert_torchvision.py model.pth --out a_file/new.pth', 'cannot write to the folder a_file'),
    ('tools/evaluate.py nowhere.pkl cells.json', 'no such file or folder: nowhere.pkl'),
    ('tools/evaluate.py results.pkl nowhere.json', 'no annotation file nowhere.json'),
    ('tools/evaluate.py results.pkl cells.json --compare nowhere.pkl', 'no such file or folder: nowhere.pkl'),
    ('tools/evaluate.py results.pkl cells.json --out a_file/x.json', 'name another folder with --out'),
    ('tools/evaluate.py results.pkl cells.json --per-image a_file/x.csv', 'name another folder with --per-image'),
    ('tools/evaluate.py results.pkl cells.json --overlays a_file/x', 'name another folder with --overlays'),
    ('tools/evaluate.py results.pkl cells.json --report a_file/x.html', 'name another folder with --report'),
    ('tools/submit.py nowhere.pkl --annotations cells.json', 'no such file or folder: nowhere.pkl'),
    ('tools/submit.py results.pkl --annotations nowhere.json', 'no such file or folder: nowhere.json'),
    ('tools/submit.py --check nowhere.zip --annotations cells.json', 'no such file or folder: nowhere.zip'),
    ('tools/submit.py results.pkl --annotations cells.json --out a_file/x.zip', 'cannot write to the folder a_file'),
    ('tools/ensemble.py results.pkl nowhere.pkl --out new.pkl', 'no such file or folder: nowhere.pkl'),
    ('tools/ensemble.py empty --out new.pkl', 'the folder empty holds no checkpoint'),
    ('tools/ensemble.py results.pkl --join nowhere.json --out new.pkl', 'no annotation file nowhere.json'),
    ('tools/ensemble.py empty --annotations nowhere.json --out new.pkl', 'no annotation file nowhere.json'),
    ('tools/ensemble.py results.pkl --out a_file/new.pkl', 'cannot write to the folder a_file'),
    ('tools/overlay.py nowhere.pkl --annotations cells.json --out out', 'no such file or folder: nowhere.pkl'),
    ('tools/overlay.py results.pkl --annotations nowhere.json --out out', 'no annotation file nowhere.json'),
    ('tools/overlay.py results.pkl --annotations cells.json --out a_file/x', 'cannot write to the folder a_file/x'),
    ('tools/overlay.py results.pkl --annotations cells.json --out out --score-thr 7', '--score-thr must be from 0'),
    ('tools/curves.py empty --out a_file/new.png', 'cannot write to the folder a_file'),
    ('tools/report.py nowhere.pkl --annotations cells.json --out new.html', 'no such file or folder: nowhere.pkl'),
    ('tools/report.py results.pkl --annotations nowhere.json --out new.html', 'no annotation file nowhere.json'),
    ('tools/report.py empty --base nowhere.py --out new.html', 'no such file or folder: nowhere.py'),
    ('tools/report.py empty --out a_file/new.html', 'cannot write to the folder a_file'),
    ('tools/mmdet_tool.py nowhere', 'MMDetection has no tool nowhere'),
    ('tools/mmdet_tool.py browse_dataset', 'use tools/browse.py CONFIG --augmented'),
    ('data_prep/to_coco.py nowhere', 'no such file or folder: nowhere'),
    ('data_prep/to_coco.py empty --out a_file/x', 'cannot write to the folder a_file/x'),
    ('data_prep/to_coco.py empty --images nowhere', 'no such file or folder: nowhere'),
    ('data_prep/to_coco.py empty --masks nowhere', 'no such file or folder: nowhere'),
    ('data_prep/to_coco.py empty --class-table nowhere.csv', 'no such file or folder: nowhere.csv'),
    ('data_prep/to_coco.py empty --lists train=nowhere.json', 'no such file or folder: nowhere.json'),
    ('data_prep/to_coco.py empty --test-ids nowhere.json', 'no such file or folder: nowhere.json'),
    ('data_prep/from_coco.py nowhere.json --out out', 'no annotation file nowhere.json'),
    ('data_prep/from_coco.py cells.json --predictions nowhere.pkl --out out', 'no such file or folder: nowhere.pkl'),
    ('data_prep/from_coco.py cells.json --out a_file/x', 'cannot write to the folder a_file/x'),
    ('data_prep/repair_coco.py nowhere.json --out new.json', 'no annotation file nowhere.json'),
    ('data_prep/repair_coco.py cells.json --out a_file/new.json', 'cannot write to the folder a_file'),
    ('data_prep/inspect_dataset.py nowhere.json', 'no annotation file nowhere.json'),
    ('data_prep/inspect_dataset.py cells.json --config nowhere.py', 'no such file or folder: nowhere.py'),
    ('data_prep/inspect_dataset.py cells.json --config broken.py', "'(' was never closed"),
    ('data_prep/inspect_dataset.py cells.json --predictions nowhere.pkl', 'no such file or folder: nowhere.pkl'),
    ('data_prep/inspect_dataset.py cells.json --out a_file/x.json', 'name another folder with --out'),
    ('data_prep/inspect_dataset.py cells.json --page a_file/x.html', 'name another folder with --page'),
    ('data_prep/make_demo_data.py a_file/x', 'cannot write to the folder a_file/x'),
    # Nothing that is read is overwritten, by whatever path it is named.
    ('tools/convert_torchvision.py model.pth --out empty/../model.pth', '--out would overwrite empty/../model.pth'),
    ('tools/ensemble.py results.pkl copy.pkl --out copy.pkl', '--out would overwrite copy.pkl, which is read'),
    ('tools/submit.py results.pkl --annotations cells.json --out results.pkl', '--out would overwrite results.pkl'),
    ('tools/submit.py results.pkl --annotations cells.json --out cells.json', '--out would overwrite cells.json'),
    ('tools/evaluate.py results.pkl cells.json --out cells.json', '--out would overwrite cells.json'),
    ('tools/report.py page.html --annotations cells.json --out page.html', '--out would overwrite page.html'),
    ('tools/export_model.py model.safetensors --out model.safetensors', '--out would overwrite model.safetensors'),
    ('data_prep/repair_coco.py cells.json --out ./cells.json', '--out must be another file than cells.json'),
    ('data_prep/inspect_dataset.py cells.json --out cells.json', '--out would overwrite cells.json'),
    ('data_prep/inspect_dataset.py cells.json --page cells.json', '--page would overwrite cells.json'),
    ('data_prep/to_coco.py empty --out annotated', 'train.json, which no conversion has written'),
]
FILES = {'a_file': 'text', 'broken.py': 'model = dict(\n', 'child.py': "_base_ = ['missing.py']\n", 'cells.json': '{}',
         'image.tif': 'II', 'model.pth': 'PK', 'results.pkl': 'x', 'copy.pkl': 'x', 'page.html': 'x',
         'model.safetensors': 'x', 'annotated/train.json': '{}'}
RUN_ALL = '''
import json, sys
from support.commands import call
for command in json.load(sys.stdin):
    ended = call(*command)
    # They are removed, so that the next command is not blamed for the imports of this one.
    heavy = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
    for name in list(sys.modules):
        if name.partition('.')[0] in heavy:
            del sys.modules[name]
    print(json.dumps([ended.returncode, ended.stderr, heavy]))
'''


@pytest.fixture(scope='module')
def endings(tmp_path_factory):
    """Exit status, error output and heavy modules of each command line, all of which run in one new process."""
    folder = tmp_path_factory.mktemp('arguments')
    (folder / 'empty').mkdir()
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    commands = [[CONFIG if part == 'CONFIG' else part for part in command.split()] for command, _ in CASES]
    paths = [REPO, *(REPO / name for name in ('tests', 'tools', 'data_prep'))]
    ran = subprocess.run([sys.executable, '-c', RUN_ALL, json.dumps(HEAVY)], input=json.dumps(commands), text=True,
                         capture_output=True, check=True, cwd=folder,
                         env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, paths))})
    left = sorted(path.name for path in folder.iterdir())
    lines = ran.stdout.splitlines()
    return dict(zip((command for command, _ in CASES), map(json.loads, lines), strict=True)), left


@pytest.mark.parametrize('command, message', CASES)
def test_a_wrong_argument_is_reported_before_the_imports(command, message, endings):
    status, errors, heavy = endings[0][command]
    assert message in errors and 'error: ' in errors and 'Traceback' not in errors
    assert status in (1, 2) and heavy == []


def test_nothing_is_written_before_the_arguments_are_checked(endings):
    assert endings[1] == sorted({'empty', *(name.split('/')[0] for name in FILES)})


def test_every_command_is_checked():
    assert {command.split()[0] for command, _ in CASES} == set(COMMANDS)
