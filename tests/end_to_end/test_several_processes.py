"""Real commands under torchrun, and killed and interrupted runs, on synthetic and real images. All tests are slow."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from support.commands import CONFIG, TINY, TORCHRUN, read_log, run
from support.paths import REPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmcell.checkpoints.records import find_newest_complete, is_complete
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.predictions.dump_file import load_results

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Writes nine demo images for training and validation and five test images; returns the folder and the options."""
    root = tmp_path_factory.mktemp('several')
    run('data_prep/make_demo_data.py', root / 'data', '--images', 9, '--test-images', 5, '--size', 96)
    run('data_prep/to_coco.py', root / 'data', '--out', root / 'annotations', '--jobs', 1, '--val-ratio', .34)
    (root / 'cwd').mkdir()
    files = [f'{split}_dataloader.dataset.ann_file={root}/annotations/{split}.json'
             for split in ('train', 'val', 'test')]
    return root, [*TINY, *files, 'train_cfg.max_epochs=2']


@pytest.fixture(scope='module')
def trained(data):
    """Trains with two processes; returns the last checkpoint and the log."""
    root, options = data
    log = run(*TORCHRUN, REPO / 'tools/train.py', REPO / CONFIG, '--launcher', 'pytorch', '--work-dir', root / 'run',
              '--cfg-options', *options, cwd=root / 'cwd')
    return root / 'run' / 'epoch_2.pth', log


def contents(path):
    return [{key: value.tolist() if hasattr(value, 'tolist') else value
             for key, value in result['pred_instances'].items()} | {'img_id': result['img_id']}
            for result in load_results(path)]


def test_two_processes_train_and_leave_nothing_behind(data, trained):
    root, _ = data
    path, log = trained
    assert is_complete(path) and list((root / 'cwd').iterdir()) == []
    # An epoch of six images in batches of two has three steps in one process, and two in each of two processes.
    assert load_tensors_only(path)['meta']['iter'] == 4
    # Only one of the two processes writes to the screen.
    assert log.count('epoch 2/2  step 4/4') == log.count('work folder') == 1 and 'Warning' not in log
    assert read_log(root / 'run').count('Saving checkpoint at 2 epochs') == 1


@pytest.mark.parametrize('split', ['test', 'val'])
def test_two_processes_predict_and_measure_what_one_does(data, trained, split):
    root, options = data
    logs = {}
    for name, launcher, flags in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        logs[name] = run(*launcher, REPO / 'tools/test.py', REPO / CONFIG, trained[0], *flags, '--split', split,
                         '--out', root / f'{split}_{name}.pkl', '--work-dir', root / split / name,
                         '--cfg-options', *options, f'val_evaluator.out_file={root}/{name}.json', cwd=root / 'cwd')
    one, two = (contents(root / f'{split}_{name}.pkl') for name in ('one', 'two'))
    assert len(one) in (3, 5) and sum(len(result['scores']) for result in one) > 10
    assert one == two
    if split == 'test':
        zips = [next((root / split / name).glob('*/submission.zip')).read_bytes() for name in ('one', 'two')]
        assert zips[0] == zips[1]
    else:
        # The value that two processes logged while they trained is that of the checkpoint: the saved BatchNorm
        # statistics are those that were validated.
        values = [re.findall(r'AP: .* AP50@100: \S+', log)[-1] for log in (logs['one'], logs['two'], trained[1])]
        assert values[0] == values[1] == values[2]
        assert (root / 'one.json').read_bytes() == (root / 'two.json').read_bytes()
    assert list((root / 'cwd').iterdir()) == []


def test_a_process_that_dies_ends_the_run_with_its_error(data, trained):
    root, options = data
    image = sorted((root / 'data' / 'test_release').glob('*.tif'))[1]  # the second process predicts this image
    content = image.read_bytes()
    try:
        image.write_bytes(content[:300])
        result = subprocess.run(
            [sys.executable, *TORCHRUN, REPO / 'tools/test.py', REPO / CONFIG, trained[0], '--launcher', 'pytorch',
             '--work-dir', root / 'dies', '--cfg-options', *options],
            cwd=root / 'cwd', capture_output=True, text=True, check=False, timeout=300)
    finally:
        image.write_bytes(content)
    assert result.returncode != 0
    assert f'{image.name}: is cut short' in result.stderr
    assert list((root / 'cwd').iterdir()) == []


