"""Images and checkpoints for tests of tools/predict.py, and what is read of its outputs."""

import csv

import cv2
import numpy as np
import tifffile
import torch
from mmengine.config import Config
from support.commands import CONFIG
from support.paths import REPO

from mmcell.tiles.tiling import make_grid
from mmcell.writers.formats import CALL_TABLES

THREE_CELLS = [(0, 5, 5, 4, 255), (1, 20, 10, 6, 204), (2, 0, 30, 8, 230)]


def write_image(path, *squares, shape=(30, 40), scale=1, dtype=np.uint8, **options):
    """Writes a black image with one square for each (channel, y, x, side, value); returns its path."""
    image = np.zeros((*shape, 3), dtype)
    for channel, y, x, side, value in squares:
        image[y:y + side, x:x + side, channel] = value * scale
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.png':
        cv2.imwrite(str(path), image[:, :, ::-1])
    else:
        tifffile.imwrite(path, image, photometric='rgb', **options)
    return path


def names_in(folder):
    """Returns the names of all files and folders in a folder, except the records and the tables over all images."""
    return sorted(path.name for path in folder.iterdir()
                  if not (path.name[0] == '.' and path.suffix == '.json') and path.name not in CALL_TABLES)


def rows_of(path):
    return list(csv.DictReader(path.open(encoding='utf-8', newline='')))


TILES = ['--tile', 64, '--overlap', 20]
ON_SEAMS = [(1, 40, 26, 12, 255), (2, 20, 58, 12, 255), (0, 40, 70, 12, 255), (0, 5, 90, 12, 255)]
N_TILES = len(make_grid(64, 140, 64, 20))


def save_demo_checkpoint(path):
    """Saves the model of the demo before training, which predicts cells in any image; returns the path."""
    from mmdet.registry import MODELS
    config = Config.fromfile(REPO / CONFIG)
    config.model.test_cfg.rcnn.update(score_thr=0., max_per_img=20)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=tuple('abcd'), channel_order='bgr'))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path
