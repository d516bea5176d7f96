"""Tiny PASCAL VOC from COCO annotation files."""

from itertools import zip_longest

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS

from mmcell.annotations.coco_json import AnnotationError
from mmcell.annotations.voc import CLASS_NAMES
from mmcell.datasets.cell_dataset import CellDataset


@DATASETS.register_module()
class TinyVOCDataset(CellDataset):
    """``CellDataset`` for PASCAL VOC's 20 classes: Tiny PASCAL VOC's own JSON, or that of ``data_prep/voc_to_coco.py``.

    The categories must be VOC's, numbered 1 to 20 in VOC's order: labels follow the order of the file, and results
    carry its numbers.

    Args: as :class:`CellDataset`. The JSON of the course does not say where its images lie: set
    ``data_prefix=dict(img='train_images')``. Where ``metainfo`` names other classes, these are expected.

    Raises:
        AnnotationError: the file's categories are others; and as :class:`CellDataset`.
    """

    METAINFO = {'classes': CLASS_NAMES, 'palette': VOCDataset.METAINFO['palette']}

    def _adopt_classes(self, categories: list[dict]) -> None:
        expected = list(enumerate(self._metainfo['classes'], start=1))
        found = [(category['id'], category['name']) for category in categories]
        wrong = [pair for pair in zip_longest(found, expected) if pair[0] != pair[1]]
        if wrong:
            places = '; '.join(f'{_describe(got)} in place of {_describe(wanted)}' for got, wanted in wrong)
            raise AnnotationError(f'{self.ann_file}: {len(wrong)} of its categories are not those expected, numbered '
                                  f'from 1 in the order of PASCAL VOC: {places}. Reorder or rename them in the file, '
                                  'and the category_id of the annotations with them')
        super()._adopt_classes(categories)


def _describe(category: tuple[int, str] | None) -> str:
    return 'none' if category is None else f'{category[0]} {category[1]}'
