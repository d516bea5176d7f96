"""The table of a study: seeds, folds, unfinished studies, differences and intervals."""

import json

import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.evaluation.bootstrap import resample_weights
from mmcell.evaluation.evaluation import compare, evaluate
from mmcell.evaluation.pairs import Pairs
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import save_results
from mmcell.predictions.result_files import read_predictions
from mmcell.studies.measuring import measure, out_of_fold_path, refuse_unfit_data
from mmcell.studies.plan import Experiment, StudyError, make_variants
from mmcell.studies.results import compare_with, mean_and_range, study_tables, to_records
from mmcell.studies.runs import plan_runs

SIZE = (40, 60)
CELLS = encode_label_map(discs(SIZE, [(1, 10, 10, 6), (2, 24, 30, 8), (3, 12, 48, 5)]))
N_IMAGES = 6


def write_annotations(path, ids):
    path.write_text(json.dumps(dict(
        images=[dict(id=i, file_name=f'{i}.tif', height=SIZE[0], width=SIZE[1], fold=i % 3) for i in ids],
        categories=categories(['a', 'b']),
        annotations=[dict(id=10 * i + k, image_id=i, category_id=1 + k % 2, segmentation=CELLS.rles[k - 1], iscrowd=0,
                          area=int(CELLS.areas_px[k - 1]), bbox=CELLS.bboxes_xywh[k - 1].tolist())
                     for i in ids for k in (1, 2, 3)])))


@pytest.fixture
def experiments(tmp_path):
    """Two configs with six validation images; trainval.json has the same images in three folds."""
    for name in ('val', 'trainval'):
        write_annotations(tmp_path / f'{name}.json', range(1, N_IMAGES + 1))
    loaders = ''.join(f"{side}_dataloader = dict(dataset=dict(type='CellDataset', ann_file={str(tmp_path / name)!r}))\n"
                      for side, name in (('train', 'train.json'), ('val', 'val.json')))
    (tmp_path / 'one.py').write_text(f'model = dict(depth=50)\n{loaders}')
    (tmp_path / 'two.py').write_text(f'model = dict(depth=18)\n{loaders}')
    return [Experiment(str(tmp_path / f'{name}.py')) for name in ('one', 'two')]


def write_dump(path, ids, rng, n_missed=0):
    """Writes the true cells of images with random scores, without the last ``n_missed`` cells of each image."""
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    kept = slice(0, 3 - n_missed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_results([dict(img_id=i, ori_shape=SIZE, classes=['a', 'b'], pred_instances=dict(
        bboxes=boxes[kept], scores=rng.uniform(.5, 1, 3)[kept].astype(np.float32), masks=CELLS.rles[kept],
        labels=np.array([1, 0, 1 - (i % 2)])[kept])) for i in ids], path)


def test_seeds_have_a_mean_a_range_and_a_paired_interval(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0, 1])
    for run, n_missed in zip(runs, (0, 1, 1, 2), strict=True):
        write_dump(tmp_path / 'study' / run.predictions_of(run.variant), range(1, N_IMAGES + 1), rng, n_missed)
    measured = measure(runs, variants, tmp_path / 'study', .5, 40)
    first, second = measured.rows
    assert (first.n_runs, second.n_runs, measured.n_images) == (2, 2, N_IMAGES)
    truth = read_ground_truth(tmp_path / 'val.json')
    weights = resample_weights(N_IMAGES, 40, seed=0)
    by_run = {run.folder: evaluate(Pairs(truth, read_predictions(
        tmp_path / 'study' / run.predictions_of(run.variant), truth).predictions), .5, weights) for run in runs}
    values = [by_run[run.folder].values['AP50'] for run in runs]
    assert mean_and_range(first, 'AP50') == pytest.approx((np.mean(values[::2]), min(values[::2]), max(values[::2])))
    difference, (low, high) = compare_with(first, second, 'AP50')
    assert difference == pytest.approx(np.mean(values[1::2]) - np.mean(values[::2]))
    assert low <= difference <= high
    # With one seed, the interval is that of tools/evaluate.py --compare.
    for row in measured.rows:
        del row.scores[1]
    expected = compare(by_run[runs[1].folder], by_run[runs[0].folder])['AP50']
    assert compare_with(first, second, 'AP50') == (
        pytest.approx(expected['difference']), pytest.approx(expected['interval']))


def test_an_unfinished_study_has_a_table(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0, 1])
    measured = measure(runs, variants, tmp_path / 'study', .5, 10)
    assert not measured.files
    assert study_tables(measured.rows, 2, measured.n_images, .5)[0].rows[0][:4] == ['one', '0/2', '-', '-']
    write_dump(tmp_path / 'study' / runs[0].predictions_of(variants[0]), range(1, N_IMAGES + 1), rng)
    measured = measure(runs, variants, tmp_path / 'study', .5, 10)
    values, changes = study_tables(measured.rows, 2, measured.n_images, .5)
    one, two = values.rows
    assert changes.rows == [['two', 'model.depth: 50 → 18']]
    assert (one[1], two[1], two[2], two[7], one[7]) == ('1/2', '0/2', '-', '-', '-')
    assert float(one[2]) > 0
    assert [file.name for file in measured.files] == ['one']


