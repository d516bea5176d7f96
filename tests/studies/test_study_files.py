"""Studies from config files and from study files, those of the project among them."""

import pytest
from mmengine.config import Config
from support.paths import REPO

from mmcell.errors import MmcellError
from mmcell.studies.plan import StudyError, make_variants, parse_varied
from mmcell.studies.runs import plan_runs
from mmcell.studies.study_files import read_study

STUDIES = sorted((REPO / 'studies').glob('*.py'))


def test_config_files_are_the_experiments():
    study = read_study([f'{REPO}/configs/cell/mask-rcnn_r50.py', f'{REPO}/configs/cell/mask-rcnn_r18.py'])
    assert [experiment.config.rpartition('/')[2] for experiment in study.experiments] == [
        'mask-rcnn_r50.py', 'mask-rcnn_r18.py']
    assert (study.seeds, study.n_folds, study.varied, study.options, study.question) == ((0,), None, (), (), '')


def test_a_study_file_is_read_with_what_it_inherits(tmp_path):
    (tmp_path / 'net.py').write_text('model = dict(depth=50)\n')
    (tmp_path / 'base.py').write_text("configs = ['net.py']\nquestion = 'Why?'\nsettings = dict(model=dict(a=1))\n")
    (tmp_path / 'study.py').write_text(
        "_base_ = ['base.py']\nseeds = [3, 4]\nfolds = 5\nvary = ['model.a=1,2']\n"
        "configs = ['net.py', dict(config='net.py', name='deep', settings=dict(model=dict(depth=101)))]\n")
    study = read_study([str(tmp_path / 'study.py')])
    assert study.question == 'Why?'
    assert (study.seeds, study.n_folds, study.varied, study.options) == ((3, 4), 5, ('model.a=1,2',), ())
    plain, deep = study.experiments
    assert plain.config == deep.config == str(tmp_path / 'net.py')
    assert plain.options == ('model.a=1',)
    assert (deep.name, deep.options) == ('deep', ('model.a=1', 'model.depth=101'))


def test_what_goes_beyond_the_table_is_read_too(tmp_path):
    (tmp_path / 'net.py').write_text("train_dataloader = dict(dataset=dict(ann_file='a/train.json'))\n")
    (tmp_path / 'study.py').write_text("configs = ['net.py', dict(config='net.py', final=True)]\n"
                                       'submission = True\nshare_mib = 15\n')
    study = read_study([str(tmp_path / 'study.py')])
    assert (study.with_submission, study.share_mib) == (True, 15)
    assert [(experiment.name, experiment.is_final) for experiment in study.experiments] == [
        ('', False), ('net_final', True)]


@pytest.mark.parametrize('name', ['consep', 'hw3', 'light_consep', 'light_hw3'])
def test_the_studies_for_one_gpu_have_its_settings(name):
    study = read_study([str(REPO / 'studies' / f'{name}.py')])
    assert study.with_submission and study.share_mib == 15
    for variant in make_variants(study.experiments, study.options):
        settings = Config(variant.settings)
        assert (settings.optim_wrapper.type, settings.optim_wrapper.dtype) == ('MixedPrecisionOptimWrapper', 'bfloat16')
        assert settings.optim_wrapper.optimizer.fused and settings.env_cfg.channels_last == ['cpu', 'cuda']
        assert settings.default_hooks.matmul_precision.type == 'MatmulPrecisionHook'
        assert settings.train_dataloader.pin_memory and 1 <= settings.train_dataloader.num_workers <= 8
        assert settings.train_dataloader.dataset.ann_file == {
            'consep': 'annotations/consep/train.json', 'hw3': 'annotations/train.json'}[name.removeprefix('light_')]
        weights = settings.model.backbone.init_cfg
        # Nothing is downloaded.
        assert ('random-weights' in variant.name) if weights is None else weights.checkpoint.startswith('weights/')


@pytest.mark.parametrize(('text', 'message'), [
    ("configs = ['a.py']\nseed = 1", r'the keys are question, .*, got seed$'),
    ("configs = [dict(config='a.py', setting=1)]", r'the keys are config, settings, name, final, got setting$'),
    ("configs = [dict(name='a')]", 'a path, or a dict with the key config'),
    ("configs = 'a.py'", "configs must be a list of paths or dicts, got 'a.py'"),
    ("configs = []", 'configs must be a list of paths or dicts'),
    ("configs = ['study.py']\nseeds = 3", 'seeds must be a list of whole numbers, got 3'),
    ("configs = ['study.py']\nfolds = 1", 'folds must be a whole number greater than 1, got 1'),
    ("configs = ['study.py']\nvary = 'lr=1,2'", 'vary must be a list of texts'),
    ("configs = ['study.py']\nsettings = ['lr=1']", 'settings must be a dict'),
    ("configs = ['study.py']\nsubmission = 1", 'submission must be True or False, got 1'),
    ("configs = ['study.py']\nshare_mib = 0", 'share_mib must be a positive whole number, got 0'),
    ("configs = [dict(config='study.py', final='yes')]", "final must be True or False, got 'yes'"),
    ("configs = ['nowhere.py']", 'no config .*nowhere.py. Paths in configs are relative to the study file'),
])
def test_wrong_study_files_are_refused(tmp_path, text, message):
    (tmp_path / 'study.py').write_text(text)
    with pytest.raises(StudyError, match=message):
        read_study([str(tmp_path / 'study.py')])


@pytest.mark.parametrize('name', ['study.py', 'net.py'])
def test_a_mistake_in_a_config_ends_in_a_message(tmp_path, name):
    (tmp_path / 'net.py').write_text('model = dict(depth=50)')
    (tmp_path / 'study.py').write_text("configs = ['net.py']")
    (tmp_path / name).write_text('model = dict(\n')
    with pytest.raises(MmcellError, match=rf"the config .*{name}, .* cannot be read: SyntaxError: .* line 1: model"):
        make_variants(read_study([str(tmp_path / 'study.py')]).experiments)


def test_a_study_file_stands_alone(tmp_path):
    (tmp_path / 'study.py').write_text("configs = ['a.py']")
    with pytest.raises(StudyError, match='must be the only file'):
        read_study([str(tmp_path / 'study.py'), 'other.py'])


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_project_can_be_planned(path):
    study = read_study([str(path)])
    variants = make_variants(study.experiments, study.options, dict(map(parse_varied, study.varied)))
    assert study.question.endswith('?')
    assert all(run.tested for run in plan_runs(variants, study.seeds))
    assert f'python tools/study.py studies/{path.name} --' in path.read_text(encoding='utf-8')


def test_the_small_studies_have_the_same_cost():
    small = [path for path in STUDIES if path.stem.endswith('_small')]
    assert len(small) == 5
    for path in small:
        study = read_study([str(path)])
        for variant in make_variants(study.experiments, study.options):
            settings = Config(variant.settings)
            loader = settings.train_dataloader
            assert (settings.train_cfg.max_epochs, loader.batch_size, loader.sampler.times) == (4, 1, 2)
            assert loader.dataset.pipeline[2].transforms[-1].crop_size == (256, 256)
            assert settings.model.train_cfg.rcnn.sampler.num == 64
