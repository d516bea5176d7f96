"""Numbers of each set, and cells and classes that are doubtful by their numbers."""

from dataclasses import replace

import numpy as np
from support.planted_cells import Scene, inspected

from mmcell.inspection.contents import find_content


def square(label_map, number, top, left, side):
    label_map[top:top + side, left:left + side] = number
    return label_map


def scene(label_map, classes):
    image = np.random.default_rng(0).integers(0, 256, (*label_map.shape, 3), np.uint8)
    return Scene(image, label_map, np.array(classes))


def findings_of(*sets):
    return {finding.kind: finding for finding in find_content(sets)}


def test_a_summary_counts_cells_and_how_they_lie():
    label_map = np.zeros((50, 80), np.int32)
    for number, (top, left) in enumerate([(0, 0), (20, 20), (20, 30), (40, 60)], start=1):
        square(label_map, number, top, left, 10)
    label_map[5, 50:52] = 4
    sentence = findings_of(inspected([scene(label_map, [0, 0, 1, 1])]))['summary'].sentence
    assert '1 images, 0.00 Mpx, 4 cells (large 2, small 2)' in sentence
    assert '2 cells touch another, 0 overlap another, 2 touch the border, 1 are in several pieces' in sentence


def test_a_cell_that_is_listed_twice_is_found():
    part = inspected([scene(square(np.zeros((40, 40), np.int32), 1, 10, 10, 12), [0])])
    twice = np.array([0, 0])
    truth = replace(part.truth, image_index=twice, class_index=np.array([0, 1]), rles=part.truth.rles * 2,
                    areas_px=part.truth.areas_px[twice], boxes_xywh=part.truth.boxes_xywh[twice],
                    is_crowd=part.truth.is_crowd[twice], annotation_ids=np.array([7, 9]))
    from mmcell.inspection.measuring import measure_pixels
    image = np.zeros((40, 40, 3), np.uint8)
    part = replace(part, truth=truth, images=[measure_pixels(image, truth.rles, truth.is_crowd)])
    finding = findings_of(part)['cells-listed-twice']
    assert finding.level == 'warning'
    assert (finding.places[0].cell_id, finding.places[0].detail) == (7, 'IoU 1.00 with cell 9 (small)')


def test_cells_are_tiny_below_16_px_and_giant_above_16_medians():
    label_map = np.zeros((120, 120), np.int32)
    for number in range(1, 6):
        square(label_map, number, 0, 12 * number, 6)
    square(label_map, 6, 20, 20, 25)
    square(label_map, 7, 60, 0, 4)
    square(label_map, 8, 70, 0, 3)
    found = findings_of(inspected([scene(label_map, [0] * 8)]))
    assert [place.cell_id for place in found['tiny-cells'].places] == [8]
    assert [(place.cell_id, place.detail) for place in found['giant-cells'].places] == [(6, '625 px')]


def test_a_cell_on_half_of_the_image_is_a_warning():
    label_map = np.ones((40, 40), np.int32)
    square(label_map, 2, 0, 0, 20)
    finding = findings_of(inspected([scene(label_map, [0, 0])]))['cells-on-half-of-the-image']
    assert finding.level == 'warning' and [place.cell_id for place in finding.places] == [1]


def test_classes_without_cells_are_notes():
    one = inspected([scene(square(np.zeros((40, 40), np.int32), 1, 10, 10, 12), [0])])
    assert findings_of(one)['empty-classes'].sentence == 'No cell belongs to small.'
    other = inspected([scene(square(np.zeros((40, 40), np.int32), 1, 10, 10, 12), [1])], 'val')
    found = findings_of(one, other)
    assert 'empty-classes' not in found
    missing = [finding.sentence for finding in find_content([one, other]) if finding.kind == 'class-missing-in-a-set']
    assert [sentence.split(':')[0] for sentence in missing] == [
        'large has 1 cells, but none in val', 'small has 1 cells, but none in train']
    assert '1 in train' in found['rare-class'].sentence or '1 in val' in found['rare-class'].sentence


def test_images_without_cells_and_odd_sizes_are_notes():
    empty = scene(np.zeros((20, 200), np.int32), [])
    part = inspected([scene(square(np.zeros((40, 40), np.int32), 1, 10, 10, 12), [0]), empty])
    found = findings_of(part)
    assert [place.file_name for place in found['images-without-cells'].places] == ['train/1.tif']
    assert found['odd-image-sizes'].places[0].detail == '200 x 20 px'
