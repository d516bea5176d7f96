"""The doctor says which images have another scale, or none."""

from types import SimpleNamespace

import numpy as np
import pytest

from mmcell.inspection.findings import Place
from mmcell.inspection.scales import find_scales


def make_set(name, *mpps):
    return SimpleNamespace(name=name, images=[None] * len(mpps), truth=SimpleNamespace(mpps=list(mpps)),
                           place=lambda image, detail='': Place(name, f'{image}.tif', detail=detail))


@pytest.mark.parametrize('mpps', [[.25, .25, .26], [None, None]])
def test_one_scale_or_none_at_all_is_no_finding(mpps):
    assert find_scales([make_set('train', *mpps)]) == []


def test_other_scales_are_named_the_farthest_first():
    finding, = find_scales([make_set('train', .25, .25, .5), make_set('val', None, .1, .25)])
    assert (finding.kind, finding.level) == ('mixed-scales', 'warning')
    assert 'from 0.1 to 0.5 um per pixel' in finding.sentence and '2 of 6 another scale' in finding.sentence
    assert "type='ResizeToScale', mpp=0.25" in finding.advice
    assert [(place.source, place.file_name, place.detail) for place in finding.places] == [
        ('val', '1.tif', '0.1 um per pixel'), ('train', '2.tif', '0.5 um per pixel')]


def test_images_without_a_scale_are_a_note():
    finding, = find_scales([make_set('train', .25, None, .25)])
    assert (finding.kind, finding.level) == ('unknown-scales', 'note') and '1 of 3 images' in finding.sentence
    assert [place.file_name for place in finding.places] == ['1.tif']


def test_scales_that_differ_only_from_one_another_are_named():
    finding, = find_scales([make_set('train', .25, .23, .25, .27, .25)])
    assert finding.kind == 'mixed-scales' and '2 of 5 differ by 10% or more from one another' in finding.sentence
    assert 'most have about 0.25' in finding.sentence
    assert {place.file_name for place in finding.places} == {'1.tif', '3.tif'}


@pytest.mark.parametrize('seed', range(20))
def test_a_finding_about_scales_always_names_images(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        mpps = (.25 * np.exp(rng.normal(0, rng.choice([.01, .04, .3]), rng.integers(1, 12)))).tolist()
        for finding in find_scales([make_set('train', *mpps)]):
            assert finding.places


def test_nearly_equal_scales_are_one_scale():
    finding, = find_scales([make_set('train', .5, .2501, .2502, .5, .2503, .2504)])
    assert [place.file_name for place in finding.places] == ['0.tif', '3.tif']
    assert 'most have about 0.25' in finding.sentence and '2 of 6 another scale' in finding.sentence
