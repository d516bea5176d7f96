"""The two sides of a fold of an annotation file."""

import pytest

from mmcell.annotations.coco_json import AnnotationError
from mmcell.annotations.folds import part_of_fold


def document(*folds):
    """Four images at most, with the given folds, and two cells per image."""
    images = [dict(id=number, **({} if fold == 'none' else dict(fold=fold))) for number, fold in enumerate(folds, 1)]
    return dict(info='kept', images=images, categories=[], annotations=[
        dict(id=2 * image['id'] + i, image_id=image['id']) for image in images for i in range(2)])


def image_ids(part):
    assert [annotation['image_id'] for annotation in part['annotations']] == [
        image['id'] for image in part['images'] for _ in range(2)]
    return [image['id'] for image in part['images']]


@pytest.mark.parametrize('fold, held_out, expected', [
    (0, True, [1, 4]), (0, False, [2, 3]), (1, True, [2]), (1, False, [1, 3, 4]), (None, True, [1, 2, 3, 4])])
def test_a_side_of_a_fold(fold, held_out, expected):
    part = part_of_fold(document(0, 1, 2, 0), 'trainval.json', fold, held_out)
    assert image_ids(part) == expected and part['info'] == 'kept'


@pytest.mark.parametrize('folds, message', [
    ((0, 1, 1, 0), 'f.json: has images of the folds 0, 1, so that fold 2 cannot be held out'),
    ((2, 2), 'f.json: has images of the folds 2, so that fold 2 cannot be held out'),
    ((0, 'none', 1), '1 of 3 images have no fold: make the file with data_prep/to_coco.py … --folds N'),
    ((), '0 of 0 images have no fold'),
    ((0, '1'), "image 2 has fold '1': make the file"), ((0, True), 'image 2 has fold True'),
    ((0, -1), 'image 2 has fold -1'), ((0, 1.), 'image 2 has fold 1.0')])
@pytest.mark.parametrize('held_out', [True, False])
def test_a_fold_that_cannot_be_held_out(folds, message, held_out):
    with pytest.raises(AnnotationError, match=message):
        part_of_fold(document(*folds), 'f.json', 2, held_out)
