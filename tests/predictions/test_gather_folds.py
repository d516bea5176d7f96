"""Dumps of folds, joined to one dump of all images."""

import json

import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import ResultsError, load_results, save_results
from mmcell.predictions.folds import gather_folds
from mmcell.predictions.result_files import read_predictions

SIZE = (24, 30)
CELLS = encode_label_map(discs(SIZE, [(1, 6, 6, 4), (2, 14, 20, 5)]))
CLASSES = ['a', 'b']


@pytest.fixture
def annotations(tmp_path):
    """An annotation file of five images with the ids 3, 1, 4, 7 and 5 in this order, each with two cells."""
    ids = [3, 1, 4, 7, 5]
    path = tmp_path / 'trainval.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=i, file_name=f'{i}.tif', height=SIZE[0], width=SIZE[1], fold=i % 2) for i in ids],
        categories=categories(CLASSES),
        annotations=[dict(id=10 * i + k, image_id=i, category_id=k, segmentation=CELLS.rles[k - 1], iscrowd=0,
                          area=int(CELLS.areas_px[k - 1]), bbox=CELLS.bboxes_xywh[k - 1].tolist())
                     for i in ids for k in (1, 2)])))
    return path


def entry(image_id, classes=CLASSES):
    """The true cells of an image, with scores that name the image, and labels in the order of the classes."""
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return dict(img_id=image_id, ori_shape=SIZE, classes=list(classes), pred_instances=dict(
        bboxes=boxes, scores=np.array([.9, .5], np.float32) - image_id / 100, masks=CELLS.rles,
        labels=np.array([classes.index('a'), classes.index('b')])))


@pytest.fixture
def dump(tmp_path):
    """Writes a dump of the images with the given ids, and returns its path."""
    def write(name, *image_ids, **arguments):
        save_results([entry(image_id, **arguments) for image_id in image_ids], tmp_path / name)
        return tmp_path / name
    return write


def test_the_images_of_all_folds_are_in_the_order_of_the_annotation_file(annotations, dump, tmp_path):
    paths = [dump('fold1.pkl', 5, 1), dump('fold0.pkl', 4, 3), dump('fold2.pkl', 7)]
    assert gather_folds(paths, annotations, tmp_path / 'oof.pkl') == 5
    results = load_results(tmp_path / 'oof.pkl')
    assert [result['img_id'] for result in results] == [3, 1, 4, 7, 5]
    for result in results:
        expected = entry(result['img_id'])
        np.testing.assert_array_equal(result['pred_instances']['scores'], expected['pred_instances']['scores'])
        assert [mask['counts'].decode() for mask in result['pred_instances']['masks']] == [
            mask['counts'] for mask in CELLS.rles]


def test_folds_may_list_their_classes_in_different_orders(annotations, dump, tmp_path):
    paths = [dump('fold0.pkl', 1, 3, 4), dump('fold1.pkl', 5, 7, classes=['b', 'a'])]
    gather_folds(paths, annotations, tmp_path / 'oof.pkl')
    predictions = read_predictions(tmp_path / 'oof.pkl', read_ground_truth(annotations)).predictions
    assert predictions.class_index.tolist() == [0, 1] * 5
    assert predictions.image_index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize('folds, message', [
    ([(3, 1), (1, 4, 7, 5, 3)], r'2 images are predicted both in .*0.pkl and in .*1.pkl, .*: 1 \(1.tif\), 3 \(3.tif\)'),
    ([(3, 1), (4,)], r'2 of the 5 images of .*trainval.json are in none of the 2 dumps: 7 \(7.tif\), 5 \(5.tif\)'),
    ([(3, 1, 8), (4, 7, 5)], '0.pkl: 1 of 3 images are not in .*trainval.json: image ids 8'),
    ([], '5 of the 5 images')])
def test_what_is_no_prediction_by_one_model_per_fold_is_refused(annotations, dump, tmp_path, folds, message):
    paths = [dump(f'{number}.pkl', *image_ids) for number, image_ids in enumerate(folds)]
    with pytest.raises(ResultsError, match=message):
        gather_folds(paths, annotations, tmp_path / 'oof.pkl')
    assert not (tmp_path / 'oof.pkl').exists()
