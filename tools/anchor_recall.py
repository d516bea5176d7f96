"""Reports how well the anchors of configs cover the cells, by size and class, before any training.

Each config gets a table. It shows the proportion of cells whose box has an IoU of at least .3, .5 and .7 with its best
anchor, and the mean IoU of a cell's box with its best anchor. If the best IoU of a cell is below .3, MMDetection's RPN
has no positive anchor for it, unless the config changes this limit. Boxes are measured as the model sees them, after
the pipeline of the config. If the pipeline crops at random, the boxes are a random sample that depends only on --seed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from _config import read_config

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_missing_annotations
from mmcell.settings.config_files import refuse_unreadable_config

if TYPE_CHECKING:
    from mmdet.models.task_modules.prior_generators import AnchorGenerator
    from mmengine.config import Config
    from mmengine.dataset import BaseDataset
    from rich.table import Table

    from mmcell.boxes.anchor_recall import RecallRow

EXAMPLE = """example:
  python tools/anchor_recall.py configs/cell/mask-rcnn_r101_small-anchors.py \\
      configs/cell/mask-rcnn_r101_default-anchors.py --ann-file annotations/trainval.json
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all tables were printed')
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files to measure, one table each')
    parser.add_argument('--ann-file', metavar='FILE',
                        help='annotation file with the cells (default: the annotation file that the config names)')
    parser.add_argument('--split', choices=['train', 'val'], default='train',
                        help='whether the training or the validation data and pipeline of the config are used '
                             '(default: train)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of random crops (default: 0)')
    args = parser.parse_intermixed_args()
    if args.seed < 0:
        parser.error(f'--seed must be at least 0, got {args.seed}')
    return args


def main() -> int:
    return run_command(parse_args, measure_all)


def measure_all(args: argparse.Namespace) -> None:
    for path in args.configs:
        refuse_unreadable_config(path)
    refuse_missing_annotations(args.ann_file)
    from rich.console import Console
    for path in args.configs:
        table = measure(read_config(args, path), args.split, args.ann_file, args.seed)
        Console(markup=False, emoji=False).print(table)


def measure(cfg: 'Config', split: str, ann_file: str | None, seed: int) -> 'Table':
    """Measures the anchors of one config, and returns its table.

    Args:
        cfg: The config, which is changed.
        split: 'train' or 'val': whether the training or the validation data and pipeline of the config are used.
        ann_file: The annotation file to read; None: the annotation file that the config names.
        seed: Seed of the random transforms of the pipeline.

    Raises:
        MmcellError: The config has no RPN with anchors, or no data of this split; or ``ann_file`` was given for several
            joined data sets.
    """
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from mmcell.boxes.anchor_recall import best_ious, box_sizes_px, lay_anchors, recall_rows
    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        from mmcell.datasets.class_order import class_names
    name = Path(cfg.filename).stem
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    generator, allowed_border = build_anchors(cfg, split)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    dataset = build_dataset(cfg, split, ann_file)
    parts, n_anchors = [], 0
    for item in draw_items(dataset, seed, name):
        batch = preprocess(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), split == 'train')
        sample, = batch['data_samples']
        anchors = lay_anchors(generator, sample.batch_input_shape, sample.img_shape, allowed_border)
        n_anchors += len(anchors)
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        parts.append((best_ious(anchors, boxes), box_sizes_px(boxes), labels))
    ious, sizes_px, labels = map(torch.cat, zip(*parts, strict=True))
    rows = recall_rows(ious, sizes_px, labels, class_names(dataset.metainfo))
    n_per_image = n_anchors / len(dataset)
    return to_table(f'{name}\n{len(dataset)} images, {n_per_image:,.0f} anchors per image', rows)


def build_anchors(cfg: 'Config', split: str) -> tuple['AnchorGenerator', int]:
    """Returns the generator of the RPN's anchors, and by how many px they may reach beyond the image.

    A negative number means that there is no limit.

    Raises:
        MmcellError: The config's model has no RPN with anchors.
    """
    from mmdet.registry import TASK_UTILS
    try:
        generator = cfg.model.rpn_head.anchor_generator
        allowed_border = cfg.model.train_cfg.rpn.allowed_border
    except AttributeError as error:
        raise MmcellError(f'{cfg.filename} has no anchors of an RPN: its model must have rpn_head.anchor_generator and '
                          f'train_cfg.rpn.allowed_border ({error})') from error
    # The border counts only in training: when the RPN predicts, it uses all anchors.
    return TASK_UTILS.build(generator), allowed_border if split == 'train' else -1


def build_dataset(cfg: 'Config', split: str, ann_file: str | None) -> 'BaseDataset':
    """Builds the data set of a split, and makes its pipeline load the boxes of the cells if it does not.

    Args:
        cfg: The config, which is changed.
        split: 'train' or 'val'.
        ann_file: The annotation file to read; None: the annotation file that the config names.

    Raises:
        MmcellError: The config has no data of this split, or ``ann_file`` was given for several joined data sets.
    """
    from mmdet.registry import DATASETS

    from mmcell.datasets.browsing import base_configs
    from mmcell.datasets.class_order import class_names, order_classes
    if cfg.get(f'{split}_dataloader') is None:
        raise MmcellError(f'{cfg.filename} has no {split}_dataloader, which --split {split} needs')
    dataset = cfg[f'{split}_dataloader'].dataset
    parts = base_configs(dataset)
    if ann_file is not None:
        if len(parts) > 1:
            raise MmcellError(f'--ann-file replaces only one annotation file, but {cfg.filename} has {len(parts)}')
        parts[0].ann_file = str(Path(ann_file).resolve())
    for part in parts:
        if not any('Annotations' in step.type for step in part.pipeline):
            # Boxes are loaded right after the image, so that all later transforms change them, too.
            part.pipeline.insert(1, dict(type='LoadCellAnnotations', with_mask=False))
    built = DATASETS.build(dataset)
    # Joined data sets may list their classes in different orders.
    names = class_names(built.metainfo)
    if names is not None:
        order_classes(built, names, parts[0].get('ann_file', 'the first data set'))
    return built


def draw_items(dataset: 'BaseDataset', seed: int, label: str) -> Iterator[dict]:
    """Yields each sample once, augmented with random numbers from the seed; ``label`` names the progress bar."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    from mmcell.framework.randomness import SAMPLE, derive_seed, own_randomness
    for index in track(range(len(dataset)), escape(label), console=Console(stderr=True)):
        with own_randomness(derive_seed(SAMPLE, seed, 0, index)):
            item = dataset[index]
        yield item


def to_table(title: str, rows: list['RecallRow']) -> 'Table':
    """Returns a table for the terminal with one line per size and class; '-' stands where there are no cells."""
    from rich.table import Table

    from mmcell.boxes.anchor_recall import IOU_THRESHOLDS
    recalls = (f'IoU >= {threshold:g}' for threshold in IOU_THRESHOLDS)
    table = Table('best anchor', 'cells', *recalls, 'mean IoU', title=title)
    for row in rows:
        values = (*row.recalls, row.mean_best_iou)
        table.add_row(row.name, str(row.n_cells), *(f'{value:.3f}' if row.n_cells else '-' for value in values))
    return table


if __name__ == '__main__':
    sys.exit(main())
