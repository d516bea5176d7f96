"""Overlays read true cells as all other commands do, and only over images that fit them."""

import sys

import numpy as np
import overlay
import pytest
import torch
from mmengine.fileio import dump
from support.coco_files import HEIGHT, WIDTH, coco_document, write_coco

from mmcell.annotations.coco_json import read_annotations
from mmcell.images.image_file import read_image
from mmcell.masks.rle import encode_label_map


def draw(folder, document, monkeypatch, capsys):
    """Runs the command on a dump with one detection; returns exit status, error output and the pictures."""
    label_map = np.zeros((HEIGHT, WIDTH), int)
    label_map[10:20, 12:22] = 1
    path = write_coco(folder, document)
    dump([dict(img_id=5, img_path=str(folder / 'a.tif'), pred_instances=dict(
        bboxes=torch.tensor([[12., 10, 22, 20]]), scores=torch.ones(1), labels=torch.zeros(1, dtype=int),
        masks=encode_label_map(label_map).rles))], folder / 'r.pkl')
    monkeypatch.setattr(sys, 'argv', ['overlay.py', str(folder / 'r.pkl'), '--annotations', str(path), '--out',
                                      str(folder / 'out'), '--scale', '1'])
    status = overlay.main()
    return status, capsys.readouterr().err, [read_image(path) for path in folder.glob('out/*')]


def test_polygons_are_drawn_like_rles(tmp_path, monkeypatch, capsys):
    document = coco_document()
    as_rles = read_annotations(write_coco(tmp_path, document))
    fewer_cells = {**document, 'annotations': document['annotations'][:3]}
    polygons, rles, fewer = (draw(tmp_path, part, monkeypatch, capsys)[2][0]
                             for part in (document, as_rles, fewer_cells))
    assert np.array_equal(polygons, rles) and not np.array_equal(polygons, fewer)


@pytest.mark.parametrize('change, message', [
    (lambda d: d['images'][0].update(height=HEIGHT + 2),
     'the mask size is not the size of the image: [40, 60] in place of [42, 60]'),
    (lambda d: d['images'][0].update(id=6) or [a.update(image_id=6) for a in d['annotations']], 'unknown image_id 5'),
    (lambda d: d['annotations'][0].update(segmentation=[[1e300] * 6]), 'coordinates that no image has'),
    (lambda d: d['annotations'][0].update(iscrowd=1), '--drop-crowds'),
])
def test_files_that_do_not_fit_are_refused_before_anything_is_drawn(tmp_path, monkeypatch, capsys, change, message):
    document = coco_document()
    change(document)
    status, errors, pictures = draw(tmp_path, document, monkeypatch, capsys)
    assert (status, pictures) == (1, []) and 'error: ' in errors and message in errors and 'Traceback' not in errors
