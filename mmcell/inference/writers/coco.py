"""COCO JSON."""

import os
from collections.abc import Iterator

from mmcell.coco_json import categories
from mmcell.inference.cells import Cells
from mmcell.inference.writers.json_lists import JsonListWriter


class CocoWriter(JsonListWriter):
    """A COCO annotation file of one image, NAME_coco.json: RLE, box, area and score of each cell.

    The conventions of ``data_prep/to_coco.py``: ids from 1, category = class number, boxes around the pixels, and
    info.data_root, so that ``CellDataset`` reads the predictions as annotations.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_coco.json."""
        return [f'{name}_coco.json']

    def members(self) -> dict:
        """Image and categories."""
        path = self.image.path.resolve()
        return {'info': {'data_root': os.path.relpath(path.parent, self.paths[0].parent.resolve())},
                'images': [{'id': 1, 'file_name': path.name,
                            'height': self.image.height_px, 'width': self.image.width_px}],
                'categories': categories(self.image.class_names),
                'annotations': []}

    def records(self, cells: Cells, first_number: int) -> Iterator[dict]:
        """One annotation a cell, its number as id."""
        bboxes_xywh = cells.bboxes_xyxy.copy()
        bboxes_xywh[:, 2:] -= bboxes_xywh[:, :2]
        rows = zip(cells.rles, cells.labels.tolist(), cells.scores.tolist(), cells.areas_px.tolist(),
                   bboxes_xywh.tolist(), strict=True)
        for number, (rle, label, score, area, bbox) in enumerate(rows, start=first_number):
            yield {'id': number, 'image_id': 1, 'category_id': label + 1, 'bbox': bbox, 'area': area,
                   'segmentation': rle, 'iscrowd': 0, 'score': score}
