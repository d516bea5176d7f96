"""What a study runs: variants, shared trainings, and the order of the runs."""

import pytest

from mmcell.settings.options import SettingError
from mmcell.studies.plan import (
    Experiment,
    StudyError,
    differences,
    flatten_settings,
    make_variants,
    parse_varied,
)
from mmcell.studies.runs import plan_runs
from mmcell.studies.times import describe_time, parse_time

BASE = """
model = dict(backbone=dict(depth=50), test_cfg=dict(rcnn=dict(max_per_img=100)))
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(lr=.1)
work_dir = 'a'
"""


@pytest.fixture
def configs(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)
    for name, text in (('deep', 'model = dict(backbone=dict(depth=101))'),
                       ('many', 'model = dict(test_cfg=dict(rcnn=dict(max_per_img=300)))'),
                       ('same', "work_dir = 'elsewhere'")):
        (tmp_path / f'{name}.py').write_text(f"_base_ = ['base.py']\n{text}\n")
    return {path.stem: str(path) for path in tmp_path.glob('*.py')}


def test_a_final_training_has_all_images_no_validation_and_no_folds(tmp_path):
    loaders = ("train_dataloader = dict(dataset=dict(type='CellDataset', ann_file='a/train.json'))\n"
               "val_dataloader = dict(dataset=dict(type='CellDataset', ann_file='a/val.json'))\n")
    path = tmp_path / 'net.py'
    path.write_text(loaders + "val_cfg = dict(type='ValLoop')\nval_evaluator = dict(type='CellMetric')\n")
    variants = make_variants([Experiment(str(path), (), 'last', True), Experiment(str(path))], ['+a=1'])
    last, usual = variants
    assert last.settings['train_dataloader']['dataset']['ann_file'] == 'a/trainval.json'
    assert last.settings['val_dataloader'] is last.settings['val_cfg'] is last.settings['val_evaluator'] is None
    assert usual.settings['train_dataloader']['dataset']['ann_file'] == 'a/train.json'
    # The settings reach tools/train.py, too.
    assert "train_dataloader.dataset.ann_file='a/trainval.json'" in last.options and last.options[0] == '+a=1'
    runs = plan_runs(variants, [0, 1], n_folds=2, with_submission=True)
    assert [str(run.folder) for run in runs] == ['net/seed0_fold0', 'net/seed0_fold1', 'last/seed0',
                                                 'net/seed1_fold0', 'net/seed1_fold1', 'last/seed1']
    assert [[test.split for test in run.tests] for run in runs[:3]] == [['val', 'test'], ['val', 'test'], ['test']]
    path.write_text(loaders.replace('train.json', 'mine.json'))
    with pytest.raises(SettingError, match='only train.json is replaced by the trainval.json beside it'):
        make_variants([Experiment(str(path), is_final=True)])


def test_each_tested_variant_has_its_own_submission(configs):
    variants = make_variants([Experiment(configs[name]) for name in ('base', 'many')])
    run, = plan_runs(variants, [0], with_submission=True)
    assert [(str(test.dump), str(test.submission)) for test in run.tests] == [
        ('base/seed0/base.pkl', 'None'), ('base/seed0/many.pkl', 'None'),
        ('base/seed0/test_images/base.pkl', 'base/seed0/submission_base.zip'),
        ('base/seed0/test_images/many.pkl', 'base/seed0/submission_many.zip')]


def test_no_two_tests_have_the_same_file(tmp_path):
    for name in ('net', 'net_test', 'submission'):
        (tmp_path / f'{name}.py').write_text(f'model = dict(test_cfg=dict(cap={len(name)}))\n')
    runs = plan_runs(make_variants([Experiment(str(tmp_path / f'{name}.py')) for name in
                                    ('net', 'net_test', 'submission')]), [0], with_submission=True)
    files = [path for run in runs for test in run.tests for path in test.files]
    assert len(files) == 9 == len(set(files))


