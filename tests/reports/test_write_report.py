"""The page of a study, and what functions of the room answer that the command does not show."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.html_pages import Page
from support.report_files import predictions, write_json, write_run, write_truth

from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.evaluation.average_precision import RECALLS, precision_curves
from mmcell.evaluation.bootstrap import resample_weights
from mmcell.evaluation.evaluation import EvaluatedFile, evaluate
from mmcell.evaluation.pairs import Pairs
from mmcell.evaluation.table_formats import ValueTable
from mmcell.predictions.result_files import read_predictions
from mmcell.reports.curve_sections import Run
from mmcell.reports.mistake_sections import confusion_section, reliability_section
from mmcell.reports.report import write_report
from mmcell.reports.run_configs import read_base
from mmcell.reports.value_sections import precision_section, size_section
from mmcell.settings.data_sets import find_validation_file


@pytest.fixture
def measured(tmp_path):
    """Two results files with their values."""
    write_truth(tmp_path)
    truth = read_ground_truth(tmp_path / 'val.json')
    weights = resample_weights(3, 20, seed=0)
    files = []
    for seed, name in enumerate(('old', 'new')):
        write_json(tmp_path / f'{name}.json', predictions(1 + seed, seed))
        file = read_predictions(tmp_path / f'{name}.json', truth)
        pairs = Pairs(truth, file.predictions)
        files.append(EvaluatedFile(str(tmp_path / f'{name}.json'), name, pairs, file.sources, [],
                                   evaluate(pairs, .3, weights)))
    return files


def test_the_page_of_a_study(measured, tmp_path):
    for variant in ('old', 'new'):
        for seed in (0, 1):
            write_run(tmp_path / variant / f'seed{seed}', losses=(3., 2.), scores=(.2, .3 + seed / 10),
                      config=f'model = dict(depth={len(variant)})\n')
    table = ValueTable(['', 'AP50', 'changes'], [('old', '0.350 *', ''), ('new', '-', '<depth>: 18 → 50')], 'study',
                       'Intervals are paired.')
    missing = write_report(
        tmp_path / 'page.html', 'Depth', 'python tools/study.py', tables=[table], question='Does depth matter?',
        files=measured, runs=[Run(name, (tmp_path / name / 'seed0', tmp_path / name / 'seed1'))
                              for name in ('old', 'new')])
    page = Page((tmp_path / 'page.html').read_text(encoding='utf-8'))
    assert missing == [] and next(iter(page.sections)) == 'study' and 'Does depth matter?' in page.sections['study']
    assert page.tables['study'] == [[list(row) for row in (table.headers, *table.rows)]]
    assert 'Intervals are paired.' in page.sections['study']
    assert {'comparison', 'curves', 'gallery', 'headline'} <= page.sections.keys()
    assert sum(attributes.get('class') == 'band' for tag, attributes in page.tags if tag == 'path') == 2 * 4
    assert page.rows('origin')['command'] == ['python tools/study.py']


def test_a_failed_report_leaves_the_old_one(measured, tmp_path):
    (tmp_path / 'page.html').write_text('old')
    with pytest.raises(ValueError, match='no training has logged a loss'):
        write_report(tmp_path / 'page.html', 't', 'c', files=measured, runs=[Run('x', (tmp_path / 'nowhere',))])
    assert (tmp_path / 'page.html').read_text() == 'old'


def test_the_mean_of_a_precision_curve_is_the_average_precision(measured):
    evaluation = measured[0].evaluation
    curves = precision_curves(evaluation.mask_matches, measured[0].pairs.truth)
    for name, curve in curves.items():
        assert curve.shape == (10, len(RECALLS))
        for value, thresholds in (('AP50', slice(0, 1)), ('AP75', slice(5, 6)), ('AP', slice(None))):
            expected = evaluation.values[f'{value}/{name}']
            assert curve[thresholds].mean() == pytest.approx(expected, nan_ok=True), (value, name)
    assert np.isnan(curves['absent']).all() and 0 < curves['round'][0].mean() < 1


def test_precision_curves_have_the_names_of_their_classes(measured):
    # Classes are matched in the order of their ids, which need not be that of the file.
    truth = measured[0].pairs.truth
    turned = replace(truth, class_ids=truth.class_ids[::-1], class_names=truth.class_names[::-1],
                     class_index=2 - truth.class_index)
    predicted = measured[0].pairs.predictions
    predicted = replace(predicted, class_index=2 - predicted.class_index)
    evaluation = evaluate(Pairs(turned, predicted), .3, np.zeros((0, 3)))
    curves = precision_curves(evaluation.mask_matches, turned)
    before = precision_curves(measured[0].evaluation.mask_matches, truth)
    for name, curve in curves.items():
        np.testing.assert_array_equal(curve, before[name])


def test_series_hold_the_measured_values(measured):
    charts = precision_section(measured).charts
    assert len(charts) == 2  # no curve for the class without cells
    assert [series.name for series in charts[0].series] == [
        f'{file.name} (AP50 {file.evaluation.values["AP50/round"]:.3f})' for file in measured]
    reliability = reliability_section(measured[:1]).charts[0].series[1]
    bins = measured[0].evaluation.errors['reliability']['bins']
    assert list(reliability.y) == [row['precision'] for row in bins] and len(reliability.y) > 3


def test_cells_by_size_count_every_cell_once(measured):
    counted, found = size_section(measured[:1], (16, 32)).charts[0].series
    errors = measured[0].evaluation.errors['error_kinds']
    assert sum(counted.y) == errors['n_true'] == 24 and sum(found.y) == errors['n_correct'] > 0
    assert all(part <= whole for part, whole in zip(found.y, counted.y, strict=True))


def test_tints_of_confusions_are_shares_of_true_cells(measured):
    table = confusion_section(measured[:1]).tables[0]
    for row, shares in zip(table.content.rows[:2], table.shares[:2], strict=True):
        total = sum(map(int, row[1:]))
        assert [round(share * total) for share in shares[1:]] == list(map(int, row[1:])) and total > 0
        assert math.fsum(shares[1:]) == pytest.approx(1)
    assert set(table.shares[-1]) == {None}


@pytest.mark.parametrize('settings, path', [
    ({}, None), ({'val_dataloader': None}, None), ({'val_dataloader': {'dataset': {'ann_file': ''}}}, None),
    ({'val_dataloader': {'dataset': {'ann_file': 'val.json'}}}, 'val.json'),
    ({'val_dataloader': {'dataset': {'type': 'RepeatDataset', 'dataset': {'data_root': 'a', 'ann_file': 'v.json'}}}},
     'a/v.json')])
def test_the_validation_file_of_a_config(settings, path):
    found = find_validation_file(settings)
    assert (None if found is None else str(found)) == path


@pytest.mark.parametrize('source, names', [
    ('model = 1\n', None), ("_base_ = []\n", None), ("_base_ = ['a.py', 'b.py']\n", 'a.py, b.py'),
    ("_base_ = name_of_base()\n", None), ('not python (', None)])
def test_the_base_of_a_config(tmp_path, source, names):
    (tmp_path / 'a.py').write_text('x = dict(p=1)\n')
    (tmp_path / 'b.py').write_text('y = dict(q=2)\n')
    (tmp_path / 'c.py').write_text(source)
    base = read_base(tmp_path / 'c.py')
    assert base == (None if names is None else (names, {'x': {'p': 1}, 'y': {'q': 2}}))
