import json

import pytest
from mmengine.config import Config

from mmcell.checkpoints.seeds import group_seeds, lowest_is_best, read_settings

SETTINGS = dict(model=dict(type='Net', depth=18), train_dataloader=dict(dataset=dict(ann_file='train.json')),
                val_evaluator=dict(type='Metric'), randomness=dict(seed=0), load_from=None, resume=False)


@pytest.fixture
def write_run(tmp_path, monkeypatch):
    """Writes the log of a run into a folder; keyword arguments change the settings of its config."""
    monkeypatch.chdir(tmp_path)

    def write(folder, run='20260101_000000', loss=True, **changes):
        config = Config({key: dict(value) if isinstance(value, dict) else value for key, value in SETTINGS.items()})
        config.merge_from_dict(changes)
        logs = tmp_path / folder / run / 'vis_data'
        logs.mkdir(parents=True)
        (logs / 'config.py').write_text(config.pretty_text)
        (logs / 'scalars.json').write_text(json.dumps({'loss' if loss else 'AP': 1., 'step': 1}))
        return folder
    return write


def members(*folders):
    return [group.places for group in group_seeds(folders)]


def test_trainings_that_differ_only_in_their_seed_are_one_group(write_run):
    folders = [write_run('r50/seed0'), write_run('r18', **{'model.depth': 50}),
               write_run('r50/seed1', **{'randomness.seed': 1, 'log_level': 'INFO', 'work_dir': 'elsewhere'})]
    first, second = group_seeds(folders)
    assert (first.places, first.seeds, first.folds) == ((0, 2), (0, 1), (None, None)) and second.places == (1,)
    assert [str(first), str(second)] == ['r50: mean of seeds 0, 1', 'r18']


def test_the_same_seed_again_is_another_group(write_run):
    assert members(write_run('a'), write_run('b'), write_run('c', **{'randomness.seed': 1})) == [(0, 2), (1,)]
    # Without a seed, each training has another one.
    assert members(*(write_run(name, **{'randomness.seed': None}) for name in 'de')) == [(0, 1)]


def test_folds_have_annotation_files_of_their_own(write_run):
    fold0, fold1 = (write_run(f'r50/seed0_fold{fold}', fold=fold, **{
        'train_dataloader.dataset.ann_file': f'fold{fold}/train.json'}) for fold in (0, 1))
    group, = group_seeds([fold0, fold1])
    assert group.folds == (0, 1) and str(group) == 'r50/seed0: mean of seed 0 and folds 0, 1'
    # Other annotation files without a fold are another experiment, and so is another model.
    assert len(members(write_run('a', **{'randomness.seed': 1, 'train_dataloader.dataset.ann_file': 'x.json'}),
                       write_run('b'), write_run('c', fold=2, **{'model.depth': 50}), fold0)) == 4


def test_how_often_a_training_was_resumed_makes_no_difference(write_run):
    write_run('r50/seed0')
    write_run('r50/seed0', '20260102_000000', resume=True, load_from='r50/seed0/epoch_3.pth')
    # A test of the checkpoint with another setting of the model.
    write_run('r50/seed0', '20260103_000000', loss=False, **{'model.depth': 1})
    write_run('r50/seed1', **{'randomness.seed': 1})
    write_run('r50/pretrained', **{'randomness.seed': 2, 'load_from': 'weights.pth'})
    assert read_settings('r50/seed0')['resume'] is True
    assert members('r50/seed0', 'r50/seed1') == [(0, 1)]
    assert members('r50/seed1', 'r50/pretrained') == [(0,), (1,)]
    assert members('r50/seed0/20260101_000000', 'r50/seed1') == [(0, 1)]


def test_without_a_config_the_record_of_a_checkpoint_counts(write_run, tmp_path):
    write_run('r50/seed0')
    (tmp_path / 'copied').mkdir()
    record = dict(config=Config(SETTINGS | dict(randomness=dict(seed=1))).pretty_text, iter=1)
    (tmp_path / 'copied' / 'epoch_1.json').write_text(json.dumps(record))
    (tmp_path / 'copied' / 'epoch_1.pth').write_bytes(b'')
    assert members('r50/seed0', 'copied') == [(0, 1)]


@pytest.mark.parametrize('text', ['', 'import os', 'a = b', '\0'])
def test_unknown_settings_belong_to_no_group(write_run, tmp_path, text):
    for name in 'ab':
        (tmp_path / write_run(name) / '20260101_000000' / 'vis_data' / 'config.py').write_text(text)
    assert members('a', 'b') == [(0,), (1,)] and members('nowhere', 'a', write_run('c')) == [(0,), (1,), (2,)]


@pytest.mark.parametrize('names, common', [
    (['s/r50/seed0', 's/r50/seed11'], 's/r50'), (['r50_s10', 'r50_s12'], 'r50'), (['r50', 'r50_seed1'], 'r50'),
    (['s/one', 's/other'], 's/one and 1 more'), (['one', 'two'], 'one and 1 more'), (['s/0', 's/1'], 's'),
    (['x/seed0_fold0', 'x/seed1_fold2'], 'x')])
def test_what_names_have_in_common(write_run, names, common):
    folders = [write_run(name, **{'randomness.seed': seed}) for seed, name in enumerate(names)]
    assert [group.name for group in group_seeds(folders)] == [common]


def test_values_whose_lowest_is_the_best():
    def hook(**settings):
        return lowest_is_best(dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', **settings))))
    assert hook(save_best='error', rule='less') == {'error'} and hook(save_best='AP50', rule='greater') == set()
    assert hook(save_best=['AP', 'error'], rule=['greater', 'less']) == {'error'}
    assert hook(save_best=['a', 'b'], rule='less') == {'a', 'b'}
    assert hook() == lowest_is_best(None) == lowest_is_best({}) == set()
