import cv2
import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.images.image_file import read_image
from mmcell.masks.rle import encode_label_map
from mmcell.visualization.colors import _to_lab, class_colors, colors_on
from mmcell.visualization.overlay import draw_instances, write_png

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


@pytest.mark.parametrize('dash_px, width_px', [(3, 1), (7, 2), (14, 3)])
def test_dashes_are_a_part_of_the_outline_and_as_long_as_the_gaps(dash_px, width_px):
    square = np.zeros((60, 60), np.int32)
    square[5:55, 5:55] = 1
    rles, grey = encode_label_map(square).rles, np.full((60, 60, 3), 100, np.uint8)
    whole, dashed = ((draw_instances(grey, rles, [(255, 0, 0)], fill=0, dashes_px=[dash], width_px=width_px)
                      != grey).any(axis=2) for dash in (0, dash_px))
    assert not whole[square == 0].any() and (whole | ~dashed).all()
    assert whole[5 + width_px - 1, 30] and not whole[5 + width_px, 30]
    assert .35 < dashed.sum() / whole.sum() < .65
    changes = np.flatnonzero(np.diff(dashed[5, 10:50].astype(int)))
    assert set(np.diff(changes)) <= {dash_px - 1, dash_px, dash_px + 1}


def test_a_class_has_one_colour_whatever_the_number_of_classes():
    assert class_colors(0) == []
    for n in (1, 7, 8, 20, 90):
        assert class_colors(n) == class_colors(300)[:n]
    assert len(set(class_colors(1000))) == 1000


def test_the_colours_of_twenty_classes_can_be_told_apart_and_seen_on_tissue_and_legend():
    colors = [*class_colors(20), (225, 170, 200), (255, 255, 255), (30, 30, 30)]
    lab = cv2.cvtColor(np.array([colors], np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab, axis=2) + 1000 * np.eye(len(lab))
    # A distance of 2.3 is just noticeable (Mahy et al. 1994).
    assert distances.min() > 15


def test_the_colours_on_dark_images_are_bright_and_can_be_told_apart():
    dark, light = (np.full((40, 30, 3), value, np.uint8) for value in (20, 120))
    # For all kinds of vision: (kind, colour, lightness and two colour axes).
    seen = _to_lab(np.array(colors_on(dark, 7), np.uint8))
    distances = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1) + 1000 * np.eye(7)
    assert distances.min() > 13 and seen[0, :, 0].min() > 60
    assert colors_on(light, 7) == class_colors(7) and colors_on(dark, 8) == class_colors(8)
    assert colors_on(dark, 3) == colors_on(dark, 7)[:3]


def test_a_png_has_the_pixels_of_the_picture(tmp_path, rng):
    picture = rng.integers(0, 256, (5, 7, 3), np.uint8)
    write_png(picture, tmp_path / 'new' / 'x.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'new' / 'x.png'), picture)