def test_a_killed_run_goes_on_and_ends_alike(data):
    root, options = data
    command = [sys.executable, 'tools/train.py', CONFIG]
    options = [*options, 'train_cfg.max_epochs=3', 'default_hooks.checkpoint.max_keep_ckpts=1',
               'default_hooks.logger.interval=1', 'visualizer.vis_backends=[TensorboardVisBackend]']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    subprocess.run([*command, '--work-dir', root / 'whole', '--cfg-options', *options], cwd=REPO, env=environment,
                   check=True, capture_output=True)
    process = subprocess.Popen([*command, '--work-dir', root / 'killed', '--cfg-options', *options], cwd=REPO,
                               env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((root / 'killed').glob('epoch_1.pth')) and process.poll() is None:
        time.sleep(.05)
    time.sleep(.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / 'killed' / 'epoch_3.pth').exists()
    assert find_newest_complete(root / 'killed') is not None
    run('tools/train.py', CONFIG, '--resume', '--work-dir', root / 'killed', '--cfg-options', *options)
    whole, killed = (load_tensors_only(root / name / 'epoch_3.pth')['state_dict'] for name in ('whole', 'killed'))
    assert all(whole[name].equal(killed[name]) for name in whole)
    assert not list((root / 'killed').glob('.*.tmp'))
    curves, resumed_curves = (read_events(root / name) for name in ('whole', 'killed'))
    assert curves == resumed_curves and {'train/loss', 'train/lr', 'val/AP50'} <= curves.keys()


def read_events(work_dir):
    """Returns the values that TensorBoard shows, by their names and steps, without the times of computing."""
    folder, = {path.parent for path in work_dir.rglob('events.out.tfevents*')}
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()['scalars'] if not tag.endswith('time')}


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(data):
    root, options = data
    options = [*options, 'default_hooks.checkpoint.max_keep_ckpts=1']
    run('tools/train.py', CONFIG, '--work-dir', root / 'full', '--cfg-options', *options, 'train_cfg.max_epochs=1')
    # A limit of 20,000 KiB on the size of files takes the place of a full disk: the checkpoint has 60 MB.
    result = subprocess.run(
        ['bash', '-c', 'ulimit -f 20000; exec "$@"', '-', sys.executable, 'tools/train.py', CONFIG, '--resume',
         '--work-dir', root / 'full', '--cfg-options', *options],
        cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert 'epoch_2.pth cannot be written (File too large)' in result.stderr and 'Traceback' not in result.stderr
    assert find_newest_complete(root / 'full') == root / 'full' / 'epoch_1.pth'
    assert not list((root / 'full').glob('.*.tmp'))


def test_mixed_precision_on_the_cpu(data):
    root, options = data
    log = run('tools/train.py', CONFIG, '--amp', '--work-dir', root / 'amp', '--cfg-options', *options)
    assert 'precision    mixed, bfloat16\n' in log
    assert 'Mixed precision: bfloat16 on cpu, without a scaled loss.' in read_log(root / 'amp')
    weights = load_tensors_only(root / 'amp' / 'epoch_2.pth')['state_dict']
    assert all(value.isfinite().all() for value in weights.values())


def test_real_images(real_data, tmp_path):
    """The whole path on some of the challenge's images: a resumed training, and eleven test images in two processes."""
    run('data_prep/to_coco.py', real_data / 'hw3', '--out', tmp_path / 'annotations')
    files = [f'{split}_dataloader.dataset.ann_file={tmp_path}/annotations/{split}.json'
             for split in ('train', 'val', 'test')]
    options = [*TINY, *files, 'train_dataloader.dataset.indices=6', 'val_dataloader.dataset.indices=3',
               'train_cfg.max_epochs=2', 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    options = [option for option in options if not option.startswith('val_dataloader.')]
    for name in ('whole', 'resumed'):
        (tmp_path / name).mkdir()
        if name == 'resumed':
            os.link(tmp_path / 'whole' / 'epoch_1.pth', tmp_path / name / 'epoch_1.pth')
        run('tools/train.py', CONFIG, '--resume', '--work-dir', tmp_path / name, '--cfg-options', *options,
            'default_hooks.checkpoint.max_keep_ckpts=2', 'default_hooks.checkpoint.save_best=None')
    whole, resumed = (load_tensors_only(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'resumed'))
    assert all(whole['state_dict'][name].equal(resumed['state_dict'][name]) for name in whole['state_dict'])
    for name, launcher, flags in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        run(*launcher, REPO / 'tools/test.py', REPO / CONFIG, tmp_path / 'whole' / 'epoch_2.pth', *flags,
            '--out', tmp_path / f'{name}.pkl', '--work-dir', tmp_path / name, '--cfg-options', *options, cwd=tmp_path)
    one, two = contents(tmp_path / 'one.pkl'), contents(tmp_path / 'two.pkl')
    assert len(one) == 11 and one == two
    assert not (tmp_path / '.dist_test').exists()
