"""Cross-validation with the real commands: folds, trainings, out-of-fold predictions, and the folds as one model."""

import json

import numpy as np
import pytest
from support.commands import CONFIG, TINY, run_quickly

from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.evaluation.average_precision import average_precisions
from mmcell.evaluation.pairs import Pairs
from mmcell.predictions.cells import join_predictions
from mmcell.predictions.dump_file import load_results
from mmcell.predictions.ensemble import fuse_results
from mmcell.predictions.result_files import read_predictions

pytestmark = pytest.mark.slow
FOLDS = (0, 1)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Two folds of four images, each trained for an epoch and tested on its held-out images.

    Returns:
        The folder, and the options of the commands except the fold.
    """
    root = tmp_path_factory.mktemp('folds')
    run_quickly('data_prep/make_demo_data.py', root / 'data', '--images', 4, '--test-images', 2, '--size', 96)
    run_quickly('data_prep/to_coco.py', root / 'data', '--out', root / 'ann', '--folds', len(FOLDS), '--jobs', 1)
    options = [*TINY, 'train_cfg.max_epochs=1', *(f'{split}_dataloader.dataset.ann_file={root}/ann/{split}.json'
                                                  for split in ('train', 'val', 'test'))]
    for fold in FOLDS:
        arguments = ['--work-dir', root / f'run_fold{fold}', '--cfg-options', *options, f'fold={fold}']
        run_quickly('tools/train.py', CONFIG, *arguments)
        run_quickly('tools/test.py', CONFIG, root / f'run_fold{fold}', '--split', 'val', '--out',
                    root / f'fold{fold}.pkl', *arguments)
    return root, options


def test_every_image_is_predicted_by_the_model_that_has_not_seen_it(trained):
    root, _ = trained
    images = json.loads((root / 'ann' / 'trainval.json').read_text())['images']
    for fold in FOLDS:
        predicted = [result['img_id'] for result in load_results(root / f'fold{fold}.pkl')]
        assert predicted == [image['id'] for image in images if image['fold'] == fold]
        record = json.loads(next((root / f'run_fold{fold}').glob('epoch_*.json')).read_text())
        learnt, = record['data']['train']
        assert sorted(learnt['images']) == sorted(image['file_name'] for image in images if image['fold'] != fold)


def test_the_joined_dump_has_the_pooled_out_of_fold_values(trained):
    root, _ = trained
    truth = read_ground_truth(root / 'ann' / 'trainval.json')
    dumps = [root / f'fold{fold}.pkl' for fold in FOLDS]
    run_quickly('tools/ensemble.py', *dumps, '--join', root / 'ann' / 'trainval.json', '--out', root / 'oof.pkl')
    run_quickly('tools/evaluate.py', root / 'oof.pkl', root / 'ann' / 'trainval.json', '--out', root / 'values.json',
                '--resamples', 0)
    pooled = join_predictions([read_predictions(path, truth).predictions for path in dumps])
    assert len(pooled) > 0
    expected = average_precisions(Pairs(truth, pooled))
    values = json.loads((root / 'values.json').read_text())['values']
    assert {name: values[name] for name in ('AP', 'AP50', 'AP50@100')} == {
        name: expected[name] for name in ('AP', 'AP50', 'AP50@100')}


def test_work_folders_give_the_same_as_the_dumps_of_their_checkpoints(trained):
    root, options = trained
    run_quickly('tools/ensemble.py', *(root / f'run_fold{fold}' for fold in FOLDS), '--out', root / 'merged.pkl')
    models = []
    for fold in FOLDS:
        run_quickly('tools/test.py', CONFIG, root / f'run_fold{fold}', '--out', root / 'test.pkl', '--work-dir',
                    root / 'tested', '--cfg-options', *options)
        models.append(load_results(root / 'test.pkl'))
        own = load_results(root / f'run_fold{fold}' / 'test.pkl')
        assert [result['img_id'] for result in own] == [1, 2]
        for result, expected in zip(own, models[-1], strict=True):
            assert len(expected['pred_instances']['scores']) > 0
            for key in ('bboxes', 'scores', 'labels'):
                np.testing.assert_array_equal(result['pred_instances'][key], expected['pred_instances'][key])
    fused = list(fuse_results(models, ['0', '1'], [.5, .5]))
    for result, expected in zip(load_results(root / 'merged.pkl'), fused, strict=True):
        np.testing.assert_array_equal(result['pred_instances']['scores'], expected['pred_instances']['scores'])
