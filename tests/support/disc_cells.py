"""An annotation file with three discs, and masks of its images in several notations."""

import numpy as np
import pycocotools.mask
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.masks.rle import encode_label_map

SIZE = (30, 40)
CELLS = encode_label_map(discs(SIZE, [(1, 10, 10, 4), (2, 20, 25, 5), (3, 10, 32, 3)]))
EMPTY = {'size': list(SIZE),
         'counts': pycocotools.mask.encode(np.zeros(SIZE, np.uint8, order='F'))['counts'].decode()}
# A rectangle, 4 px wide and 3 px high, as a bitmap, as run lengths down the columns, and as a compressed RLE.
RECTANGLE = np.zeros(SIZE, np.uint8, order='F')
RECTANGLE[5:8, 10:14] = 1
RECTANGLE_RUNS = [10 * 30 + 5, 3, 27, 3, 27, 3, 27, 3, 1200 - 14 * 30 + 30 - 8]
RECTANGLE_RLE = {'size': list(SIZE), 'counts': pycocotools.mask.encode(RECTANGLE)['counts'].decode()}


def ground_truth():
    """Returns a document with two images and three classes; the three cells, of two classes, are in the first image."""
    annotations = [dict(id=i, image_id=3, category_id=i % 2 + 1, iscrowd=0, segmentation=rle, area=int(area),
                        bbox=bbox.tolist())
                   for i, (rle, area, bbox) in enumerate(
                       zip(CELLS.rles, CELLS.areas_px, CELLS.bboxes_xywh, strict=True), start=1)]
    images = [dict(id=image_id, file_name=f'train/{image_id}/image.tif', height=30, width=40) for image_id in (3, 8)]
    return dict(images=images, categories=categories(['a', 'b', 'c']), annotations=annotations)
