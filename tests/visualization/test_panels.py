import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.errors import MmcellError
from mmcell.masks.rle import encode_label_map
from mmcell.visualization.cell_panels import VERDICTS, CellSet, draw_cell_sets
from mmcell.visualization.colors import class_colors
from mmcell.visualization.panels import BACKGROUND, GAP_PX, LegendEntry, Panel, lay_out, write_in_places

VOC = ['aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'table', 'dog', 'horse',
       'motorbike', 'person', 'plant', 'sheep', 'sofa', 'train', 'tv']


def picture(width, height=30, value=100):
    return np.full((height, width, 3), value, np.uint8)


def entries(names):
    return [LegendEntry(name, color) for name, color in zip(names, class_colors(len(names)), strict=True)]


def test_texts_at_the_border_are_not_cut():
    def columns_with_text(*place_xy):
        picture = write_in_places(np.full((60, 90, 3), 128, np.uint8), ['123'], np.array([place_xy], float), 11)
        return (picture != 128).any(2)

    n_px = columns_with_text(45, 30).sum()
    for place_xy in ((0, 30), (89, 30), (45, 0), (45, 59), (1, 1)):
        assert columns_with_text(*place_xy).sum() == n_px


def colors_in(image):
    return set(map(tuple, image.reshape(-1, 3).tolist()))


@pytest.mark.parametrize('width', [1, 50, 400, 2500])
def test_every_class_is_in_the_legend_and_no_picture_is_cut(width):
    sheet = lay_out([Panel('true', picture(width)), Panel('predicted', picture(width, value=200))], entries(VOC))
    assert set(class_colors(20)) <= colors_in(sheet)
    np.testing.assert_array_equal(sheet[-30:, :width], picture(width))
    second = sheet.shape[1] // 2 + GAP_PX // 2
    np.testing.assert_array_equal(sheet[-30:, second:second + width], picture(width, value=200))


def strip_heights(width, names):
    return lay_out([Panel('true', picture(width))], entries(names)).shape[0] - 30


def test_legends_are_broken_into_lines_and_grow_with_the_picture():
    assert strip_heights(300, VOC) > strip_heights(1200, VOC) > strip_heights(1200, VOC[:3])
    assert strip_heights(5000, VOC[:3]) > 3 * strip_heights(1200, VOC[:3])


@pytest.mark.parametrize('name', ['x' * 5000, 'two\nlines\tand tabs', 'Zellkern größer µ Ядро', '\udcff', '', '細胞'])
def test_names_of_any_kind_are_drawn_within_the_picture(name):
    sheet = lay_out([Panel(name, picture(300))], entries([name, 'b']))
    assert sheet.shape[1] == 300 and sheet.shape[0] < 250
    assert set(class_colors(2)) <= colors_in(sheet)


def test_rows_of_panels_of_different_sizes():
    sheet = lay_out([Panel(str(i), picture(200 + i, 20 + i, 50 * i)) for i in range(5)], [], n_columns=2)
    # The columns are as wide as their widest pictures, of which the numbers are 4 and 3.
    assert sheet.shape[1] == 204 + GAP_PX + 203
    np.testing.assert_array_equal(sheet[-24:, :204], picture(204, 24, 200))
    assert (sheet[-24:, 204:] == BACKGROUND).all()


RLES = encode_label_map(discs((60, 60), [(1, 15, 15, 9), (2, 15, 42, 9), (3, 43, 15, 9), (4, 43, 42, 9)])).rles


def test_verdicts_differ_in_colour_and_in_the_length_of_dashes():
    cells = CellSet('cells', RLES, [0] * 4, list(VERDICTS), 'spurious')
    panel = draw_cell_sets(picture(60, 60), [cells], ['a'], fill=0)[-60:, :60]
    shares = []
    for (y, x), (color, _) in zip([(15, 15), (15, 42), (43, 15), (43, 42)], VERDICTS.values(), strict=True):
        part = panel[y - 10:y + 11, x - 10:x + 11]
        assert colors_in(part) == {(100, 100, 100), color}
        shares.append((part == color).all(axis=2).sum())
    assert shares[0] == max(shares) and min(shares) > 0
    assert len({dash_px for _, dash_px in VERDICTS.values()}) == len(VERDICTS)


def test_classes_that_are_not_shown_and_masks_without_a_pixel_are_left_out():
    empty = {'size': [60, 60], 'counts': [3600]}
    both = draw_cell_sets(picture(60, 60), [CellSet('true', [*RLES[:2], empty], [0, 1, 1])], ['a', 'b'], [1])
    only = draw_cell_sets(picture(60, 60), [CellSet('true', [RLES[1]], [1])], ['a', 'b'], [1])
    np.testing.assert_array_equal(both, only)
    assert class_colors(2)[1] in colors_in(only) and class_colors(2)[0] not in colors_in(only)


def test_cells_of_another_image_are_refused():
    with pytest.raises(MmcellError, match=r'\[60, 60\].*\[30, 60\]'):
        draw_cell_sets(picture(60, 30), [CellSet('true', RLES, [0] * 4)], ['a'])