def test_variants_that_differ_only_in_tests_share_a_training(configs):
    variants = make_variants([Experiment(configs[name]) for name in ('base', 'deep', 'many')])
    runs = plan_runs(variants, [0, 1])
    assert [(str(run.folder), [variant.name for variant in run.tested]) for run in runs] == [
        ('base/seed0', ['base', 'many']), ('deep/seed0', ['deep']),
        ('base/seed1', ['base', 'many']), ('deep/seed1', ['deep'])]
    assert {str(run.predictions_of(variant)) for run in runs[:2] for variant in run.tested} == {
        'base/seed0/base.pkl', 'base/seed0/many.pkl', 'deep/seed0/deep.pkl'}


def test_varied_values_and_flags_are_combined(configs):
    varied = dict(map(parse_varied, ['model.test_cfg.rcnn.max_per_img=50,300', 'tta=false,true']))
    variants = make_variants([Experiment(configs['base'])], (), varied)
    assert [variant.name for variant in variants] == [
        'base max_per_img=50 tta=false', 'base max_per_img=50 tta=true', 'base max_per_img=300 tta=false',
        'base max_per_img=300 tta=true']
    assert variants[3].options == ('model.test_cfg.rcnn.max_per_img=300',)
    assert variants[3].flags == (('tta', 'true'),)
    run, = plan_runs(variants, [0])
    assert str(run.folder) == 'base/seed0'
    assert [str(change) for change in differences(variants[0], variants[3])] == [
        'model.test_cfg.rcnn.max_per_img (50 there, 300 here)', 'tta (false there, true here)']


def test_common_settings_come_after_those_of_an_experiment(configs):
    variant, = make_variants([Experiment(configs['base'], ('optim_wrapper.lr=.3',))], ['optim_wrapper.lr=.7'])
    assert variant.settings['optim_wrapper']['lr'] == .7


def test_trainings_have_folders_of_their_own_when_tests_and_trainings_vary(configs, tmp_path):
    (tmp_path / 'deep_many.py').write_text(
        "_base_ = ['deep.py']\nmodel = dict(test_cfg=dict(rcnn=dict(max_per_img=300)))\n")
    experiments = [Experiment(configs[name]) for name in ('base', 'many', 'deep')]
    experiments.append(Experiment(str(tmp_path / 'deep_many.py')))
    runs = plan_runs(make_variants(experiments, (), {'optim_wrapper.lr': ['.1', '.2']}), [0])
    assert [str(run.folder) for run in runs] == [
        'base_lr=.1/seed0', 'base_lr=.2/seed0', 'deep_lr=.1/seed0', 'deep_lr=.2/seed0']


def test_variants_whose_files_would_have_the_same_name_are_refused(configs):
    with pytest.raises(StudyError, match='files of a b and a_b would have the same name'):
        make_variants([Experiment(configs['base'], (), 'a b'), Experiment(configs['deep'], (), 'a_b')])


@pytest.mark.parametrize(('key', 'flag'), [('randomness.seed', '--seeds'), ('fold', '--folds')])
def test_what_the_study_sets_is_not_varied(configs, key, flag):
    with pytest.raises(StudyError, match=f'--vary {key}: give {flag}'):
        make_variants([Experiment(configs['base'])], (), {key: ['0', '1']})


def test_configs_that_differ_in_the_seed_only_are_the_same(configs):
    with pytest.raises(StudyError, match='Seeds do not count'):
        make_variants([Experiment(configs['base'], (f'+randomness.seed={seed}',), str(seed)) for seed in (3, 4)])


def test_a_config_with_a_fold_is_refused(configs):
    with pytest.raises(StudyError, match='base has fold=1: leave it out'):
        make_variants([Experiment(configs['base'], ('+fold=1',))])


def test_a_seed_that_is_named_twice_counts_once(configs):
    assert [run.seed for run in plan_runs(make_variants([Experiment(configs['base'])]), [1, 0, 1])] == [1, 0]


def test_settings_of_predictions_are_those_that_only_tests_read(configs):
    variant, = make_variants([Experiment(configs['base'], ('+tta_model.type=A', '+test_dataloader.batch_size=2'))])
    assert variant.prediction_settings == {
        'model.test_cfg': {'rcnn': {'max_per_img': 100}}, 'test_cfg': {'type': 'TestLoop'}, 'tta_model': {'type': 'A'}}


