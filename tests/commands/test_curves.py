import json
from xml.etree import ElementTree

import pytest
from support.commands import call

from mmcell.images.image_file import read_image

STEP = dict(lr=1., loss=3., loss_mask=1., iter=10, step=10)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in a folder with the work folders a, b and c; returns status, output and error output."""
    monkeypatch.chdir(tmp_path)
    for name, records in dict(a=[{**STEP, 'epoch': 1}, dict(AP=.1, AP50=.2, step=1)], b=[STEP],
                              c=[STEP, {'coco/segm_mAP': .3, 'step': 10}]).items():
        folder = tmp_path / name / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))

    def run_command(*args):
        ended = call('tools/curves.py', *args)
        return ended.returncode, ended.stdout, ended.stderr
    return run_command


def test_values_are_printed_and_drawn(run, tmp_path):
    status, out, _ = run('a', '--loss', 'all', '--out', 'new/curves.png', 'b', '--score', 'AP50', 'AP')
    assert status == 0
    assert [line.strip() for line in out.splitlines()] == [
        'a: logged until step 10 (epoch 1)', 'loss: lowest 3 at step 10 (epoch 1); last 3 at step 10 (epoch 1)',
        'loss_mask: lowest 1 at step 10 (epoch 1); last 1 at step 10 (epoch 1)',
        'AP50: best 0.2 at step 10 (epoch 1); last 0.2 at step 10 (epoch 1)',
        'AP: best 0.1 at step 10 (epoch 1); last 0.1 at step 10 (epoch 1)',
        'b: logged until step 10', 'loss: lowest 3 at step 10; last 3 at step 10',
        'loss_mask: lowest 1 at step 10; last 1 at step 10', 'AP50: not logged', 'AP: not logged', 'no validation',
        'wrote new/curves.png']
    picture = read_image(tmp_path / 'new' / 'curves.png')
    assert picture.shape[2] == 3 and (picture != 255).any()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['curves.png']


def test_without_a_validation_or_without_ap50(run):
    assert run('b', '--out', 'b.svg')[0] == 0
    status, out, _ = run('c', '--out', 'c.pdf')
    assert status == 0 and 'coco/segm_mAP: best 0.3' in out


def test_seeds_are_one_line_with_a_band(run, tmp_path):
    for name, seed in dict(a=0, b=1, c=2).items():
        (tmp_path / name / '20260101_000000' / 'vis_data' / 'config.py').write_text(
            f"model = dict(type='Net')\nrandomness = dict(seed={seed})\nresume = False\n")
    status, out, _ = run('a', 'b', '--out', 'seeds.svg')
    assert status == 0 and [line.strip() for line in out.splitlines()][-5:] == [
        'a and 1 more: mean of seeds 0, 1', 'loss: lowest 3 on average, from 3 to 3, at epoch 1, step 10',
        'AP50: best 0.2 on average, from 0.2 to 0.2, at epoch 1',
        'AP50: not all of the trainings have values at the same steps, so there is no band', 'wrote seeds.svg']
    text = ''.join(ElementTree.parse(tmp_path / 'seeds.svg').getroot().itertext())
    assert 'a and 1 more: mean of seeds 0, 1' in text and 'band and brackets: lowest to highest' in text
    status, out, _ = run('a', 'b', '--no-bands', '--out', 'lines.svg')
    assert status == 0 and 'mean of' not in out and 'band' not in (tmp_path / 'lines.svg').read_text()


@pytest.mark.parametrize('args, message', [
    (['nowhere'], 'error: no training has logged a loss in nowhere/'),
    (['a', '--score', 'AP500'], 'error: --score AP500: no training has logged this value; did you mean AP50'),
    (['b', '--score', 'AP50'], 'nothing was validated'),
    (['a', '--loss', 'mask'], 'did you mean loss_mask? there are loss, loss_mask, lr'),
    (['a', 'b', '--x', 'epoch'], 'error: --x epoch: b counts only iterations; use --x iter'),
])
def test_what_cannot_be_drawn_is_said_and_nothing_is_written(run, tmp_path, args, message):
    status, _, errors = run(*args, '--out', 'x.png')
    assert status == 1 and message in errors and errors.count('\n') == 1 and not (tmp_path / 'x.png').exists()


def test_the_suffix_must_be_known(run):
    assert run('a', '--out', 'x.xyz')[0] == 2
