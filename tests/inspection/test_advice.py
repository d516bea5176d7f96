"""All advice together."""

import pytest
from mmengine.config import Config
from support.configs import load
from support.planted_cells import inspected, without_cells

from mmcell.inspection.advice import AdviceError, advise, merge_settings
from mmcell.inspection.advice_places import find_pipelines, with_settings
from mmcell.inspection.advice_record import Advice, as_options


def test_a_config_that_fits_gets_only_reasons(clean):
    config = load('cell/mask-rcnn_r50')
    given = advise([clean], Config(with_settings(config.to_dict(), merge_settings(advise([clean], config)))))
    assert [advice.kind for advice in given if advice.settings] == []
    assert {advice.kind for advice in given} == {
        'classes', 'input-scale', 'crop', 'anchors', 'detections', 'proposals', 'tiles', 'masks', 'sampling'}
    assert all(advice.sentence for advice in given)


@pytest.mark.parametrize('name', ['cell/cascade-mask-rcnn_r50', 'cell/mask-rcnn_r50_rare-paste', 'voc/yolact_r50'])
def test_models_of_all_kinds_get_advice_that_can_be_taken_over(name, clean):
    config = load(name)
    given = advise([clean], config)
    fitted = with_settings(config.to_dict(), merge_settings(given))
    assert [advice.kind for advice in given][:3] == ['classes', 'input-scale', 'crop']
    again = advise([clean], Config(fitted))
    assert [advice.kind for advice in again if advice.settings and advice.kind != 'sampling'] == []


def test_the_config_stays_as_it_was(clean):
    config, same = load('cell/mask-rcnn_r50_tv-v1'), load('cell/mask-rcnn_r50_tv-v1')
    assert merge_settings(advise([clean], config))
    assert config.to_dict() == same.to_dict()


def test_later_advice_takes_earlier_advice_as_given(clean):
    config = load('cell/mask-rcnn_r50')
    small = with_settings(config.to_dict(), {
        key: [*pipeline[:-1], dict(type='Resize', scale_factor=.2, keep_ratio=True), pipeline[-1]]
        for key, pipeline in find_pipelines(config.to_dict()).items()})
    given = {advice.kind: advice for advice in advise([clean], Config(small))}
    assert given['input-scale'].settings
    # At the new scale, cells are 24 px large, and the anchors of 16 and 32 px reach nearly all of them.
    assert float(given['anchors'].table[1][2].rstrip('%')) > 90


def test_validation_cells_decide_only_on_limits(scenes, clean):
    crowded = inspected(scenes[:2], name='val')
    few = inspected([without_cells(scene, range(6, 25)) for scene in scenes], name='train')
    detections = {advice.kind: advice for advice in advise([few, crowded], load('cell/mask-rcnn_r50'))}['detections']
    assert 'the most crowded image has 24 cells' in detections.sentence
    config = load('cell/mask-rcnn_r50')
    assert [advice.sentence for advice in advise([few], config) if advice.kind == 'anchors'] == [
        advice.sentence for advice in advise([few, crowded], config) if advice.kind == 'anchors']


def test_without_cells_there_is_no_advice(scenes):
    with pytest.raises(AdviceError, match='without cells'):
        advise([inspected([without_cells(scenes[0], range(1, 25))])], load('cell/mask-rcnn_r50'))


def test_later_values_replace_earlier_ones():
    assert merge_settings([Advice('a', '', {'x': 1, 'y': 1}), Advice('b', '', {'x': 2})]) == {'x': 2, 'y': 1}


def test_short_settings_can_be_typed():
    assert as_options({'a.b': 3, 'c': [1.0, 2.0]}) == '--cfg-options a.b=3 c="[1.0, 2.0]"'
    assert as_options({'a': [dict(type='Resize')]}) == as_options({}) == ''
