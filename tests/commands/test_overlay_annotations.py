"""Overlays read true cells as all other commands do, and only over images that fit them."""

import argparse

import cv2
import numpy as np
import overlay
import pytest
import torch
from support.coco_files import HEIGHT, WIDTH, coco_document, write_coco

from mmcell.annotations.coco_json import AnnotationError, read_annotations


def draw(folder, document, img_id=5):
    path = write_coco(folder, document)
    masks = np.zeros((1, HEIGHT, WIDTH), bool)
    masks[0, 10:20, 12:22] = True
    result = dict(img_id=img_id, img_path=str(folder / 'a.tif'), ori_shape=(HEIGHT, WIDTH), pred_instances=dict(
        bboxes=torch.tensor([[12., 10, 22, 20]]), scores=torch.ones(1), labels=torch.zeros(1, dtype=int), masks=masks))
    args = argparse.Namespace(results='r.pkl', annotations=str(path), out=folder, classes=None, score_thr=.5, scale=1)
    document = read_annotations(path)
    names = {category['id']: category['name'] for category in document['categories']}
    return overlay.draw_all([result], document, names, args)


def test_polygons_are_drawn_beside_the_prediction(tmp_path):
    paths = draw(tmp_path, coco_document())
    without = coco_document()
    without['annotations'] = []
    with_truth = cv2.imread(str(paths[0]))
    only_prediction = cv2.imread(str(draw(tmp_path, without)[0]))
    assert with_truth.shape[1] > 1.9 * WIDTH > 0 and with_truth.shape[1] > only_prediction.shape[1]


@pytest.mark.parametrize('change, img_id, error, message', [
    (lambda d: d['images'][0].update(height=HEIGHT + 2), 5, AnnotationError, 'another size'),
    (lambda d: None, 6, ValueError, 'image id 6'),
])
def test_images_that_do_not_fit_are_refused_before_anything_is_drawn(tmp_path, change, img_id, error, message):
    document = coco_document()
    change(document)
    with pytest.raises(error, match=message):
        draw(tmp_path, document, img_id)
    assert not list(tmp_path.glob('*.png'))
