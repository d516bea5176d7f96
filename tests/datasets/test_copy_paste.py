"""Cells of chosen classes are pasted where they cover little of other cells. Each cell has its own colour here."""

import numpy as np
import pytest
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import BaseDataset
from scipy.stats import chisquare
from support.synthetic_data import discs

from mmcell.datasets import CellCopyPaste
from mmcell.datasets.canvas import Canvas, cut_patch
from mmcell.framework.randomness import SeededIndex
from mmcell.masks.label_map_masks import LabelMapMasks

BELOW = [discs((60, 90), [(2, 10, 10, 9), (5, 10, 28, 9), (9, 50, 80, 14), (12, 2, 60, 5), (40, 40, 40, 6)]),
         discs((60, 90), [(1, 14, 14, 8), (3, 40, 60, 6)])]
# The disc 7 touches the border of the source.
ABOVE = [discs((70, 80), [(101, 20, 20, 6), (102, 45, 30, 9), (103, 50, 60, 4), (7, 2, 50, 6), (104, 30, 40, 3)])]


def painted_sample(layers, labels, channel, kind='label maps'):
    """A sample whose image has the ids of its layers in its channels, from a channel on."""
    masks = LabelMapMasks.from_label_maps(layers)
    image = np.zeros((*layers[0].shape, 3), np.uint8)
    image[..., channel:channel + len(layers)] = np.stack(layers, axis=-1)
    boxes = masks.get_bboxes()
    if kind == 'bitmaps':
        masks = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    return dict(img=image, img_shape=image.shape[:2], gt_masks=masks, gt_bboxes=boxes, gt_bboxes_labels=labels,
                gt_ignore_flags=np.zeros(len(labels), bool))


def mixed_sample(kind='label maps'):
    # Ids in rising order: 2, 5, 9, 12, 40 in the first layer and 1, 3 in the second; 7, 101, 102, 103, 104 are pasted.
    return dict(painted_sample(BELOW, np.array([2, 5, 9, 12, 40, 1, 3]), 0, kind),
                mix_results=[painted_sample(ABOVE, np.array([7, 101, 102, 103, 104]), 2, kind)])


def assert_true_to_the_pixels(results):
    """Each cell covers exactly the pixels of its colour, and its box is tight; returns the areas by label."""
    image, bitmaps = results['img'], results['gt_masks'].to_ndarray() > 0
    labels = results['gt_bboxes_labels'].tolist()
    assert image.dtype == np.uint8 and len(labels) == len(set(labels)) == len(bitmaps) == len(results['gt_bboxes'])
    for label, bitmap, box in zip(labels, bitmaps, results['gt_bboxes'].tensor.tolist(), strict=True):
        channel = 2 if label > 100 or label == 7 else int(label in (1, 3))
        np.testing.assert_array_equal(bitmap, image[..., channel] == label)
        y, x = np.nonzero(bitmap)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    # Nothing of a cell that is not listed is in the image.
    assert {*np.unique(image).tolist()} == {0, *labels}
    return dict(zip(labels, bitmaps.sum(axis=(1, 2)).tolist(), strict=True))


@pytest.mark.parametrize('kind', ['label maps', 'bitmaps'])
@pytest.mark.parametrize('max_covered', [0., .1, .3])
@pytest.mark.parametrize('places', [0, 1, 10])
def test_masks_and_boxes_stay_true_to_the_pixels_and_no_cell_loses_more_than_the_bound(kind, max_covered, places):
    before = assert_true_to_the_pixels(mixed_sample(kind))
    whole = assert_true_to_the_pixels(mixed_sample(kind)['mix_results'][0])
    transform = CellCopyPaste(selected=False, max_covered=max_covered, places=places)
    n_pasted, lost = 0, []
    for seed in range(1 if places == 0 else 15):
        np.random.seed(seed)
        results = transform(mixed_sample(kind))
        assert type(results['gt_masks']) is (LabelMapMasks if kind == 'label maps' else BitmapMasks)
        areas = assert_true_to_the_pixels(results)
        pasted = [label for label in areas if label > 100]
        # The cell at the border of the source is not pasted, and no cell of the image is dropped.
        assert 7 not in areas and list(areas)[:len(before)] == list(before)
        lost += [1 - areas[label] / area for label, area in {**before, **{p: whole[p] for p in pasted}}.items()]
        n_pasted += len(pasted)
    assert max(lost) <= max_covered
    assert n_pasted > 0 and (max_covered == 0 or places == 0 or max(lost) > .02)


