"""How far trainings are, and what is left."""

import json

import pytest

from mmcell.studies.facts import TRAINED, add_test, add_training
from mmcell.studies.plan import Experiment, make_variants
from mmcell.studies.progress import estimate_left, known_test_seconds, progress_table, read_progress
from mmcell.studies.runs import plan_runs


@pytest.fixture
def runs(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / f'{name}.py').write_text(f'model = dict(depth={len(name)}, name={name!r})\n'
                                             'train_cfg = dict(max_epochs=4)\n')
    variants = make_variants([Experiment(str(tmp_path / f'{name}.py')) for name in ('one', 'two')])
    return plan_runs(variants, [0, 1], with_submission=True)


def train(run, folder, n_epochs, seconds):
    """Writes the log of epochs of ten steps, each with a validation."""
    logs = folder / run.folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    records = [record for epoch in range(1, n_epochs + 1)
               for record in (dict(loss=1., iter=10 * epoch, epoch=epoch, step=10 * epoch),
                              dict(AP50=.5 if epoch == 2 else .1 * epoch, step=epoch))]
    (logs / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))
    add_training(folder / run.folder, seconds, 0, 0.)


def test_progress_is_read_from_the_log(runs, tmp_path):
    train(runs[0], tmp_path, 3, 60.)
    progress = read_progress(runs[0], tmp_path)
    assert (progress.share, progress.done, progress.length) == (.75, '3.0', '4 epochs')
    assert progress.whole_seconds == 80.
    table = progress_table(runs, tmp_path)
    assert table.rows == [['one/seed0', '3.0 of 4 epochs', '20 s', '0.300', '0.500']]
    (tmp_path / runs[0].folder / TRAINED).write_text('{}')
    assert read_progress(runs[0], tmp_path).share == 1.
    assert progress_table(runs, tmp_path) is None


def test_what_is_left_is_estimated_from_the_runs_that_are_most_alike(runs, tmp_path):
    nothing = estimate_left(runs, tmp_path)
    assert nothing.describe() == '4 trainings and 8 tests are left, for a time that is not known yet'
    train(runs[0], tmp_path, 4, 100.)
    (tmp_path / runs[0].folder / TRAINED).write_text('{}')
    train(runs[1], tmp_path, 1, 50.)
    # 150 s of the second, 100 s of the first with another seed, and 200 s of the second with another seed.
    assert estimate_left(runs, tmp_path).seconds == pytest.approx(450.)
    for test in runs[0].tests:
        add_test(tmp_path / runs[0].folder, test.name, 10. if test.split == 'val' else 4.)
        (tmp_path / test.dump).parent.mkdir(exist_ok=True)
        (tmp_path / test.dump).write_text('')
    (tmp_path / runs[0].tests[1].submission).write_text('')
    left = estimate_left(runs, tmp_path)
    assert (left.n_trainings, left.n_tests) == (3, 6)
    assert left.seconds == pytest.approx(450. + 3 * 14.)
    assert left.describe() == '3 trainings and 6 tests are left, about 8 min'
    assert left.describe(2).endswith('about 4 min')


def test_a_training_whose_first_process_still_runs_tells_no_time(runs, tmp_path):
    train(runs[0], tmp_path, 1, 0.)
    assert estimate_left(runs, tmp_path).describe().endswith('for a time that is not known yet')


def test_the_time_of_a_test_is_that_of_the_longest_one_like_it(runs, tmp_path):
    validation, test = runs[0].tests
    assert known_test_seconds(validation, tmp_path) is None
    (tmp_path / runs[1].folder).mkdir(parents=True)
    add_test(tmp_path / runs[1].folder, 'two.pkl', 8.)
    assert known_test_seconds(validation, tmp_path) == known_test_seconds(test, tmp_path) == 8.
    add_test(tmp_path / runs[1].folder, 'test_images/two.pkl', 5.)
    assert (known_test_seconds(validation, tmp_path), known_test_seconds(test, tmp_path)) == (8., 5.)
    (tmp_path / runs[0].folder).mkdir(parents=True)
    add_test(tmp_path / runs[0].folder, 'one.pkl', 3.)
    assert known_test_seconds(validation, tmp_path) == 3.
