"""A training of one fold: its data, its record, its folder, and who else may continue or test it."""

import json
import logging
from types import SimpleNamespace

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from support.commands import read_log
from support.synthetic_data import write_folds
from support.toy_runner import toy_config

from mmcell.checkpoints.fit import FitError
from mmcell.checkpoints.provenance import describe_data
from mmcell.checkpoints.records import read_record
from mmcell.checkpoints.runs import OtherRunError
from mmcell.hooks import FittingCheckpointHook
from mmcell.settings.folds import apply_fold


@METRICS.register_module()
class SeenImages(BaseMetric):
    """Its value is the sum of the ids of the images."""

    value_names = ('ids',)
    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results.extend(sample['img_id'] for sample in data_samples)

    def compute_metrics(self, results):
        return {'ids': sum(results)}


@pytest.fixture
def config(annotation_file, tmp_path):
    """Makes the toy config for a fold of two images, one per fold, as a config file has it."""
    write_folds(annotation_file, [0, 1])

    def make(fold, work_dir='run', **overrides):
        loader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
            type='CellDataset', ann_file=str(annotation_file.with_name('val.json')), test_mode=True,
            pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs')]))
        validation = dict(val_dataloader=loader, val_cfg=dict(type='ValLoop'), val_evaluator=dict(type='SeenImages'))
        return toy_config(
            annotation_file, tmp_path / work_dir, **{**validation, **overrides},
            default_hooks__class_count=dict(type='ClassCountHook'),
            # The toy's BatchNorm needs two images per batch, and there is one image.
            train_dataloader__sampler=dict(type='SeededSampler', shuffle=True, times=4),
            default_hooks__screen=dict(type='FirstScreenHook'), log_level='INFO', fold=fold)
    return make


def train_fold(cfg):
    apply_fold(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_a_fold_is_held_out_of_the_training_and_validated(config, tmp_path):
    runner = train_fold(config(1))
    assert [info['img_id'] for info in map(runner.train_dataloader.dataset.get_data_info, range(1))] == [1]
    assert len(runner.train_dataloader.dataset) == 1
    log = read_log(tmp_path / 'run')
    assert 'train data   ' in log and 'trainval.json: all folds but 1, 1 image, 3 cells' in log
    assert 'trainval.json: fold 1, 1 image, 1 cell' in log and 'ids: 2 ' in log
    content = read_record(tmp_path / 'run' / 'epoch_2.pth').content
    assert [(part['fold'], part['held_out']) for split in ('train', 'val') for part in content['data'][split]] == [
        (1, False), (1, True)]
    assert 'fold = 1' in content['config']


def test_a_folder_holds_the_training_of_one_fold(config):
    train_fold(config(0))
    train_fold(config(0))
    with pytest.raises(OtherRunError, match=r'train_dataloader.dataset.fold \(0 there, 1 here\).*--work-dir'):
        train_fold(config(1))


@pytest.mark.parametrize('before, after', [(0, 1), (None, 1), (1, None)])
def test_another_fold_is_not_resumed(config, tmp_path, annotation_file, before, after):
    annotation_file.with_name('val.json').write_bytes(annotation_file.read_bytes())
    train_fold(config(before))
    again = dict(resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'))
    train_fold(config(before, **again))
    with pytest.raises(FitError, match=f'another fold is held out: .*fold .{"not set" if before is None else before} '
                                       'there.*--work-dir FOLDER'):
        train_fold(config(after, **again))


@pytest.mark.parametrize('change, message', [
    (lambda cfg: None, 'fold=1, but the training data are not those of a fold: start mmcell.s tools/train.py'),
    (lambda cfg: cfg.val_dataloader.dataset.update(held_out=False), 'validation data are another side of a fold'),
    (lambda cfg: cfg.train_dataloader.dataset.update(fold=0), 'training data are another side of a fold')])
def test_a_training_that_does_not_know_the_fold_is_refused(config, annotation_file, change, message):
    """MMDetection's tools/train.py gives the config to MMEngine's runner as it is."""
    cfg = config(1)
    if 'not those' in message:
        annotation_file.with_name('val.json').write_bytes(annotation_file.read_bytes())
    else:
        apply_fold(cfg)
    change(cfg)
    with pytest.raises(FitError, match=message):
        Runner.from_cfg(cfg).train()


def test_a_training_without_validation_has_a_fold(config, tmp_path):
    train_fold(config(1, val_dataloader=None, val_cfg=None, val_evaluator=None))
    assert 'validation   none' in read_log(tmp_path / 'run')


@pytest.mark.parametrize('trained, tested, message', [
    (0, 0, None), (0, 1, '1 of the 1 images of fold 1 were in the training data .* --cfg-options fold=N'),
    (None, 1, '1 of the 1 images of fold 1')])
def test_predictions_are_out_of_fold(annotation_file, monkeypatch, trained, tested, message):
    path = write_folds(annotation_file, [0, 1])

    def build(fold, held_out):
        return DATASETS.build(dict(type='CellDataset', ann_file=str(path), fold=fold, held_out=held_out, pipeline=[]))
    recorded = dict(train=describe_data(build(trained, False)), val=describe_data(build(trained, True)))
    monkeypatch.setattr('mmcell.hooks.fit.refuse_other_model', lambda *_: None)
    runner = SimpleNamespace(
        model=None, cfg=SimpleNamespace(model=SimpleNamespace(to_dict=dict)), logger=logging.getLogger('test'),
        test_dataloader=SimpleNamespace(dataset=build(tested, True)))
    checkpoint = json.loads(json.dumps(dict(meta=dict(mmcell=dict(data=recorded)))))
    hook = FittingCheckpointHook('val')
    if message is None:
        hook.after_load_checkpoint(runner, checkpoint)
    else:
        with pytest.raises(FitError, match=message):
            hook.after_load_checkpoint(runner, checkpoint)
