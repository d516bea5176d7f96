"""The data set of cells that are described by a COCO annotation file."""

import logging
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.logging import print_log

from mmcell.annotations.coco_json import AnnotationError, check_image_files, read_annotations
from mmcell.framework.randomness import SeededIndex, own_randomness
from mmcell.images.pixels import CHANNEL_ORDERS
from mmcell.visualization.colors import class_colors


@DATASETS.register_module()
class CellDataset(CocoDataset):
    """MMDetection's ``CocoDataset`` for the files of ``data_prep/to_coco.py`` or any COCO file, which it also checks.

    Class names come from the annotation file. If ``metainfo`` names classes, they must be the same names in the same
    order: the stock class takes the order of the file whatever ``classes`` says, and silently drops every
    annotation whose class name is spelt differently.

    Images are looked for under ``data_root`` and ``data_prefix['img']`` if either is given. Otherwise the entry
    ``info.data_root`` of the annotation file, which the converter writes, names their folder relative to the folder of
    the annotation file.

    ``metainfo`` receives classes, palette, ann_file and channel_order, so that metrics and checkpoints know them.

    Args:
        ann_file: The path of a COCO JSON file. Its category and annotation ids are positive.
        channel_order: 'rgb', or 'bgr' if the image files are tagged RGB but hold blue first. :class:`LoadTiff` reads
            the images accordingly.
        data_prefix: The folder of the images as {'img': folder}, under ``data_root`` if that is given.
        kwargs: Further arguments of ``mmdet.datasets.CocoDataset``. No image is filtered out unless ``filter_cfg``
            asks for it.

    Raises:
        AnnotationError: The file contradicts itself or ``metainfo``, has no image, or has no cell although
            ``test_mode`` is False.
        FileNotFoundError: The annotation file or an image does not exist.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """

    METAINFO: dict = {}

    def __init__(self, *args, channel_order: str = 'rgb', data_prefix: dict | None = None, **kwargs) -> None:
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
        self.channel_order = channel_order
        super().__init__(*args, data_prefix=data_prefix or {'img': ''}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Reads the annotation file into one dict per image, as ``CocoDataset`` does, and checks it."""
        document = read_annotations(self.ann_file, masks_as_rle=False)
        self._adopt_classes(document['categories'])
        self._locate_images(document)
        annotations_by_image: dict[int, list[dict]] = {image['id']: [] for image in document['images']}
        for annotation in document['annotations']:
            annotations_by_image[annotation['image_id']].append(annotation)
        self.cat_img_map = {cat_id: [] for cat_id in self.cat_ids}
        for annotation in document['annotations']:
            self.cat_img_map[annotation['category_id']].append(annotation['image_id'])
        data_list = [
            self.parse_data_info({'raw_img_info': {**image, 'img_id': image['id']},
                                  'raw_ann_info': annotations_by_image[image['id']]})
            for image in document['images']]
        self._check_loaded(data_list)
        return data_list

    def __getitem__(self, idx: int) -> dict:
        """Returns a sample; if the index carries a seed, the augmentation depends only on that seed."""
        if not isinstance(idx, SeededIndex):
            return super().__getitem__(idx)
        with own_randomness(idx.seed):
            return super().__getitem__(int(idx))

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Returns what ``CocoDataset.parse_data_info`` returns, with the channel order added."""
        return {**super().parse_data_info(raw_data_info), 'channel_order': self.channel_order}

    def _adopt_classes(self, categories: list[dict]) -> None:
        names = tuple(category['name'] for category in categories)
        declared = self._metainfo.get('classes')
        if declared is not None and tuple(declared) != names:
            raise AnnotationError(
                f'the config names the classes {tuple(declared)}, but {self.ann_file} has {names}: use the same names '
                'in the same order, or leave classes out of metainfo')
        self._metainfo.update(classes=names, ann_file=self.ann_file, channel_order=self.channel_order)
        self._metainfo.setdefault('palette', class_colors(len(names)))
        self.cat_ids = [category['id'] for category in categories]
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}

    def _locate_images(self, document: dict) -> None:
        info = document.get('info')
        root = info.get('data_root') if isinstance(info, dict) else None
        if not self.data_root and not self.data_prefix['img'] and root:
            self.data_prefix['img'] = str(Path(self.ann_file).parent / root)
        paths = [Path(self.data_prefix['img']) / image['file_name'] for image in document['images']]
        check_image_files(document, paths, self.ann_file)

    def _check_loaded(self, data_list: list[dict]) -> None:
        flags = [instance['ignore_flag'] for data_info in data_list for instance in data_info['instances']]
        if sum(flags):
            print_log(f'{self.ann_file}: {sum(flags)} of {len(flags)} annotations are regions that are not annotated '
                      'cell by cell (iscrowd 1): training ignores them, and tools/evaluate.py refuses the file',
                      logger='current', level=logging.WARNING)
        if not data_list:
            raise AnnotationError(
                f'{self.ann_file}: has no image. To train without validation, add --cfg-options val_dataloader=None '
                'val_cfg=None val_evaluator=None')
        if sum(flags) == len(flags) and not self.test_mode:
            raise AnnotationError(f'{self.ann_file}: has {len(data_list)} images but not one cell to train on; check '
                                  'that the masks were converted')