def test_more_places_find_room_for_more_cells():
    n_pasted = {}
    for places in (1, 20):
        transform = CellCopyPaste(selected=False, max_covered=0., places=places)
        for seed in range(10):
            np.random.seed(seed)
            n_pasted[places] = n_pasted.get(places, 0) + len(transform(mixed_sample())['gt_masks']) - 7
    assert n_pasted[1] < 30 and n_pasted[20] == 40


def square(size, y, x, side):
    bitmap = np.zeros(size, np.int32)
    bitmap[y:y + side, x:x + side] = 1
    return bitmap


def patch_of(side, value=9, edge_px=0.):
    return cut_patch(np.full((20, 20, 3), value, np.uint8), np.ones((side, side), bool), 8, 8, edge_px)


@pytest.mark.parametrize('max_covered, expected', [(.09, [False, False]), (.1, [False, True]), (.25, [True, False]),
                                                   (.349, [True, False]), (.35, [True, True])])
def test_a_cell_is_refused_if_all_pasted_cells_together_cover_too_much(max_covered, expected):
    # A cell of 10 x 10 px. The first cell would cover 25 px of it, the second 10 px.
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8), LabelMapMasks.from_label_maps([square((40, 40), 10, 10, 10)]),
                    max_covered)
    outcomes = [canvas.paste(patch_of(5), 10, 10), canvas.paste(patch_of(10), 19, 10)]
    assert outcomes == expected
    assert canvas.masks.areas.tolist() == [100 - 25 * expected[0] - 10 * expected[1], *[25] * expected[0],
                                           *[100] * expected[1]]


def test_cells_are_pasted_whole_or_not_at_all():
    image = np.zeros((12, 12, 3), np.uint8)
    empty = LabelMapMasks.from_label_maps([np.zeros((12, 12), np.int32)])
    canvas = Canvas(image, empty, .5)
    assert [canvas.paste(patch_of(5), *place) for place in ((-1, 0), (0, -1), (8, 0), (0, 8))] == [False] * 4
    assert canvas.image is image and len(canvas.masks) == 0
    assert canvas.paste(patch_of(5), 7, 7) and not image.any()
    np.testing.assert_array_equal(canvas.image[..., 0] == 9, square((12, 12), 7, 7, 5))
    # The pasted cell is protected as the others are.
    assert canvas.paste(patch_of(4), 5, 5) and not canvas.paste(patch_of(4), 6, 6)


def test_soft_edges_blend_the_images_and_leave_the_masks_hard():
    results = {}
    for edge_px in (0., 1.5):
        canvas = Canvas(np.full((40, 40, 3), 100, np.uint8), LabelMapMasks.from_label_maps([square((40, 40), 0, 0, 9)]),
                        .2)
        assert canvas.paste(patch_of(10, 200, edge_px), 20 - int(np.ceil(3 * edge_px)), 20 - int(np.ceil(3 * edge_px)))
        results[edge_px] = canvas
    hard, soft = results[0.], results[1.5]
    np.testing.assert_array_equal(hard.masks.to_ndarray(), soft.masks.to_ndarray())
    np.testing.assert_array_equal(hard.image[..., 0] == 200, square((40, 40), 20, 20, 10))
    line = soft.image[25, 10:30, 1].astype(int)
    # From left to right: the image, the edge, on which both have half of the weight, and the middle of the cell.
    assert (np.diff(line[:15]) >= 0).all() and line[0] == 100 and line[5] == 100
    assert 130 < line[9] < 150 < line[10] < 170 and line[14] > 198
    # A patch at the border of its source and of the image is cut off there.
    corner = cut_patch(np.full((20, 20, 3), 200, np.uint8), np.ones((4, 4), bool), 1, 0, 1.5)
    assert corner.place == (0, 0) and soft.paste(corner, 36, 35) and soft.masks.areas.tolist() == [81, 100, 16]


def test_turned_and_mirrored_cells_take_their_pixels_along():
    layers = [discs((40, 50), [(101, 12, 14, 5)])]
    layers[0][12:16, 14:30] = 101
    source = painted_sample(layers, np.array([101]), 2)
    source['img'][..., 0] = np.arange(50)
    shapes = set()
    for seed in range(60):
        np.random.seed(seed)
        blank = dict(painted_sample([np.zeros((40, 50), np.int32)], np.zeros(0, int), 0), mix_results=[source])
        results = CellCopyPaste(selected=False, max_covered=.2, places=1)(blank)
        (bitmap,) = results['gt_masks'].to_ndarray() > 0
        np.testing.assert_array_equal(bitmap, results['img'][..., 2] == 101)
        assert sorted(results['img'][..., 0][bitmap]) == sorted(source['img'][..., 0][layers[0] == 101])
        y, x = np.nonzero(bitmap)
        shapes.add(bitmap[y.min():y.max() + 1, x.min():x.max() + 1].tobytes())
    assert len(shapes) == 8


