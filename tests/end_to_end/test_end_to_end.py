"""The whole path with the real commands, as the README shows them, on images that are small enough for a test."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import CONFIG, TINY, TORCHRUN, read_log, run, run_quickly
from support.paths import REPO

from mmcell.images.image_file import read_image
from mmcell.masks.rle import areas_px
from mmcell.predictions.dump_file import load_results


def readme_blocks(language):
    """The code blocks of the README in one language."""
    return re.findall(rf'^```{language}\n(.*?)^```', (REPO / 'README.md').read_text(encoding='utf-8'),
                      re.MULTILINE | re.DOTALL)


def readme_command(begin):
    """The words of the README's only command that begins with a text."""
    command, = [line for block in readme_blocks('sh') for line in block.splitlines() if line.startswith(begin)]
    return shlex.split(command, comments=True)


@pytest.fixture(scope='module')
def demo_data(tmp_path_factory):
    """Demo data, and options that point a config at their annotations."""
    root = tmp_path_factory.mktemp('demo_data')
    run_quickly('data_prep/make_demo_data.py', root / 'data', '--images', 5, '--test-images', 2, '--size', 96)
    files = {'train': 'train_dataloader.dataset.ann_file', 'val': 'val_dataloader.dataset.ann_file',
             'test': 'test_dataloader.dataset.ann_file'}
    options = [f'{key}={root}/annotations/{name}.json' for name, key in files.items()]
    return root, ['--work-dir', root / 'run', '--cfg-options', *TINY, *options]