def test_a_varied_setting_of_training_is_a_training_of_its_own(configs):
    variants = make_variants([Experiment(configs['base'])], (), {'optim_wrapper.lr': ['.1', '.2']})
    assert [str(run.folder) for run in plan_runs(variants, [0])] == ['base_lr=.1/seed0', 'base_lr=.2/seed0']


def test_the_same_experiment_twice_is_refused(configs):
    with pytest.raises(StudyError, match='base and same have the same settings'):
        make_variants([Experiment(configs['base']), Experiment(configs['same'])])


def test_configs_of_one_name_get_the_names_of_their_folders(tmp_path):
    for folder, depth in (('a', 18), ('b', 50)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'net.py').write_text(f'model = dict(depth={depth})\n')
    variants = make_variants([Experiment(str(tmp_path / folder / 'net.py')) for folder in 'ab'])
    assert [variant.name for variant in variants] == ['a/net', 'b/net']
    assert [str(run.folder) for run in plan_runs(variants, [0])] == ['a_net/seed0', 'b_net/seed0']


def test_folds_are_left_out_one_by_one(configs):
    runs = plan_runs(make_variants([Experiment(configs['base'])]), [4], n_folds=2)
    assert [(str(run.folder), run.fold) for run in runs] == [('base/seed4_fold0', 0), ('base/seed4_fold1', 1)]


@pytest.mark.parametrize('text', ['lr', '=1', 'lr=', 'lr=1,,2', 'lr=[1,2'])
def test_wrong_variations_are_refused(text):
    with pytest.raises(StudyError, match='--vary'):
        parse_varied(text)


def test_lists_are_varied_as_wholes():
    assert parse_varied('scales=[2],[4,8]') == ('scales', ['[2]', '[4,8]'])


def test_settings_are_flattened_up_to_lists():
    settings = {'model': {'depth': 18, 'cfg': {}}, 'pipeline': [{'type': 'A', 'size': (1, 2)}], 'name': 'x'}
    assert flatten_settings(settings) == [
        'model.depth=18', 'model.cfg={}', "pipeline=[{'type': 'A', 'size': (1, 2)}]", "name='x'"]


@pytest.mark.parametrize(('text', 'expected_s'), [('90s', 90), ('90m', 5400), ('1.5h', 5400), ('1h30m', 5400)])
def test_times(text, expected_s):
    assert parse_time(text) == expected_s


@pytest.mark.parametrize('text', ['', '90', 'm', '1h 30m', '-5m', '30m1h'])
def test_wrong_times(text):
    with pytest.raises(ValueError, match='90m'):
        parse_time(text)


@pytest.mark.parametrize(('seconds', 'expected'), [(5, '5 s'), (150, '2 min'), (9000, '2.5 h')])
def test_times_in_words(seconds, expected):
    assert describe_time(seconds) == expected


def test_experiments_have_settings_and_names_of_their_own(configs):
    experiments = [Experiment(configs['base']), Experiment(configs['base'], ('optim_wrapper.lr=.3',), 'fast')]
    variants = make_variants(experiments, ['model.backbone.depth=18'])
    assert [variant.name for variant in variants] == ['base', 'fast']
    assert variants[1].options == ('optim_wrapper.lr=.3', 'model.backbone.depth=18')
    assert [str(change) for change in differences(*variants)] == ['optim_wrapper.lr (0.1 there, 0.3 here)']
    assert [str(run.folder) for run in plan_runs(variants, [0])] == ['base/seed0', 'fast/seed0']
    with pytest.raises(StudyError, match='two experiments have the same name: fast, fast'):
        make_variants([Experiment(configs['base'], (), 'fast'), Experiment(configs['deep'], (), 'fast')])


def test_dicts_that_replace_stay_whole():
    settings = {'pipeline': {'2': {'_delete_': True, 'type': 'A'}}}
    assert flatten_settings(settings) == ["pipeline.2={'_delete_': True, 'type': 'A'}"]
