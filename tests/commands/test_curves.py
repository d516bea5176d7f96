import json
import subprocess
import sys

import pytest
from support.paths import REPO

from mmcell.errors import MmcellError
from mmcell.images.pixels import read_image
from mmcell.visualization.training_curves import Curves, read_curves


def write_run(work_dir, name, records):
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))


def step(number, loss, epoch=None):
    return dict(lr=1., loss=loss, iter=number, step=number, **({} if epoch is None else dict(epoch=epoch)))


def test_validations_of_epochs_are_placed_at_the_last_step_of_the_epoch(tmp_path):
    write_run(tmp_path, '20260101_000000', [
        step(10, 3., 1), step(20, 2., 1), dict(AP=.1, AP50=.2, step=1), step(30, 1., 2), dict(AP=.3, AP50=.4, step=2)])
    assert read_curves(tmp_path) == Curves({10: 3., 20: 2., 30: 1.}, {20: .2, 30: .4})
    assert read_curves(tmp_path, 'AP').scores == {20: .1, 30: .3}
    assert read_curves(tmp_path, 'mPQ').scores == {}


def test_validations_of_iteration_based_trainings_keep_their_step(tmp_path):
    write_run(tmp_path, '20260101_000000', [step(50, 3.), step(100, 2.), dict(AP50=.5, step=100)])
    assert read_curves(tmp_path) == Curves({50: 3., 100: 2.}, {100: .5})


def test_a_resumed_run_replaces_the_steps_that_it_repeats(tmp_path):
    write_run(tmp_path, '20260101_000000', [
        step(10, 3., 1), dict(AP50=.2, step=1), step(20, 9., 2), dict(AP50=.9, step=2), step(30, 9., 3)])
    write_run(tmp_path, '20260101_000001', [step(20, 2., 2), dict(AP50=.3, step=2)])
    # This run only validated.
    write_run(tmp_path, '20260101_000002', [dict(AP50=.3, step=2)])
    assert read_curves(tmp_path) == Curves({10: 3., 20: 2.}, {10: .2, 20: .3})


def test_a_folder_without_a_training(tmp_path):
    with pytest.raises(MmcellError, match='no training has logged a loss'):
        read_curves(tmp_path)


def test_the_command(tmp_path):
    write_run(tmp_path / 'a', '20260101_000000', [step(10, 3., 1), dict(AP50=.2, step=1)])
    write_run(tmp_path / 'b', '20260101_000000', [step(10, 4., 1), step(20, 2., 1)])

    def run(*arguments):
        return subprocess.run([sys.executable, 'tools/curves.py', *map(str, arguments)], cwd=REPO, text=True,
                              capture_output=True, check=False)
    done = run(tmp_path / 'a', tmp_path / 'b', '--out', tmp_path / 'new' / 'curves.png')
    assert done.returncode == 0, done.stderr
    picture = read_image(tmp_path / 'new' / 'curves.png')
    assert picture.shape[2] == 3 and (picture != 255).any()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['curves.png']
    failed = run(tmp_path / 'c', '--out', tmp_path / 'c.png')
    assert failed.returncode == 1 and failed.stderr.startswith('error: no training')
    assert not (tmp_path / 'c.png').exists()
    assert '.png' in run(tmp_path / 'a', '--out', tmp_path / 'c.xyz').stderr
