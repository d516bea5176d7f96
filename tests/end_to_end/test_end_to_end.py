"""The whole road with the real commands, at a size that a test can afford."""

import json
import os
import pty
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import CONFIG, TINY, TORCHRUN, read_log, run
from support.paths import REPO

from mmcell.masks.rle import area_px
from mmcell.predictions.dump_file import load_results


@pytest.fixture(scope='module')
def road(tmp_path_factory):
    """Demo data, annotations and options that point a config at them."""
    root = tmp_path_factory.mktemp('road')
    run('data_prep/make_demo_data.py', root / 'data', '--images', 5, '--test-images', 2, '--size', 96)
    run('data_prep/to_coco.py', root / 'data', '--out', root / 'annotations', '--jobs', 1,
        '--class-names', 'epithelial', 'lymphocyte', 'neutrophil', 'macrophage')
    files = {'train': 'train_dataloader.dataset.ann_file', 'val': 'val_dataloader.dataset.ann_file',
             'test': 'test_dataloader.dataset.ann_file'}
    options = [f'{key}={root}/annotations/{name}.json' for name, key in files.items()]
    return root, ['--work-dir', root / 'run', '--cfg-options', *TINY, *options]


@pytest.fixture(scope='module')
def checkpoint(road):
    root, options = road
    log = run('tools/train.py', CONFIG, *options, 'train_cfg.max_epochs=1')
    for name in ('AP:', 'AP50:', 'AP@100:', 'AP50@100:'):
        assert name in log and name in read_log(root / 'run')
    before_first_step, first_step, _ = log.partition('epoch 1/1  step 2/2  left 0:00:00  loss ')
    assert first_step and before_first_step.count('\n') <= 15 and 'OneDL' not in log
    for line in ('model        MaskRCNN with ResNet, 4,054,152 trainable parameters',
                 'train.json: 4 images, 43 cells, colour order bgr\n', 'epithelial 20, lymphocyte 21, neutrophil 1, ',
                 'val.json: 1 image, 8 cells', '1 epoch of 2 steps', f'work folder  {root}/run\n'):
        assert line in before_first_step
    return root / 'run' / 'epoch_1.pth'


def test_from_masks_to_submission(road, checkpoint):
    root, options = road
    run('tools/test.py', CONFIG, checkpoint.parent, '--dump-results', root / 'results.pkl', *options)
    results = load_results(root / 'results.pkl')
    assert [result['img_id'] for result in results] == [1, 2]
    assert all(set(rle) == {'size', 'counts'} for rle in results[0]['pred_instances']['masks'])

    # From the checkpoint alone, with the colour order of its training.
    log = run('tools/predict.py', checkpoint.parent, root / 'data' / 'test_release', '--out', root / 'cells',
              '--score-thr', 0, '--formats', 'coco', '--device', 'cpu')
    assert 'images are read as bgr' in log and 'in 2 images written' in log
    for path, result in zip(sorted((root / 'cells').glob('[!.]*')), results, strict=True):
        expected = [rle['counts'].decode() for rle in result['pred_instances']['masks'] if area_px(rle)]
        assert len(expected) > 0
        document = json.loads(path.read_text())
        assert [annotation['segmentation']['counts'] for annotation in document['annotations']] == expected
        assert document['categories'][1]['name'] == 'lymphocyte'

    annotations = root / 'annotations' / 'test.json'
    run('tools/submit.py', root / 'results.pkl', '--annotations', annotations, '--out', root / 'submission.zip')
    checked = run('tools/submit.py', '--check', root / 'submission.zip', '--annotations', annotations)
    assert 'detections, valid' in checked
    with zipfile.ZipFile(root / 'submission.zip') as archive:
        detections = json.loads(archive.read('test-results.json'))
    assert {detection['image_id'] for detection in detections} <= {1, 2}
    written = list((root / 'run').glob('*/submission.zip'))
    assert [path.read_bytes() for path in written] == [(root / 'submission.zip').read_bytes()]


def test_validation_with_views_ensemble_and_pictures(road, checkpoint):
    root, options = road
    log = run('tools/test.py', CONFIG, checkpoint, '--split', 'val', '--out', root / 'val.pkl', *options)
    assert 'AP50@100:' in log
    measured = run('tools/evaluate.py', root / 'val.pkl', root / 'annotations' / 'val.json', '--out', root / 'm.json')
    assert 'AP50@100' in measured
    values = json.loads((root / 'm.json').read_text())['values']
    # As mmengine rounds in its log.
    assert f"AP50@100: {values['AP50@100']:.4f}" in log
    log = run('tools/test.py', CONFIG, checkpoint, '--split', 'val', '--tta', '--out', root / 'tta.pkl', *options,
              'tta_model.scales=[1.,1.5]', 'tta_model.turns=[0,1]', 'tta_model.tta_cfg.wbf.iou_threshold=.6')
    assert 'AP50@100:' in log
    plain, augmented = (load_results(root / f'{name}.pkl') for name in ('val', 'tta'))
    assert [result['img_id'] for result in augmented] == [result['img_id'] for result in plain]
    assert 0 < len(augmented[0]['pred_instances']['scores']) == len(augmented[0]['pred_instances']['masks']) <= 20
    assert plain[0]['classes'] == ['epithelial', 'lymphocyte', 'neutrophil', 'macrophage']
    run('tools/ensemble.py', root / 'val.pkl', root / 'tta.pkl', '--out', root / 'merged.pkl')
    run('tools/overlay.py', root / 'merged.pkl', '--annotations', root / 'annotations' / 'val.json',
        '--out', root / 'overlays', '--score-thr', 0, '--classes', 'lymphocyte')
    assert len(list((root / 'overlays').glob('*_demo_*.png'))) == 1


def test_training_goes_on_where_it_stopped(road, checkpoint):
    root, options = road
    log = run('tools/train.py', CONFIG, '--resume', *options, 'train_cfg.max_epochs=2')
    assert 'continues with epoch 2, step 3\n' in log and 'epoch 2/2  step 4/4' in log and 'epoch 1/2' not in log
    log = read_log(root / 'run')
    assert 'Epoch(train) [2]' in log or 'Epoch(val) [2]' in log
    assert 'Epoch(val) [1]' not in log


@pytest.mark.slow
@pytest.mark.parametrize('moment', ['now the scores', 'log file'])
def test_ctrl_c_leaves_a_terminal_as_it_was(road, moment):
    """While a validation shows its bar, and before the first step."""
    root, options = road
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
    assert shown.rstrip().endswith('interrupted') and 'Traceback' not in shown
    assert shown.rfind('\x1b[?25l') <= shown.rfind('\x1b[?25h')


@pytest.mark.slow
def test_the_configs_train_under_mmdetections_own_command(road):
    from mmengine.utils import get_installed_path
    root, options = road
    options = [root / 'stock' if option == root / 'run' else option for option in options]
    run(Path(get_installed_path('mmdet')) / '.mim' / 'tools' / 'train.py', CONFIG, *options, 'train_cfg.max_epochs=1')
    assert (root / 'stock' / 'epoch_1.pth').exists()


@pytest.mark.slow
def test_the_real_command_in_one_process_and_in_two(road, checkpoint):
    root, options = road
    for name, start, end in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        run(*start, 'tools/test.py', CONFIG, checkpoint, '--show-dir', root / name, *end, *options,
            'default_hooks.visualization.score_thr=0.')
    ones, twos = sorted((root / 'one').iterdir()), sorted((root / 'two').iterdir())
    assert len(ones) == 2 and [path.name for path in ones] == [path.name for path in twos]
    assert [path.read_bytes() for path in ones] == [path.read_bytes() for path in twos]