def test_ignored_cells_and_other_classes_are_not_pasted():
    sample = mixed_sample()
    sample['mix_results'][0]['gt_ignore_flags'][1] = True
    results = CellCopyPaste(selected=False, max_covered=1., classes=[101, 103, 7])(sample)
    assert results['gt_bboxes_labels'].tolist()[-2:] == [3, 103]
    without_bound = CellCopyPaste(selected=False, min_visible=0., classes=[101, 7])(mixed_sample())
    assert without_bound['gt_bboxes_labels'].tolist()[-2:] == [7, 101]


@pytest.mark.parametrize('places', [0, 5])
def test_the_number_of_pasted_cells_is_drawn_as_in_the_stock_transform(places):
    transform = CellCopyPaste(max_num_pasted=3, max_covered=1., places=places)
    n_pasted = set()
    for seed in range(40):
        np.random.seed(seed)
        n_pasted.add(len(transform(mixed_sample())['gt_masks']) - 7)
    assert n_pasted == {0, 1, 2}


class Images(BaseDataset):
    """Three classes in four images: cells of the class a are in two images, of the class c in one."""

    METAINFO = dict(classes=('a', 'b', 'c'))

    def load_data_list(self):
        return [dict(instances=[dict(bbox_label=label) for label in labels])
                for labels in ([0, 0, 0, 1], [1, 1], [0, 2, 2], [])]


@pytest.mark.parametrize('classes, expected', [(['a'], [.75, 0, .25, 0]), (['c', 'a'], [.375, 0, .625, 0]),
                                               ([1], [1 / 3, 2 / 3, 0, 0]), (['c'], [0, 0, 1, 0])])
def test_each_class_is_equally_frequent_among_the_sources(classes, expected):
    transform, images = CellCopyPaste(classes=classes), Images()
    np.random.seed(0)
    drawn = np.bincount([transform.get_indexes(images) for _ in range(3000)], minlength=4)
    expected = np.array(expected)
    assert (drawn[expected == 0] == 0).all()
    assert (expected == 1).any() or chisquare(drawn[expected > 0], 3000 * expected[expected > 0]).pvalue > .001


def test_classes_that_the_data_do_not_have_are_named():
    for classes, images, message in (
            (['a', 'macrophage'], Images(), r"has the classes \['a', 'b', 'c'\], but not \['macrophage'\]"),
            ([3], Images(), r'but not \[3\]'),
            (['a', 'c'], Images(indices=[1]), r"no cell of the classes \['a', 'c'\]")):
        transform = CellCopyPaste(classes=classes)
        with pytest.raises(ValueError, match=message):
            transform.get_indexes(images)
    with pytest.raises(ValueError, match='are names, which only a data set knows'):
        CellCopyPaste(classes=['a'])(mixed_sample())


@pytest.mark.parametrize('arguments, message', [
    (dict(max_covered=1.1), 'max_covered must be between 0 and 1, got 1.1'), (dict(places=3), 'need max_covered'),
    (dict(edge_px=1.), 'need max_covered'), (dict(max_covered=.1, places=-1), 'must be at least 0'),
    (dict(classes=[]), 'at least one class'), (dict(classes='class3'), "at least one class, got 'class3'")])
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CellCopyPaste(**arguments)


def test_in_a_data_set_the_sample_depends_only_on_its_seed(annotation_file):
    loading = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]
    paste = dict(type='CellCopyPaste', classes=['small'], max_covered=.3, places=30, selected=False, edge_px=1.)
    dataset = DATASETS.build(dict(type='mmdet.CellMixDataset', _scope_='mmdet', pipeline=[paste], dataset=dict(
        type='CellDataset', ann_file=str(annotation_file), pipeline=loading)))
    assert repr(TRANSFORMS.build(dict(paste, _scope_='mmdet'))).endswith('max_covered=0.3, places=30, edge_px=1.0)')
    boxes = set()
    for seed in range(6):
        # The only small cell is in image 0.
        first, again = (dataset[SeededIndex(1, seed)] for _ in range(2))
        assert first['gt_bboxes_labels'].tolist() == [0, 1]
        assert type(first['gt_bboxes']) is HorizontalBoxes
        np.testing.assert_array_equal(first['img'], again['img'])
        np.testing.assert_array_equal(first['gt_masks'].to_ndarray(), again['gt_masks'].to_ndarray())
        boxes.add(tuple(first['gt_bboxes'].tensor[1].tolist()))
    assert len(boxes) > 3
