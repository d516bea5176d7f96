"""Defects that are planted in one image of a clean set are found there, and a clean set gives no alarm."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.planted_cells import Scene, inspected, make_scene, without_cells

from mmcell.inspection.copies import find_copies
from mmcell.inspection.defects import find_defects
from mmcell.inspection.merged_cells import find_merged_cells
from mmcell.inspection.missing_labels import exceeds_usual, find_missing_labels
from mmcell.inspection.outliers import find_outliers, robust_z
from mmcell.inspection.red_and_blue import find_swapped_colors
from mmcell.inspection.shifted_masks import describe_shift, find_shifted_masks
from mmcell.inspection.swapped_classes import find_swapped_classes

PLACE = 3


def plant(scenes, scene):
    return inspected([*scenes[:PLACE], scene, *scenes[PLACE + 1:]])


def alarms(findings):
    return [finding for finding in findings if finding.level != 'note']


def only_alarm(findings):
    finding, = alarms(findings)
    return finding


def test_a_clean_set_gives_no_alarm(clean):
    findings = find_defects([clean])
    assert findings and not alarms(findings)
    assert 'summary' in {finding.kind for finding in findings}


def test_a_set_without_cells_and_an_empty_set_give_no_alarm(scenes):
    empty = replace(scenes[0], label_map=np.zeros_like(scenes[0].label_map), classes=np.zeros(0, np.int64))
    assert not alarms(find_defects([inspected([empty], 'test')]))
    assert not alarms(find_defects([inspected([], 'test')]))


@pytest.mark.parametrize('shift', [(5, 0), (0, -5), (-4, 3)])
def test_masks_that_are_shifted_are_found_with_the_way_back(scenes, shift):
    scene = scenes[PLACE]
    moved = np.roll(scene.label_map, shift, axis=(0, 1))
    finding = only_alarm(find_shifted_masks([plant(scenes, replace(scene, label_map=moved))]))
    assert finding.kind == 'shifted-masks' and finding.level == 'error'
    assert [place.file_name for place in finding.places] == ['train/3.tif']
    assert describe_shift((-shift[0], -shift[1])) in finding.places[0].detail


def test_masks_of_a_whole_set_that_are_shifted_are_found(scenes):
    finding = only_alarm(find_shifted_masks([inspected([replace(scene, label_map=np.roll(scene.label_map, 4, axis=1))
                                                        for scene in scenes])]))
    assert finding.kind == 'shifted-masks' and '4 px to the left' in finding.sentence


def test_masks_of_the_only_image_that_are_shifted_are_found(scenes):
    moved = np.roll(scenes[0].label_map, 5, axis=0)
    finding = only_alarm(find_shifted_masks([inspected([replace(scenes[0], label_map=moved)])]))
    assert finding.level == 'error' and '5 px up' in finding.places[0].detail


def test_masks_that_are_mirrored_are_found(scenes):
    scene = scenes[PLACE]
    findings = find_shifted_masks([plant(scenes, replace(scene, label_map=scene.label_map[:, ::-1].copy()))])
    finding = only_alarm(findings)
    assert finding.kind == 'turned-masks' and 'mirrored left to right' in finding.places[0].detail


def test_masks_of_another_image_are_found(scenes):
    other = make_scene(99)
    scene = replace(scenes[PLACE], label_map=other.label_map, classes=other.classes)
    finding = only_alarm(find_shifted_masks([plant(scenes, scene)]))
    assert finding.kind in ('masks-of-another-image', 'shifted-masks')
    assert [place.file_name for place in finding.places] == ['train/3.tif']


def test_classes_that_are_swapped_in_one_image_are_found(scenes):
    scene = scenes[PLACE]
    finding = only_alarm(find_swapped_classes([plant(scenes, replace(scene, classes=1 - scene.classes))]))
    assert finding.kind == 'swapped-classes' and [place.file_name for place in finding.places] == ['train/3.tif']
    assert '12 cells of large look like small' in finding.places[0].detail


@pytest.mark.parametrize('with_bridge', [False, True])
def test_two_cells_under_one_id_are_found(scenes, with_bridge):
    scene = scenes[PLACE]
    label_map, classes = scene.label_map.copy(), scene.classes
    centers = np.array([np.argwhere(label_map == number).mean(axis=0) for number in range(1, 25, 2)])
    distances = np.linalg.norm(centers[:, None] - centers, axis=-1) + 1e6 * np.eye(12)
    pair = np.sort(np.unravel_index(distances.argmin(), distances.shape))
    first, second = (2 * pair + 1).tolist()
    if with_bridge:
        ends = centers[pair][:, ::-1].round().astype(int).tolist()
        bridge = cv2.line(np.zeros(label_map.shape, np.uint8), *ends, 1, 3) > 0
        label_map[bridge & (label_map == 0)] = first
    label_map[label_map == second] = first
    finding = only_alarm(find_merged_cells([plant(scenes, Scene(scene.image, label_map, classes))]))
    place, = finding.places
    assert (finding.kind, place.file_name, place.class_name) == ('merged-cells', 'train/3.tif', 'large')
    assert place.cell_id == first + sum(len(other.classes) for other in scenes[:PLACE])
    assert ('neck' if with_bridge else '2 pieces') in place.detail


def test_two_cells_that_touch_broadly_are_the_first_of_a_note(scenes):
    scene = scenes[PLACE]
    first = np.argwhere(scene.label_map == 1)
    label_map = scene.label_map.copy()
    beside = first + np.array([0, np.ptp(first[:, 1])])
    beside = beside[beside[:, 1] < label_map.shape[1]]
    label_map[tuple(beside[label_map[tuple(beside.T)] == 0].T)] = 1
    findings = find_merged_cells([plant(scenes, Scene(scene.image, label_map, scene.classes))])
    assert [finding.kind for finding in findings] == ['cells-like-two']
    assert findings[0].places[0].cell_id == 1 + sum(len(other.classes) for other in scenes[:PLACE])


def test_cells_in_pieces_that_are_usual_are_a_note(scenes):
    merged = [replace(scene, label_map=np.where(scene.label_map == 3, 1, scene.label_map)) for scene in scenes]
    assert [(finding.kind, finding.level) for finding in find_merged_cells([inspected(merged)])] == [
        ('cells-in-pieces', 'note')]


def test_cells_without_a_label_are_found(scenes):
    removed = [1, 4, 6, 9, 12]
    centers = [np.argwhere(scenes[PLACE].label_map == number).mean(axis=0) for number in removed]
    finding = only_alarm(find_missing_labels([plant(scenes, without_cells(scenes[PLACE], removed))]))
    assert finding.kind == 'missing-labels' and [place.file_name for place in finding.places] == ['train/3.tif']
    listed = finding.places[0].detail.split('(x, y) = ')[1].removesuffix(' px').split('), ')
    found = np.array([[float(value) for value in text.strip('()').split(', ')][::-1] for text in listed])
    nearest = np.linalg.norm(found[:, None] - np.array(centers), axis=-1).min(axis=1)
    assert len(found) >= 3 and nearest.max() < 4


def test_an_unusual_share_is_one_that_others_do_not_have():
    n_all = np.full(20, 50)
    assert not exceeds_usual(np.zeros(20, int), n_all).any()
    assert exceeds_usual(np.array([5, *[0] * 19]), n_all).tolist() == [True] + [False] * 19
    assert not exceeds_usual(np.array([5, *[4] * 19]), n_all).any()


def test_red_and_blue_are_found_swapped_in_one_image_and_in_all(scenes):
    scene = scenes[PLACE]
    finding = only_alarm(find_swapped_colors([plant(scenes, replace(scene, image=scene.image[:, :, ::-1].copy()))]))
    assert finding.kind == 'mixed-channel-orders' and [place.file_name for place in finding.places] == ['train/3.tif']
    swapped = inspected([replace(scene, image=scene.image[:, :, ::-1].copy()) for scene in scenes])
    finding = only_alarm(find_swapped_colors([swapped]))
    assert (finding.kind, finding.level) == ('bgr', 'error') and '--channel-order bgr' in finding.advice


def change_image(scene, kind):
    """Returns a copy of the image of a scene, without cells."""
    image = scene.image
    if kind == 'compressed':
        image = cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1)
    elif kind == 'turned':
        image = np.rot90(image)
    elif kind == 'mirrored':
        image = image[:, ::-1]
    elif kind == 'darker':
        image = (image * .8).astype(np.uint8)
    elif kind == 'cropped':
        image = image[23:, 31:]
    image = np.ascontiguousarray(image)
    return Scene(image, np.zeros(image.shape[:2], np.int32), np.zeros(0, np.int64))


@pytest.mark.parametrize('kind', ['equal', 'compressed', 'turned', 'mirrored', 'darker', 'cropped'])
def test_copies_of_an_image_in_another_split_are_errors(scenes, clean, kind):
    finding = only_alarm(find_copies([clean, inspected([make_scene(50), change_image(scenes[PLACE], kind)], 'val')]))
    assert (finding.kind, finding.level) == ('copies-in-two-splits', 'error')
    place, = finding.places
    assert place.file_name == 'train/3.tif' and 'val/1.tif in val' in place.detail


def test_copies_in_one_set_are_warnings(scenes):
    finding = only_alarm(find_copies([inspected([*scenes, change_image(scenes[PLACE], 'compressed')])]))
    assert (finding.kind, finding.level) == ('copies', 'warning')


def test_empty_images_are_no_copies():
    empty = Scene(np.full((60, 80, 3), 240, np.uint8), np.zeros((60, 80), np.int32), np.zeros(0, np.int64))
    assert find_copies([inspected([empty]), inspected([empty], 'val')]) == []


def test_parts_of_one_slide_in_two_splits_are_a_note(scenes):
    def name(part, names):
        return replace(part, truth=replace(part.truth, file_names=[f'train/{name}/image.tif' for name in names]))
    train = name(inspected(scenes[:4]), ['TCGA-5P_1', 'TCGA-5P_2', 'a', 'b'])
    val = name(inspected([make_scene(31), make_scene(32)], 'val'), ['TCGA-5P_3', 'c'])
    finding, = find_copies([train, val])
    assert (finding.kind, finding.level, len(finding.places)) == ('groups-in-two-splits', 'note', 3)
    assert '--group-by' in finding.advice
    numbered = name(inspected(scenes[:4]), ['train_1', 'train_2', 'train_3', 'train_4'])
    assert find_copies([numbered, name(val, ['train_5', 'train_6'])]) == []


def test_a_file_in_two_splits_is_an_error_unless_one_contains_others_by_design(clean):
    def rename(part, name):
        return replace(part, name=name, truth=replace(part.truth, source=f'/nowhere/{name}.json'))
    some = np.arange(8) < 5
    train, val = (replace(clean, name=name, images=[clean.images[place] for place in np.flatnonzero(flags)],
                          truth=replace(clean.truth.of_images(flags), source=f'/nowhere/{name}.json'))
                  for name, flags in (('train', some), ('val', ~some)))
    assert find_copies([train, val, rename(clean, 'trainval')]) == []
    assert find_copies([train, val, rename(clean, 'everything')]) == []
    finding = only_alarm(find_copies([rename(clean, 'train'), val]))
    assert (finding.kind, len(finding.places)) == ('same-image-in-two-splits', 3)


def test_images_that_show_nothing_are_found_if_they_have_cells(scenes):
    white = replace(scenes[PLACE], image=np.full_like(scenes[PLACE].image, 244))
    finding = only_alarm(find_outliers([plant(scenes, white)]))
    assert finding.kind == 'empty-images-with-cells'
    assert [place.file_name for place in finding.places] == ['train/3.tif']


def test_blurred_and_differently_stained_images_are_notes(scenes):
    many = [*scenes, make_scene(20), make_scene(21)]
    many[4] = replace(many[4], image=cv2.GaussianBlur(many[4].image, (0, 0), 3))
    many[5] = replace(many[5], image=(many[5].image * [.9, .5, .6]).astype(np.uint8))
    findings = {finding.kind: finding for finding in find_outliers([inspected(many)])}
    assert findings['blurred-images'].places[0].file_name == 'train/4.tif'
    assert findings['stain-outliers'].places[0].file_name == 'train/5.tif'
    assert not alarms(findings.values())


def test_robust_z_is_that_of_a_normal_distribution():
    values = np.random.default_rng(0).normal(5, 2, (4001, 1))
    assert robust_z(values, np.array([.1])).std() == pytest.approx(1, abs=.05)
    assert robust_z(np.array([[1.], [1.], [2.]]), np.array([.5])).ravel().tolist() == [0, 0, 2]


def test_pairs_that_were_not_searched_for_overlaps_are_counted(scenes, monkeypatch):
    monkeypatch.setattr('mmcell.inspection.copies.MAX_OVERLAP_PAIRS', 16)
    train, val = inspected(scenes), inspected([make_scene(50), change_image(scenes[PLACE], 'cropped')], 'val')
    findings = {finding.kind: finding for finding in find_copies([train, val])}
    assert len(findings['copies-in-two-splits'].places) == 1
    assert findings['overlaps-not-searched'].sentence.startswith('29 pairs')
