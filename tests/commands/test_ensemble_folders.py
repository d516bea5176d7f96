"""Work folders as models of tools/ensemble.py: what is predicted, what is kept, and what each of them weighs."""

import json

import _work_folders as command
import numpy as np
import pytest
import torch
from _work_folders import FolderModel, predict, read_models, share_weights
from mmengine.config import Config
from support.commands import call
from support.synthetic_data import discs, write_folds

from mmcell.errors import MmcellError
from mmcell.framework.safe_loading import WeightsError
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import load_results, save_results

PIPELINE = [dict(type='LoadTiff'), dict(type='PackCellInputs')]
RLE, = encode_label_map(discs((40, 50), [(1, 7, 7, 5)])).rles


def training(ann_file, fold=None, seed=0, **settings):
    """The config of a training; with a fold it is that of the data in trainval.json."""
    def loader(held_out):
        folds = {} if fold is None else dict(fold=fold, held_out=held_out)
        return dict(dataset=dict(type='CellDataset', ann_file=str(ann_file), pipeline=PIPELINE, **folds))
    return Config(dict(
        model=dict(type='MaskRCNN', backbone=dict(type='ResNet', depth=18, init_cfg=dict(type='Pretrained'))),
        train_dataloader=loader(False), val_dataloader=loader(True), test_dataloader=dict(
            dataset=dict(type='CellDataset', ann_file=str(ann_file), test_mode=True, pipeline=PIPELINE)),
        randomness=dict(seed=seed), **settings))


@pytest.fixture
def folder(annotation_file, tmp_path):
    """Makes a work folder with a checkpoint of a training, whose weights are one number."""
    def make(name, weight=0., **arguments):
        (tmp_path / name).mkdir(exist_ok=True)
        config = training(annotation_file, **arguments)
        torch.save(dict(meta=dict(cfg=config.pretty_text), state_dict=dict(weight=torch.tensor(weight))),
                   tmp_path / name / 'epoch_1.pth')
        return tmp_path / name
    return make


@pytest.fixture
def runs(monkeypatch, annotation_file):
    """Replaces the process of tools/test.py, and lists the folders that were predicted.

    Each predicts one cell per image, whose score is the weight of the checkpoint.
    """
    predicted = []
    image_ids = [image['id'] for image in json.loads(annotation_file.read_text())['images']]

    def run_test(model, _, out, trusted):
        predicted.append(model.folder.name)
        weight = torch.load(model.checkpoint, weights_only=True)['state_dict']['weight'].item()
        save_results([dict(img_id=image_id, classes=['big', 'small'], pred_instances=dict(
            bboxes=np.array([[2, 2, 12, 12]], np.float32), scores=np.array([weight], np.float32),
            labels=np.zeros(1, np.int64), masks=[RLE])) for image_id in image_ids], out)
    monkeypatch.setattr(command, '_run_test', run_test)
    return predicted


def test_folders_are_predicted_once(folder, runs, annotation_file, tmp_path):
    folders = [folder('a', .5), folder('b', .7, seed=1)]
    out = tmp_path / 'merged.pkl'
    assert call('tools/ensemble.py', *folders, '--out', out).returncode == 0
    assert runs == ['a', 'b'] and (folders[0] / 'train.pkl').exists()
    assert load_results(out)[0]['pred_instances']['scores'] == pytest.approx([.6])
    ended = call('tools/ensemble.py', *folders, '--out', out)
    assert ended.stdout.count('is there already') == 2 and runs == ['a', 'b']
    # Another checkpoint, and other annotations.
    folder('b', .9, seed=1)
    call('tools/ensemble.py', *folders, '--out', out)
    assert runs == ['a', 'b', 'b'] and load_results(out)[0]['pred_instances']['scores'] == pytest.approx([.7])
    annotation_file.write_text(annotation_file.read_text() + '\n')
    call('tools/ensemble.py', *folders, '--out', out)
    assert runs == ['a', 'b', 'b', 'a', 'b']
    # The images of another file have a dump of their own.
    other = write_folds(annotation_file, [0, 1])
    call('tools/ensemble.py', *folders, '--annotations', other, '--out', out)
    assert runs[5:] == ['a', 'b'] and (folders[0] / 'trainval.pkl').exists()