@pytest.fixture(scope='module')
def challenge(demo_data):
    """Runs the README's first door, which is four real commands; returns what they print."""
    root, options = demo_data
    command = readme_command('make challenge')
    assert command == ['make', 'challenge', 'DATA=path/to/folder']
    # The environment that runs the tests takes the place of .venv, and the demo's small model that of the baseline.
    settings = {'DATA': root / 'data', 'CONFIG': CONFIG, 'ANNOTATIONS': root / 'annotations', 'WORK_DIR': root / 'run',
                'SUBMISSION': root / 'submission.zip', 'BIN': Path(sys.executable).parent,
                'OPTIONS': shlex.join(map(str, ['--cfg-options', *options[3:], 'train_cfg.max_epochs=1']))}
    result = subprocess.run(
        [*command[:2], '-o', '.venv/.installed-for-mmcell', *(f'{name}={value}' for name, value in settings.items())],
        cwd=REPO, capture_output=True, text=True, check=False, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


@pytest.fixture(scope='module')
def checkpoint(demo_data, challenge):
    root, _ = demo_data
    return root / 'run' / 'epoch_1.pth'


def test_enter_the_challenge(demo_data, challenge):
    root, _ = demo_data
    for name in ('AP:', 'AP50:', 'AP@100:', 'AP50@100:'):
        assert name in challenge
    results = load_results(root / 'run' / 'results.pkl')
    assert [result['img_id'] for result in results] == [1, 2]
    assert all(set(rle) == {'size', 'counts'} for rle in results[0]['pred_instances']['masks'])
    checked = run_quickly('tools/submit.py', '--check', root / 'submission.zip', '--annotations',
                          root / 'annotations' / 'test.json')
    assert 'detections, valid' in checked
    with zipfile.ZipFile(root / 'submission.zip') as archive:
        detections = json.loads(archive.read('test-results.json'))
    assert {detection['image_id'] for detection in detections} <= {1, 2}
    written = list((root / 'run').glob('*/submission.zip'))
    assert [path.read_bytes() for path in written] == [(root / 'submission.zip').read_bytes()]


def test_the_first_screen_is_short(demo_data, challenge):
    root, _ = demo_data
    before_first_step, first_step, _ = challenge.partition('epoch 1/1  step 2/2  left 0:00:00  loss ')
    screen = before_first_step[before_first_step.index('training     '):]
    assert first_step and screen.count('\n') <= 15 and 'OneDL' not in challenge
    for line in ('model        MaskRCNN with ResNet, 4,054,152 trainable parameters',
                 'train.json: 4 images, 43 cells, channel order bgr\n', 'class1 20, class2 21, class3 1, ',
                 'val.json: 1 image, 8 cells', '1 epoch of 2 steps', f'work folder  {root}/run\n'):
        assert line in screen


def test_predict_my_own_images(demo_data, checkpoint):
    root, _ = demo_data
    _, script, model, images, *options = readme_command('python tools/predict.py')
    assert (model, images, options[:2]) == ('work_dirs/cell/mask-rcnn_r50', 'images/', ['--out', 'cells'])
    # Two values: a test needs cells with low scores, and their RLEs to compare.
    log = run_quickly(script, checkpoint.parent, root / 'data' / 'test_release', '--out', root / 'cells', *options[2:],
                      'coco', '--score-thr', 0, '--device', 'cpu', '--allow-overlaps')
    # From the checkpoint and nothing else, with the colour order of its training.
    assert 'bgr' in log and 'in 2 images written' in log
    names = {path.name for path in (root / 'cells').glob('[!.]*')}
    # Five files of each image, cells.csv and images.csv.
    assert len(names) == 2 * 5 + 2
    assert {path.suffix for path in map(Path, names)} == {'.tif', '.csv', '.geojson', '.json'}
    results = load_results(root / 'run' / 'results.pkl')
    for path, result in zip(sorted((root / 'cells').glob('[!.]*_coco.json')), results, strict=True):
        expected = [rle['counts'].decode() for rle in result['pred_instances']['masks'] if areas_px([rle])]
        assert len(expected) > 0
        document = json.loads(path.read_text())
        assert [annotation['segmentation']['counts'] for annotation in document['annotations']] == expected
        assert document['categories'][1]['name'] == 'class2'


def test_try_an_idea(demo_data, challenge):
    root, options = demo_data
    _, script, config, _, _, *vary = readme_command('python tools/study.py')
    assert config == 'configs/cell/mask-rcnn_r50.py'
    # tests/end_to_end/test_studies.py carries studies out.
    output = run_quickly(script, CONFIG, '--out', root / 'idea', '--dry-run', *vary, *options[2:])
    assert [line.split()[-1] for line in output.splitlines() if line.startswith('to do')] == [
        'mask-rcnn_r18_demo_scales=_4_/seed0', 'mask-rcnn_r18_demo_scales=_2_/seed0']


def test_from_python(demo_data, checkpoint):
    root, _ = demo_data
    code, = readme_blocks('python')
    image = next((root / 'data' / 'test_release').glob('*.tif'))
    assert "'work_dirs/cell/mask-rcnn_r50'" in code and "'image.tif'" in code
    code = code.replace("'work_dirs/cell/mask-rcnn_r50'", repr(str(checkpoint.parent)))
    (root / 'notebook.py').write_text(code.replace("'image.tif'", repr(str(image)))
                                      + "assert len(cells.classes) == len(cells.scores) == len(cells)\n")
    assert len([line for line in code.splitlines() if line]) == 5
    assert run_quickly(root / 'notebook.py').startswith(f'{read_image(image).shape[:2]} ')


def test_validation_with_views_ensemble_and_pictures(demo_data, checkpoint):
    root, options = demo_data
    log = run_quickly('tools/test.py', CONFIG, checkpoint, '--split', 'val', '--out', root / 'val.pkl', *options)
    assert 'AP50@100:' in log
    measured = run_quickly('tools/evaluate.py', root / 'val.pkl', root / 'annotations' / 'val.json',
                           '--out', root / 'm.json')
    assert 'AP50@100' in measured
    values = json.loads((root / 'm.json').read_text())['values']
    # A submission of the same predictions has the same values: no detection is left out on the way.
    run_quickly('tools/submit.py', root / 'val.pkl', '--annotations', root / 'annotations' / 'val.json',
                '--out', root / 'val.zip')
    run_quickly('tools/evaluate.py', root / 'val.zip', root / 'annotations' / 'val.json', '--out', root / 'zip.json')
    assert json.loads((root / 'zip.json').read_text())['values']['AP'] == values['AP']
    assert all(areas_px(result['pred_instances']['masks']).all() for result in load_results(root / 'val.pkl'))
    # As mmengine rounds in its log.
    assert f"AP50@100: {values['AP50@100']:.4f}" in log
    log = run_quickly('tools/test.py', CONFIG, checkpoint, '--split', 'val', '--tta', '--out', root / 'tta.pkl',
                      *options, 'tta_model.scales=[1.,1.5]', 'tta_model.turns=[0,1]',
                      'tta_model.tta_cfg.wbf.iou_threshold=.6')
    assert 'AP50@100:' in log
    plain, augmented = (load_results(root / f'{name}.pkl') for name in ('val', 'tta'))
    assert [result['img_id'] for result in augmented] == [result['img_id'] for result in plain]
    assert 0 < len(augmented[0]['pred_instances']['scores']) == len(augmented[0]['pred_instances']['masks']) <= 20
    assert plain[0]['classes'] == ['class1', 'class2', 'class3', 'class4']
    run_quickly('tools/ensemble.py', root / 'val.pkl', root / 'tta.pkl', '--out', root / 'merged.pkl')
    run_quickly('tools/overlay.py', root / 'merged.pkl', '--annotations', root / 'annotations' / 'val.json',
                '--out', root / 'overlays', '--score-thr', 0, '--classes', 'class2')
    assert len(list((root / 'overlays').glob('*_demo_*.png'))) == 1


def test_training_goes_on_where_it_stopped(demo_data, checkpoint):
    root, options = demo_data
    log = run_quickly('tools/train.py', CONFIG, '--resume', *options, 'train_cfg.max_epochs=2')
    assert 'continues with epoch 2, step 3\n' in log and 'epoch 2/2  step 4/4' in log and 'epoch 1/2' not in log
    log = read_log(root / 'run')
    assert 'Epoch(train) [2]' in log or 'Epoch(val) [2]' in log
    assert 'Epoch(val) [1]' not in log


@pytest.mark.slow
@pytest.mark.parametrize('moment', ['now the scores', 'log file'])
def test_ctrl_c_leaves_a_terminal_as_it_was(demo_data, challenge, moment):
    """While a validation shows its bar, and before the first step."""
    root, options = demo_data
    options = [root / 'terminal' if option == root / 'run' else option for option in options]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(REPO)
        os.execv(sys.executable, [sys.executable, 'tools/train.py', CONFIG, *map(str, options)])
    shown, is_interrupted = '', False
    # The end of the file is an error on a terminal.
    with suppress(OSError):
        while text := os.read(terminal, 65536).decode(errors='replace'):
            shown += text
            if moment in shown and not is_interrupted:
                is_interrupted = True
                os.write(terminal, b'\x03')
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130, shown
    assert 'interrupted: the same command with --resume continues' in shown and 'Traceback' not in shown
    assert shown.rfind('\x1b[?25l') <= shown.rfind('\x1b[?25h')


@pytest.mark.slow
def test_the_configs_train_under_mmdetections_own_command(demo_data):
    from mmengine.utils import get_installed_path
    root, options = demo_data
    options = [root / 'stock' if option == root / 'run' else option for option in options]
    run(Path(get_installed_path('mmdet')) / '.mim' / 'tools' / 'train.py', CONFIG, *options, 'train_cfg.max_epochs=1')
    assert (root / 'stock' / 'epoch_1.pth').exists()


@pytest.mark.slow
def test_the_real_command_in_one_process_and_in_two(demo_data, checkpoint):
    root, options = demo_data
    for name, start, end in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        run(*start, 'tools/test.py', CONFIG, checkpoint, '--show-dir', root / name, *end, *options,
            'default_hooks.visualization.score_thr=0.')
    ones, twos = sorted((root / 'one').iterdir()), sorted((root / 'two').iterdir())
    assert len(ones) == 2 and [path.name for path in ones] == [path.name for path in twos]
    assert [path.read_bytes() for path in ones] == [path.read_bytes() for path in twos]
