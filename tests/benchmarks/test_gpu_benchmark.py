"""The GPU benchmark on the CPU: the settings that fit into the time are measured, the others are listed."""

import json
from unittest import mock

import pytest
from gpu import main, spread


def run(tmp_path, *options):
    path = tmp_path / 'numbers.json'
    with mock.patch('sys.argv', ['gpu.py', '--device', 'cpu', '--tiny', '--out', str(path), *options]):
        main()
    return json.loads(path.read_text())


def test_what_does_not_fit_into_the_time_is_listed(tmp_path):
    report = run(tmp_path, '--minutes', '0')
    assert report['parts'] is None and report['training'] == report['prediction'] == report['loading'] == []
    assert len(report['left_out']) == 2 + 4 + 1 + 1
    assert report['environment']['cores'] > 0


@pytest.mark.slow
def test_everything_is_measured_in_a_tiny_size(tmp_path):
    report = run(tmp_path, '--minutes', '5')
    assert report['left_out'] == []
    assert {(row['precision'], row['channels_last']) for row in report['training']} == {
        (precision, is_last) for precision in ('float32', 'bfloat16') for is_last in (True, False)}
    assert all(row['seconds_per_step']['min'] > 0 for row in report['training'])
    prediction, = report['prediction']
    assert prediction['cells'] > 0 and prediction['megapixels'] == pytest.approx(2 * 128**2 / 1e6)
    assert {'backbone', 'backward: backbone', 'mask targets', 'optimizer'} <= report['parts'].keys()
    assert report['loading'][0]['images_per_second'] > 0


def test_numbers_have_a_median_and_a_range():
    assert spread([3., 1., 2., 9.]) == dict(median=2.5, min=1., max=9., n=4)