def test_a_dump_of_another_command_is_neither_used_nor_replaced(folder, runs, tmp_path):
    path = folder('a', .5) / 'train.pkl'
    for _ in range(2):
        path.write_bytes(b'mine')
        ended = call('tools/ensemble.py', path.parent, '--out', tmp_path / 'merged.pkl')
        assert ended.returncode == 1 and 'was made by another command' in ended.stderr
        assert path.read_bytes() == b'mine'
        path.unlink()
        # The second time, there is a record, of other content.
        assert call('tools/ensemble.py', path.parent, '--out', tmp_path / 'merged.pkl').returncode == 0


def test_a_prediction_that_fails_leaves_no_dump(folder, tmp_path, monkeypatch):
    model, = read_models([folder('a')], None, False)
    monkeypatch.setattr(command.sys, 'executable', 'false')
    with pytest.raises(MmcellError, match='a: its prediction ended with exit status 1'):
        predict(model, False)
    assert not model.dump.exists()


@pytest.mark.parametrize('name, message', [('empty', 'holds no checkpoint'), ('cut', 'checkpoint')])
def test_folders_without_a_checkpoint(tmp_path, name, message):
    (tmp_path / name).mkdir()
    if name == 'cut':
        (tmp_path / name / 'epoch_1.pth').write_bytes(b'PK')
    with pytest.raises(WeightsError, match=message):
        read_models([tmp_path / name], None, False)


def test_folders_with_different_test_images(folder, annotation_file, tmp_path):
    folders = [folder('a'), folder('b')]
    other = write_folds(annotation_file, [0, 1])
    path = folders[1] / 'epoch_1.pth'
    torch.save(dict(meta=dict(cfg=training(other).pretty_text), state_dict={}), path)
    with pytest.raises(MmcellError, match='different test images, .*train.json and .*trainval.json.*--annotations'):
        read_models(folders, None, False)
    assert [model.dump.name for model in read_models(folders, other, False)] == ['trainval.pkl'] * 2


def weigh(ann_file, *trainings):
    return share_weights([None if config is None else FolderModel(None, None, training(ann_file, **config), None)
                          for config in trainings])


@pytest.mark.parametrize('trainings, weights', [
    ([dict(fold=0), dict(fold=1), None], [.5, .5, 1]),
    ([None, dict(fold=2), dict(fold=0, work_dir='x'), dict(fold=1, resume=True, load_from='y'), None],
     [1, 1 / 3, 1 / 3, 1 / 3, 1]),
    # Folds with another seed are another model, and so are trainings without folds, even if they are the same.
    ([dict(fold=0), dict(fold=1), dict(fold=0, seed=1), dict(fold=1, seed=1), dict(), dict()],
     [.5, .5, .5, .5, 1, 1]),
    ([dict(fold=0), dict(fold=1, train_cfg=dict(max_epochs=3))], [1, 1])])
def test_the_folds_of_one_training_weigh_as_much_as_one_model(annotation_file, trainings, weights):
    assert weigh(annotation_file, *trainings) == weights


def test_weights_reach_the_fusion(folder, runs, tmp_path):
    """Two folds with scores .2 and .4, and a file with .9, whose mean with the weights .5, .5 and 1 is .6."""
    folders = [folder(f'run_fold{fold}', .2 + .2 * fold, fold=fold) for fold in (0, 1)]
    call('tools/ensemble.py', folder('other', .9), '--out', tmp_path / 'single.pkl')
    for flags, score in (([], .6), (['--weights', 1, 1, 1], .5)):
        ended = call('tools/ensemble.py', *folders, tmp_path / 'single.pkl', '--out', tmp_path / 'merged.pkl', *flags)
        assert ended.returncode == 0, ended.stderr
        scores = load_results(tmp_path / 'merged.pkl')[0]['pred_instances']['scores']
        assert scores == pytest.approx([score], abs=1e-6)


@pytest.mark.parametrize('result, flags', [
    ('a.pkl', ['--weights', 1]), ('a.pkl', ['--annotations', 'x.json']), ('.', [])])
def test_joining_takes_files_only(result, flags):
    ended = call('tools/ensemble.py', result, '--join', 'x.json', '--out', 'b.pkl', *flags)
    assert ended.returncode == 2 and '--join takes files only' in ended.stderr


def test_annotations_are_for_folders():
    ended = call('tools/ensemble.py', 'a.pkl', '--annotations', 'x.json', '--out', 'b.pkl')
    assert ended.returncode == 2 and '--annotations is for work folders' in ended.stderr
