"""The data sets of cells that are described by COCO annotation files."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset, MultiImageMixDataset, VOCDataset
from mmdet.registry import DATASETS
from mmengine.logging import print_log

from mmcell.annotations.coco_json import AnnotationError, check_image_files, read_annotations
from mmcell.annotations.file_sets import info_of
from mmcell.annotations.folds import part_of_fold
from mmcell.classes.matching import match_classes
from mmcell.datasets.colors import ColorError
from mmcell.datasets.decoded_images import plan_decoded_images
from mmcell.datasets.geometry import ResizeToScale
from mmcell.datasets.loading import LoadCellAnnotations, LoadTiff
from mmcell.datasets.orphans import end_with_parent
from mmcell.framework.randomness import SeededIndex, own_randomness
from mmcell.images.channel_order import count_swapped
from mmcell.images.image_file import CHANNEL_ORDERS
from mmcell.images.scale import common_mpp, refuse_implausible_mpp, to_mpp
from mmcell.layouts.voc import CLASS_NAMES
from mmcell.visualization.colors import class_colors


class _SeededSamples:
    """Mixin for a data set: if an index carries a seed, the random choices for the sample depend only on that seed."""

    def __getitem__(self, idx: int) -> dict:
        end_with_parent()
        if not isinstance(idx, SeededIndex):
            return super().__getitem__(idx)
        with own_randomness(idx.seed):
            # The seed is taken off the index. Otherwise a data set inside this one would seed its first image with it
            # again, and that image would get the same random numbers as the mix.
            return super().__getitem__(int(idx))


@DATASETS.register_module()
class CellDataset(_SeededSamples, CocoDataset):
    """MMDetection's ``CocoDataset`` for the files of ``data_prep/to_coco.py`` or any COCO file, which it also checks.

    Class names come from the annotation file. If ``metainfo`` names classes, they must be the same names, and labels
    follow their order: the stock class takes the order of the file whatever ``classes`` says, and silently drops every
    annotation whose class name is spelt differently. :meth:`order_classes` sets the order later.

    The channel order of the images comes from the entry ``info.channel_order`` of the annotation file, which the
    converter writes. If neither the file nor ``channel_order`` gives it, it is 'rgb', and a warning appears if some
    images look as if red and blue were swapped in them.

    Images are looked for under ``data_root`` and ``data_prefix['img']`` if either is given. Otherwise the entry
    ``info.data_root`` of the annotation file, which the converter writes, names their folder relative to the folder of
    the annotation file.

    ``metainfo`` receives classes, palette, ann_file, channel_order and mpp, so that metrics and checkpoints know them,
    and with a fold also fold and held_out. Its mpp is the scale in micrometres per pixel that a model is shown: that of
    :class:`ResizeToScale` in the pipeline, otherwise that of the images if all state the same; None if not known.

    Args:
        ann_file: The path of a COCO JSON file. Its category and annotation ids are positive.
        channel_order: 'rgb', or 'bgr' if the image files are tagged RGB but hold blue first. :class:`LoadTiff` reads
            the images accordingly, unless it has a ``channel_order`` of its own, which then counts. None takes the
            order that the annotation file states. A warning appears if the file states another order than the config.
        mpp: Micrometres per pixel of all images. None takes what the annotation file states for each image.
        data_prefix: The folder of the images as {'img': folder}, under ``data_root`` if that is given.
        fold: The number of a fold of the annotation file, whose images have an entry ``fold``; the data set is one side
            of it. None takes all images. The setting ``fold`` of a config sets it.
        held_out: With a fold: True takes the images of the fold, False those of all other folds.
        cache_gib: How many GiB of decoded images and cells are kept in memory at most, so that they are decoded once
            in a training. All workers share them; with several processes that train, each has its own. 0 keeps none.
            None keeps an eighth of the free memory of the machine at most, divided by the number of processes that
            train, for all data sets of the process together, and with ``test_mode`` none. Needs a pipeline that begins
            with :class:`LoadTiff`; cells are kept if :class:`LoadCellAnnotations` follows.
        kwargs: Further arguments of ``mmdet.datasets.CocoDataset``. No image is filtered out unless ``filter_cfg``
            asks for it.

    Attributes:
        decoded: The decoded images and cells that are kept; None if none are.

    Raises:
        AnnotationError: The file contradicts itself, has no image, has no such fold, or has no cell although
            ``test_mode`` is False.
        ClassesError: ``metainfo`` names other classes than the file.
        ColorError: The files are 'bgr', but the pipeline reads them with a loader that does not know this.
        FileNotFoundError: The annotation file or an image does not exist.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr', ``cache_gib`` is negative, or ``mpp`` is not
            plausible.
    """

    METAINFO: dict = {}

    def __init__(self, *args, channel_order: str | None = None, mpp: float | None = None,
                 data_prefix: dict | None = None, fold: int | None = None, held_out: bool = False,
                 cache_gib: float | None = None, **kwargs) -> None:
        if channel_order not in (None, *CHANNEL_ORDERS):
            raise ValueError(f'channel_order must be None or one of {CHANNEL_ORDERS}, got {channel_order!r}')
        if cache_gib is not None and not cache_gib >= 0:
            raise ValueError(f'cache_gib must be at least 0, got {cache_gib}')
        if mpp is not None:
            refuse_implausible_mpp(mpp)
        self.channel_order, self.mpp = channel_order, mpp
        self.fold, self.held_out = fold, held_out
        self.cache_gib, self.decoded = cache_gib, None
        super().__init__(*args, data_prefix=data_prefix or {'img': ''}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Reads the annotation file into one dict per image, as ``CocoDataset`` does, and checks it."""
        document = part_of_fold(read_annotations(self.ann_file, masks_as_rle=False), self.ann_file, self.fold,
                                self.held_out)
        self._adopt_classes(document['categories'])
        self._locate_images(document)
        self._adopt_channel_order(document)
        self._adopt_scale(document)
        annotations_by_image: dict[int, list[dict]] = {image['id']: [] for image in document['images']}
        self.cat_img_map = {cat_id: [] for cat_id in self.cat_ids}
        for annotation in document['annotations']:
            annotations_by_image[annotation['image_id']].append(annotation)
            self.cat_img_map[annotation['category_id']].append(annotation['image_id'])
        data_list = [self.parse_data_info({'raw_img_info': {**image, 'img_id': image['id']},
                                           'raw_ann_info': annotations_by_image[image['id']]})
                     for image in document['images']]
        self._check_loaded(data_list)
        return data_list

    def full_init(self) -> None:
        """Reads the annotation file, and checks that the pipeline reads the images in their channel order."""
        was_initialized = self._fully_initialized
        super().full_init()
        loaders = [type(part).__name__ for part in self.pipeline.transforms if isinstance(part, LoadImageFromFile)]
        if loaders and self.channel_order == 'bgr':
            raise ColorError(f'red and blue are swapped in the images of {self.ann_file} (channel_order bgr), which '
                             f"{loaders[0]} in the pipeline cannot swap back: write dict(type='LoadTiff') in its "
                             'place, and model = dict(data_preprocessor=dict(bgr_to_rgb=False))')
        if not was_initialized:
            self._keep_decoded()

    def _keep_decoded(self) -> None:
        """Gives decoded images and cells their places, if the first transforms load them."""
        loaders = [part for part, kind in zip(self.pipeline.transforms, (LoadTiff, LoadCellAnnotations), strict=False)
                   if isinstance(part, kind)]
        cache_gib = 0 if self.cache_gib is None and self.test_mode else self.cache_gib
        with_masks = len(loaders) == 2 and loaders[1].with_mask
        is_loaded = bool(loaders) and isinstance(loaders[0], LoadTiff)
        entries = map(self.get_data_info, range(len(self)))
        # If the classes were put into another order, the earlier places are given back first.
        for holder in (self, *loaders):
            holder.decoded = None
        self.decoded = plan_decoded_images(entries, cache_gib, with_masks) if is_loaded else None
        for loader in loaders:
            loader.decoded = self.decoded

    def order_classes(self, names: Sequence[str], source: str) -> None:
        """Makes labels follow the order of these class names; the file is read again if the order was another one.

        Args:
            names: The names of the classes, which must be those of this data set.
            source: Where the names come from, for the message.

        Raises:
            ClassesError: The data set has other classes.
        """
        self.full_init()
        own = self._metainfo['classes']
        indices = match_classes(names, own, source, self.ann_file)
        if tuple(names) == own:
            return
        print_log(f'{self.ann_file} lists its classes in another order than {source}: labels follow the names, '
                  f'{", ".join(names)}', logger='current')
        self._metainfo.update(classes=tuple(names), palette=[self._metainfo['palette'][index] for index in indices])
        self._fully_initialized = False
        self.full_init()

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Returns what ``CocoDataset.parse_data_info`` returns, with channel order and micrometres per pixel added."""
        mpp = to_mpp(raw_data_info['raw_img_info'].get('mpp')) if self.mpp is None else self.mpp
        return {**super().parse_data_info(raw_data_info), 'channel_order': self.channel_order, 'mpp': mpp}

    def _adopt_classes(self, categories: list[dict]) -> None:
        in_file = [category['name'] for category in categories]
        names = self._metainfo.get('classes', in_file)
        indices = match_classes(names, in_file, 'the config', self.ann_file)
        self._metainfo.update(classes=tuple(names), ann_file=self.ann_file)
        if self.fold is not None:
            self._metainfo.update(fold=self.fold, held_out=self.held_out)
        self._metainfo.setdefault('palette', class_colors(len(names)))
        self.cat_ids = [categories[index]['id'] for index in indices]
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}

    def _adopt_channel_order(self, document: dict) -> None:
        stated = info_of(document).get('channel_order')
        chosen = next((transform.channel_order for transform in self.pipeline.transforms
                       if isinstance(transform, LoadTiff) and transform.channel_order), self.channel_order)
        if stated is not None and chosen not in (None, stated):
            print_log(f'{self.ann_file} states that its images are {stated}, but the config says channel_order='
                      f'{chosen!r}, which is used: remove channel_order from the config, or convert the data again '
                      f'with --channel-order {chosen}', logger='current', level=logging.WARNING)
        if stated is None and chosen is None:
            n_swapped, n_right = count_swapped(self._paths(document))
            if n_swapped > n_right:
                print_log(f'{self.ann_file} does not state the channel order of its images, and red and blue look '
                          f'swapped in {n_swapped} of {n_swapped + n_right} images that tell: convert the data with '
                          "--channel-order bgr, or write channel_order='bgr' into the data set (into each of train, "
                          "val and test; channel_order='rgb' if the colours are right)", logger='current',
                          level=logging.WARNING)
        self.channel_order = chosen or stated or 'rgb'
        self._metainfo['channel_order'] = self.channel_order

    def _adopt_scale(self, document: dict) -> None:
        stated = [to_mpp(image.get('mpp')) if self.mpp is None else self.mpp for image in document['images']]
        target = next((part.mpp for part in self.pipeline.transforms if isinstance(part, ResizeToScale)), None)
        if target is None:
            target = common_mpp(stated)
        if target is None and any(stated):
            print_log(f'{self.ann_file}: {_describe_scales(stated)}. A model learns one scale best: bring all images '
                      "to it with dict(type='ResizeToScale', mpp=…) after LoadCellAnnotations",
                      logger='current', level=logging.WARNING)
        self._metainfo['mpp'] = target

    def _locate_images(self, document: dict) -> None:
        root = info_of(document).get('data_root')
        if not self.data_root and not self.data_prefix['img'] and root:
            self.data_prefix['img'] = str(Path(self.ann_file).parent / root)
        check_image_files(document, self._paths(document), self.ann_file)

    def _paths(self, document: dict) -> list[Path]:
        return [Path(self.data_prefix['img']) / image['file_name'] for image in document['images']]

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


def _describe_scales(stated: Sequence[float | None]) -> str:
    known = [mpp for mpp in stated if mpp is not None]
    unknown = f', and {len(stated) - len(known)} of {len(stated)} say none' if len(known) < len(stated) else ''
    return f'its images have from {min(known):g} to {max(known):g} um per pixel{unknown}'


@DATASETS.register_module()
class TinyVOCDataset(CellDataset):
    """``CellDataset`` for PASCAL VOC's 20 classes.

    It reads Tiny PASCAL VOC's own JSON file and the files of ``data_prep/to_coco.py``. The file must have VOC's
    classes. Labels follow VOC's order, whatever the order in the file is.

    Args:
        args, kwargs: The arguments of :class:`CellDataset`. Tiny PASCAL VOC's own JSON file does not say where its
            images lie: set ``data_prefix=dict(img='train_images')``. If ``metainfo`` names other classes, the file
            must have these classes instead.

    Raises:
        ClassesError: The classes of the file are not the expected ones.
        MmcellError: Another check of :class:`CellDataset` fails.
        FileNotFoundError: The annotation file or an image does not exist.
    """

    METAINFO = {'classes': CLASS_NAMES, 'palette': VOCDataset.METAINFO['palette']}


@DATASETS.register_module()
class CellMixDataset(_SeededSamples, MultiImageMixDataset):
    """``MultiImageMixDataset`` whose samples depend only on the seed that their index carries.

    :class:`mmcell.datasets.SeededSampler` gives the indices their seeds. Indices without a seed are handled as in the
    stock class, which chooses and augments the other images with the current state of the worker's random generators:
    a resumed training would then see other samples than a training without interruption.

    Args:
        dataset, pipeline, skip_type_keys, max_refetch, lazy_init: The arguments of ``MultiImageMixDataset``.
    """
