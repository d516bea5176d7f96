import numpy as np
from support.synthetic_data import discs

from mmcell.masks.rle import encode_label_map
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import LEGEND_HEIGHT_PX, add_legend, draw_instances, join_side_by_side

GREY = np.full((30, 40, 3), 100, np.uint8)


def test_outlines_follow_the_cell_and_the_rest_is_untouched():
    label_map = discs((30, 40), [(1, 12, 14, 6)])
    drawn = draw_instances(GREY, encode_label_map(label_map).rles, [(255, 0, 0)], fill=0)
    changed = (drawn != GREY).any(axis=2)
    assert changed.any()
    assert not changed[label_map == 0].any()
    assert (drawn[changed] == [255, 0, 0]).all()
    # Only the boundary pixels change; the middle of the cell stays as it was.
    assert not changed[12, 14] and changed[12, 8] and changed[12, 20]


def test_fill_tints_and_scale_enlarges():
    label_map = discs((30, 40), [(1, 12, 14, 6)])
    drawn = draw_instances(GREY, encode_label_map(label_map).rles, [(200, 100, 0)], scale=3, fill=.5)
    assert drawn.shape == (90, 120, 3)
    assert drawn[3 * 12 + 1, 3 * 14 + 1].tolist() == [150, 100, 50]


def test_without_cells_the_image_stays_as_it_is():
    empty = {'size': [30, 40], 'counts': [1200]}
    np.testing.assert_array_equal(draw_instances(GREY, [], []), GREY)
    np.testing.assert_array_equal(draw_instances(GREY, [empty], [(255, 0, 0)]), GREY)


def test_pictures_are_framed_and_joined():
    framed = add_legend(GREY, 'true: 3 cells', ['one', 'two'], class_colors(2))
    assert framed.shape[0] == 30 + LEGEND_HEIGHT_PX and framed.shape[1] > 40
    np.testing.assert_array_equal(framed[LEGEND_HEIGHT_PX:, :40], GREY)
    assert join_side_by_side([framed, framed]).shape[1] == 2 * framed.shape[1] + 8
    assert join_side_by_side([framed]).shape == framed.shape


def test_seven_classes_have_seven_colours():
    assert len(set(class_colors(7))) == 7
    assert class_colors(8)[7] == class_colors(8)[0]