def test_folds_are_measured_together_as_the_gathered_dump_is(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0], n_folds=3)
    for run in runs:
        write_dump(tmp_path / 'study' / run.predictions_of(run.variant), [1 + (run.fold - 1) % 3,
                   4 + (run.fold - 1) % 3], rng, run.fold % 2)
    measured = measure(runs, variants, tmp_path / 'study', .5, 30)
    truth = read_ground_truth(tmp_path / 'trainval.json')
    for row, run in zip(measured.rows, runs, strict=False):
        gathered = out_of_fold_path(tmp_path / 'study' / run.predictions_of(run.variant))
        assert gathered.parent.name == 'seed0_out_of_fold'
        expected = evaluate(Pairs(truth, read_predictions(gathered, truth).predictions), .5,
                            resample_weights(N_IMAGES, 30, seed=0))
        np.testing.assert_equal(dict(row.scores[0].values), expected.values)
        np.testing.assert_equal(dict(row.scores[0].resampled), expected.resampled)
        mean, low, high = mean_and_range(row, 'AP50')
        assert (mean, len(row.scores[0].folds)) == (expected.values['AP50'], 3)
        # Two folds have all cells, one misses a cell per image.
        assert low < mean < high
    assert [file.path for file in measured.files] == [
        str(out_of_fold_path(tmp_path / 'study' / run.predictions_of(run.variant))) for run in runs[:2]]


def test_missing_folds_leave_their_images_out_of_all_rows(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0], n_folds=3)
    for run in runs[:3]:  # fold 0 of both, fold 1 of the first
        write_dump(tmp_path / 'study' / run.predictions_of(run.variant), [1 + (run.fold - 1) % 3,
                   4 + (run.fold - 1) % 3], rng)
    measured = measure(runs, variants, tmp_path / 'study', .5, 30)
    assert [row.n_runs for row in measured.rows] == [2, 1]
    assert [file.pairs.truth.image_ids for file in measured.files] == [[3, 6]] * 2
    assert compare_with(*measured.rows, 'AP50') is not None
    assert not list((tmp_path / 'study').glob('*/*_out_of_fold'))


def test_records_are_complete_and_not_rounded(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0])
    for run in runs:
        write_dump(tmp_path / 'study' / run.predictions_of(run.variant), range(1, N_IMAGES + 1), rng, 1)
    rows = measure(runs, variants, tmp_path / 'study', .5, 30).rows
    first, second = to_records(rows, 1)
    assert second['changes'] == ['model.depth (50 there, 18 here)']
    assert second['AP_difference'] == rows[1].scores[0].values['AP'] - rows[0].scores[0].values['AP']
    assert np.isnan(first['AP_difference'])
    assert first['step_seconds'] is first['n_trainable'] is None


def test_data_that_cannot_be_measured_are_refused_before_any_training(experiments, tmp_path):
    variants = make_variants(experiments)
    refuse_unfit_data(variants, None)
    refuse_unfit_data(variants, 3)
    with pytest.raises(StudyError, match='--folds 5: .*trainval.json has 3 folds'):
        refuse_unfit_data(variants, 5)
    write_annotations(tmp_path / 'other.json', [1, 2])
    other = Experiment(experiments[1].config, (f'val_dataloader.dataset.ann_file={tmp_path}/other.json',))
    with pytest.raises(StudyError, match='validated on different images'):
        refuse_unfit_data(make_variants([experiments[0], other]), None)
    without = Experiment(experiments[0].config, ('val_dataloader=None',), 'without')
    with pytest.raises(StudyError, match='without has no val_dataloader'):
        refuse_unfit_data(make_variants([without]), None)
    (tmp_path / 'val.json').unlink()
    with pytest.raises(FileNotFoundError, match='val.json'):
        refuse_unfit_data(variants, None)


def test_a_seed_with_fewer_folds_than_another_is_left_out(experiments, tmp_path, rng):
    variants = make_variants(experiments)
    runs = plan_runs(variants, [0, 1], n_folds=3)
    for run in runs[:8]:  # all folds of seed 0, and one fold of seed 1
        write_dump(tmp_path / 'study' / run.predictions_of(run.variant), [1 + (run.fold - 1) % 3,
                   4 + (run.fold - 1) % 3], rng)
    measured = measure(runs, variants, tmp_path / 'study', .5, 30)
    assert [(sorted(row.scores), row.n_runs) for row in measured.rows] == [([0], 4)] * 2
    assert measured.n_images == N_IMAGES
