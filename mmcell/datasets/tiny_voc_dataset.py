"""Tiny PASCAL VOC from COCO annotation files."""

from itertools import zip_longest

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS

from mmcell.annotations.coco_json import AnnotationError
from mmcell.annotations.voc import CLASS_NAMES
from mmcell.datasets.cell_dataset import CellDataset


@DATASETS.register_module()
class TinyVOCDataset(CellDataset):
    """``CellDataset`` for PASCAL VOC's 20 classes.

    It reads Tiny PASCAL VOC's own JSON file and the files of ``data_prep/voc_to_coco.py``. The file must have
    VOC's categories, numbered 1 to 20 in VOC's order, because labels follow the order of the categories in the file,
    and files with results contain their numbers.

    Args:
        args, kwargs: The arguments of :class:`CellDataset`. Tiny PASCAL VOC's own JSON file does not say where its
            images lie: set ``data_prefix=dict(img='train_images')``. If ``metainfo`` names other classes, the file
            must have these classes instead.

    Raises:
        AnnotationError: The categories of the file are not the expected ones, or a check of :class:`CellDataset` fails.
        FileNotFoundError: The annotation file or an image does not exist.
    """

    METAINFO = {'classes': CLASS_NAMES, 'palette': VOCDataset.METAINFO['palette']}

    def _adopt_classes(self, categories: list[dict]) -> None:
        expected = list(enumerate(self._metainfo['classes'], start=1))
        in_file = [(category['id'], category['name']) for category in categories]
        wrong = [pair for pair in zip_longest(in_file, expected) if pair[0] != pair[1]]
        if wrong:
            differences = '; '.join(f'{_describe(actual)} in place of {_describe(wanted)}' for actual, wanted in wrong)
            raise AnnotationError(f'{self.ann_file}: {len(wrong)} of its categories are not the expected ones, which '
                                  f'are numbered from 1 in the order of PASCAL VOC: {differences}. Reorder or rename '
                                  'the categories in the file, and change the category_id of the annotations to match')
        super()._adopt_classes(categories)


def _describe(category: tuple[int, str] | None) -> str:
    return 'none' if category is None else f'{category[0]} {category[1]}'
