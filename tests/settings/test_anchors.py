import pytest

from mmcell.settings.anchors import AnchorSettingError, refuse_number_of_anchors


@pytest.mark.parametrize('settings', [dict(scales=2), dict(scales=[2], ratios=1.)])
def test_a_number_of_scales_or_ratios_is_refused(settings):
    def config(generator):
        return dict(model=dict(heads=[dict(anchor_generator=dict(type='mmdet.AnchorGenerator', **generator))]))
    with pytest.raises(AnchorSettingError, match=r'model\.heads\.0\.anchor_generator\.\w+ is the number .*write \['):
        refuse_number_of_anchors(config(settings))
    refuse_number_of_anchors(config({key: [1.] for key in settings}))
