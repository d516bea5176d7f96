"""Tells how well the anchors of configs cover the cells, by size and class, before any training.

Printed is the part of the cells whose box has an IoU of .3, .5, .7 or more with its best anchor, and the mean of these
IoUs. MMDetection's RPN has no positive anchor for a cell below .3, unless its config says otherwise. Boxes are taken as
the model sees them, after the config's own pipeline; where that crops at random, they are a sample, the same one for
the same --seed.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from _arguments import plain_errors
from mmengine.config import Config, ConfigDict

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmdet.models.task_modules.prior_generators import AnchorGenerator
    from mmengine.dataset import BaseDataset
    from rich.table import Table

    from mmcell.boxes.anchor_recall import RecallRow

EXAMPLE = """example:
  python tools/anchor_recall.py configs/cell/mask-rcnn_r101_small-anchors.py \\
      configs/cell/mask-rcnn_r101_default-anchors.py --ann-file annotations/trainval.json
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument('--ann-file', help='annotation file to take the cells from (default: that of the config)')
    parser.add_argument('--split', choices=['train', 'val'], default='train',
                        help='the training or the validation data and pipeline (default: train)')
    parser.add_argument('--seed', type=int, default=0, help='seed of random crops (default: 0)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from rich.console import Console
    for path in args.configs:
        with plain_errors():
            table = measure(path, args.split, args.ann_file, args.seed)
        Console().print(table)


def measure(path: str, split: str, ann_file: str | None, seed: int) -> 'Table':
    """The table of one config."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from mmcell.boxes.anchor_recall import best_ious, box_sizes_px, lay_anchors, recall_rows
    cfg = Config.fromfile(path)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    generator, allowed_border = build_anchors(cfg, split)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    dataset = build_dataset(cfg, split, ann_file)
    overlaps, n_anchors = [], 0
    for item in draw_items(dataset, seed, Path(path).stem):
        batch = preprocess(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), split == 'train')
        sample, = batch['data_samples']
        anchors = lay_anchors(generator, sample.batch_input_shape, sample.img_shape, allowed_border)
        n_anchors += len(anchors)
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        overlaps.append((best_ious(anchors, boxes), box_sizes_px(boxes), labels))
    best, sizes_px, labels = map(torch.cat, zip(*overlaps, strict=True))
    rows = recall_rows(best, sizes_px, labels, class_names(dataset))
    return to_table(f'{Path(path).stem}\n{len(dataset)} images, {n_anchors / len(dataset):,.0f} anchors an image', rows)


def build_anchors(cfg: Config, split: str) -> tuple['AnchorGenerator', int]:
    """The generator of the RPN's anchors, and by how many px they may stick out of the image."""
    from mmdet.registry import TASK_UTILS
    try:
        generator = cfg.model.rpn_head.anchor_generator
        allowed_border = cfg.model.train_cfg.rpn.allowed_border
    except AttributeError as error:
        raise MmcellError(f'{cfg.filename} has no anchors of an RPN: model.rpn_head.anchor_generator and '
                          f'model.train_cfg.rpn.allowed_border are needed ({error})') from error
    # When it predicts, the RPN takes all anchors.
    return TASK_UTILS.build(generator), allowed_border if split == 'train' else -1


def build_dataset(cfg: Config, split: str, ann_file: str | None) -> 'BaseDataset':
    """The data set of a config, with cells in the validation part too."""
    from mmdet.registry import DATASETS
    if cfg.get(f'{split}_dataloader') is None:
        raise MmcellError(f'{cfg.filename} has no {split}_dataloader')
    dataset = cfg[f'{split}_dataloader'].dataset
    parts = innermost(dataset)
    if ann_file is not None:
        if len(parts) > 1:
            raise MmcellError(f'--ann-file takes the place of one annotation file, {cfg.filename} has {len(parts)}')
        parts[0].ann_file = str(Path(ann_file).resolve())
    for part in parts:
        if not any('Annotations' in step.type for step in part.pipeline):
            # Right after the image is loaded, so that whatever comes then changes the boxes, too.
            part.pipeline.insert(1, dict(type='LoadCellAnnotations', with_mask=False))
    return DATASETS.build(dataset)


def innermost(dataset: ConfigDict) -> list[ConfigDict]:
    """The data sets with files in one that may wrap or join others."""
    wrapped = [dataset.dataset] if 'dataset' in dataset else dataset.get('datasets', [])
    return [inner for part in wrapped for inner in innermost(part)] or [dataset]


def draw_items(dataset: 'BaseDataset', seed: int, what: str) -> Iterator[dict]:
    """Each sample of a data set once, augmented as the seed says."""
    from rich.console import Console
    from rich.progress import track

    from mmcell.framework.randomness import SAMPLE, derive_seed, own_randomness
    for index in track(range(len(dataset)), what, console=Console(stderr=True)):
        with own_randomness(derive_seed(SAMPLE, seed, 0, index)):
            item = dataset[index]
        yield item


def class_names(dataset: 'BaseDataset') -> tuple[str, ...]:
    # MMDetection's ConcatDataset has one metainfo for each of its parts where these differ.
    metainfo = dataset.metainfo[0] if isinstance(dataset.metainfo, list) else dataset.metainfo
    return metainfo['classes']


def to_table(title: str, rows: list['RecallRow']) -> 'Table':
    from rich.table import Table

    from mmcell.boxes.anchor_recall import IOU_THRESHOLDS
    recalls = (f'IoU >= {threshold:g}' for threshold in IOU_THRESHOLDS)
    table = Table('best anchor', 'cells', *recalls, 'mean IoU', title=title)
    for row in rows:
        values = (*row.recalls, row.mean_best_iou)
        table.add_row(row.name, str(row.n_cells), *(f'{value:.3f}' if row.n_cells else '-' for value in values))
    return table


if __name__ == '__main__':
    main()
