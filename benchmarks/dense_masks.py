"""Compares MMDetection's bitmaps with mmcell's label maps on images with hundreds of cells.

MMDetection's classes ("stock") and mmcell's classes do the same work in alternation. The table shows times, peak
memory, whether the results are equal (at least 99 % of the masks of a prediction), and whether the targets for time and
memory are met.
"""

import argparse
import copy
import operator
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pycocotools.mask
import torch
from _measure import median_seconds, peak_memory_mib, time_alternately, use_one_thread
from _models import replace_types
from _scenes import Scene, write_fullest_of_consep, write_synthetic
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdet.structures.mask import encode_mask_results
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

EXAMPLE = """example:
  python benchmarks/dense_masks.py --consep CONSEP
  python benchmarks/dense_masks.py --plot docs/studies/crowded_images.png
"""
LOAD = {'stock': [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
        'mmcell': [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]}
HEADS = {'stock': 'FCNMaskHead', 'mmcell': 'CellMaskHead'}
META = ('img_shape', 'ori_shape', 'scale_factor')
CHANGE = [dict(type='Resize', scale_factor=.8, keep_ratio=True),
          dict(type='RandomFlip', prob=1., direction='horizontal'), dict(type='PackDetInputs', meta_keys=())]


@dataclass(frozen=True)
class Stage:
    """A piece of work that both stock classes and mmcell's classes can do.

    Attributes:
        name: The name of the stage in the table.
        prepare: A function that gets a kind ('stock' or 'mmcell') and a scene, and returns the work: a function without
            arguments, which is measured.
        same: A function that gets the results of stock and of mmcell, and returns whether they are equal.
        min_ratio: A target: stock takes at least this many times the time of mmcell.
        max_memory: A target: mmcell takes at most this proportion of the memory of stock, from 0 to 1.
    """

    name: str
    prepare: Callable[[str, Scene], Callable[[], object]]
    same: Callable[[object, object], bool]
    min_ratio: float
    max_memory: float


def prepare_masks(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares the stage that makes masks from annotations, resizes them to .8 of their size and mirrors them."""
    init_default_scope('mmdet')
    load = TRANSFORMS.build(LOAD[kind][1])

    def work() -> object:
        sample = scene.sample()
        shape = tuple(round(side * .8) for side in sample['ori_shape'])
        return load(sample)['gt_masks'].resize(shape).flip()
    return work


def prepare_sample(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares the stage that makes the packed input of a model from an image file."""
    init_default_scope('mmdet')
    pipeline = Compose([*LOAD[kind], *CHANGE])
    return lambda: pipeline(scene.sample())


def prepare_targets(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares the stage that makes the targets of a mask head from loaded masks, for 128 boxes near their cells."""
    init_default_scope('mmdet')
    sample = TRANSFORMS.build(LOAD[kind][1])(scene.sample())
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(sample['gt_masks']), 128)
    boxes = sample['gt_bboxes'].tensor.numpy()[indices] + rng.normal(0, 2, (128, 4)).astype(np.float32)
    return lambda: sample['gt_masks'].crop_and_resize(boxes, (28, 28), indices).to_ndarray()


def prepare_assignment(kind: str, scene: Scene, scale: int) -> Callable[[], object]:
    """Prepares the stage that assigns up to 1,000 cells to anchors: 1024x1024 px, strides 4 to 64, three ratios."""
    init_default_scope('mmdet')
    generator = TASK_UTILS.build(dict(type='AnchorGenerator', scales=[scale], ratios=[.5, 1., 2.],
                                      strides=[4, 8, 16, 32, 64]))
    anchors = torch.cat(generator.grid_priors([(1024 // stride, 1024 // stride) for stride in (4, 8, 16, 32, 64)],
                                              device='cpu'))
    boxes = torch.tensor([instance['bbox'] for instance in scene.sample()['instances'][:1000]])
    assigner = TASK_UTILS.build(dict(type={'stock': 'MaxIoUAssigner', 'mmcell': 'SparseMaxIoUAssigner'}[kind],
                                     pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=.3, ignore_iof_thr=-1))
    truth = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) % 4)
    return lambda: assigner.assign(InstanceData(priors=anchors), truth)


def prepare_rles(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares the stage that makes RLEs from 1,000 predicted boxes with masks of 28x28 logits."""
    init_default_scope('mmdet')
    sample = scene.sample()
    generator = torch.Generator().manual_seed(0)
    cells = torch.tensor([instance['bbox'] for instance in sample['instances']])
    boxes = cells[torch.randint(0, len(cells), (1000,), generator=generator)]
    boxes = (boxes + torch.randn(1000, 4, generator=generator)).clamp(min=0)
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    logits = 4 * torch.randn(1000, 1, 7, 7, generator=generator)
    logits = torch.nn.functional.interpolate(logits, (28, 28), mode='bilinear')
    head = MODELS.build(dict(type=HEADS[kind], num_convs=0, num_classes=1, class_agnostic=True))
    meta = dict(ori_shape=sample['ori_shape'], scale_factor=(1., 1.))

    def encode() -> list[dict]:
        instances = InstanceData(bboxes=boxes.clone(), labels=torch.zeros(1000, dtype=torch.long))
        head.predict_by_feat((logits,), [instances], [meta], ConfigDict(mask_thr_binary=.5), rescale=True)
        return instances.masks if kind == 'mmcell' else encode_mask_results(instances.masks.numpy())
    return encode


def build_model(kind: str) -> torch.nn.Module:
    """Builds the ResNet-50 baseline with random weights and 1,000 detections per image.

    The kind 'stock' has MMDetection's RoI head, RoI extractors, mask head and assigners.
    """
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs' / 'cell' / 'mask-rcnn_r50.py').model
    cfg.backbone.init_cfg = None
    cfg.test_cfg.rcnn.score_thr = 0.
    if kind == 'stock':
        cfg = replace_types(cfg)
    torch.manual_seed(0)
    # Without this, the initialisation of every weight is logged.
    MMLogger.get_current_instance().setLevel('ERROR')
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def first_cells_of(scene: Scene) -> dict:
    """Returns the sample with only its first 1,000 cells: with more, stock runs out of memory on usual machines."""
    sample = scene.sample()
    return {**sample, 'instances': sample['instances'][:1000]}


def prepare_step(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares one step of SGD with batch size 1: reading the image file, loss, gradients, update of the weights."""
    init_default_scope('mmdet')
    model = build_model(kind).train()
    start = copy.deepcopy(model.state_dict())
    pipeline = Compose([*LOAD[kind], dict(type='PackDetInputs', meta_keys=META)])
    model.data_preprocessor._channel_conversion = kind == 'stock'

    def step() -> list[float]:
        model.load_state_dict(start)
        torch.manual_seed(1)
        np.random.seed(1)
        wrapper = OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3))
        losses = model.train_step(pseudo_collate([pipeline(first_cells_of(scene))]), wrapper)
        return [round(value.item(), 4) for value in losses.values()]
    return step


def prepare_prediction(kind: str, scene: Scene) -> Callable[[], object]:
    """Prepares the stage that makes detections with RLE from an image file."""
    init_default_scope('mmdet')
    model = build_model(kind).eval()
    pipeline = Compose([LOAD[kind][0], dict(type='PackDetInputs', meta_keys=META)])
    model.data_preprocessor._channel_conversion = kind == 'stock'

    def predict() -> list[dict]:
        with torch.no_grad():
            instances = model.test_step(pseudo_collate([pipeline(scene.sample())]))[0].pred_instances
        return instances.masks if kind == 'mmcell' else encode_mask_results(instances.masks.numpy())
    return predict


def same_assignments(stock: object, ours: object) -> bool:
    """Returns whether assigned cells, overlaps and labels are equal."""
    return all(torch.equal(getattr(stock, key), getattr(ours, key)) for key in ('gt_inds', 'max_overlaps', 'labels'))


def same_rles(stock: list[dict], ours: list[dict]) -> bool:
    """Returns whether all RLEs are equal."""
    return [rle['counts'].decode() for rle in stock] == [rle['counts'] for rle in ours]


def same_cells(stock: list[dict], ours: list[dict]) -> bool:
    """Returns whether at least 99 % of the RLEs of a prediction are equal, where masks without a pixel do not count.

    mmcell leaves these masks out. It adds up the features of RoIs in another order, so that a probability at the
    threshold may be rounded to the other side.
    """
    counts = [Counter(rle['counts'].decode() for rle in stock if pycocotools.mask.area(rle)),
              Counter(rle['counts'] for rle in ours)]
    return (counts[0] & counts[1]).total() >= .99 * max(count.total() for count in counts)


def same_masks(stock: object, ours: object) -> bool:
    """Returns whether all bitmaps are equal."""
    return all(np.array_equal(a, b) for a, b in zip(stock, ours, strict=True))


def same_samples(stock: dict, ours: dict) -> bool:
    """Returns whether images, boxes, labels and masks are equal; stock's image is BGR, mmcell's is RGB."""
    first, second = stock['data_samples'].gt_instances, ours['data_samples'].gt_instances
    return (torch.equal(stock['inputs'].flip(0), ours['inputs']) and torch.equal(first.labels, second.labels)
            and torch.equal(first.bboxes.tensor, second.bboxes.tensor) and same_masks(first.masks, second.masks))


STAGES = [
    Stage('masks: JSON → load, resize, flip', prepare_masks, same_masks, 200, 1 / 50),
    Stage('sample: file → packed input', prepare_sample, same_samples, 50, 1 / 20),
    Stage('targets of 128 RoIs', prepare_targets, np.array_equal, 30, 1 / 20),
    Stage('assigning, anchor scale 4', partial(prepare_assignment, scale=4), same_assignments, 50, 1 / 20),
    Stage('assigning, anchor scale 8', partial(prepare_assignment, scale=8), same_assignments, 10, 1 / 20),
    Stage('1,000 detections → RLE', prepare_rles, same_rles, 30, 1 / 20),
    Stage('training step: file → SGD', prepare_step, operator.eq, 2, 1 / 2),
    Stage('prediction: file → RLE', prepare_prediction, same_cells, 2, 1 / 4),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP, to measure also its two training images with the most cells '
                             '(default: only a synthetic image)')
    parser.add_argument('--rounds', type=int, default=3, help='how often each kind is timed (default: 3)')
    parser.add_argument('--stages', nargs='+', metavar='WORD', default=[''],
                        help='measure only stages with one of these words in their name (default: all)')
    parser.add_argument('--plot', type=Path, metavar='PNG',
                        help='draw time and memory against the numbers of cells and pixels into this file, instead of '
                             'printing the table (default: print the table)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    with tempfile.TemporaryDirectory() as folder:
        if args.plot is not None:
            plot_costs(args.plot, Path(folder), args.rounds)
        else:
            scenes = [write_synthetic(Path(folder), 1024, 31), *write_fullest_of_consep(args.consep, Path(folder))]
            stages = [stage for stage in STAGES if any(word in stage.name for word in args.stages)]
            print_table(stages, scenes, args.rounds)


def print_table(stages: list[Stage], scenes: list[Scene], rounds: int) -> None:
    """Measures each stage on each scene, and prints one row per pair."""
    print(f'{os.cpu_count()} cores, one thread, median of {rounds} rounds in alternation (range of the ratio)')
    print(f"{'stage':34} {'image':28} {'stock':>9} {'mmcell':>9} {'time ratio':>22} {'at least':>8} "
          f"{'stock':>9} {'mmcell':>9} {'memory':>7} {'at most':>7}  equal  targets")
    for stage in stages:
        for scene in scenes:
            print(measure_row(stage, scene, rounds), flush=True)


def measure_row(stage: Stage, scene: Scene, rounds: int) -> str:
    """Measures one stage on one scene, and returns the row of the table."""
    stock, ours = (stage.prepare(kind, scene) for kind in ('stock', 'mmcell'))
    is_same = stage.same(stock(), ours())
    stock_s, ours_s = time_alternately(stock, ours, rounds)
    del stock, ours
    stock_mib, ours_mib = (peak_memory_mib(stage.prepare, kind, scene) for kind in ('stock', 'mmcell'))
    ratios = stock_s / ours_s
    spread = f'{np.median(ratios):.3g}x ({ratios.min():.3g}-{ratios.max():.3g})'
    is_met = np.median(ratios) >= stage.min_ratio and ours_mib <= stock_mib * stage.max_memory
    return (f'{stage.name:34} {scene.name:28} {np.median(stock_s) * 1e3:6.0f} ms {np.median(ours_s) * 1e3:6.1f} ms '
            f'{spread:>22} {stage.min_ratio:7.0f}x {stock_mib:5.0f} MiB {ours_mib:5.1f} MiB '
            f'1/{stock_mib / max(ours_mib, .1):<5.3g} 1/{1 / stage.max_memory:<5.0f}  {"yes" if is_same else "NO":5}  '
            f'{"met" if is_met else "MISSED"}')


def plot_costs(out: Path, folder: Path, rounds: int) -> None:
    """Draws time and memory of the first stage: against cells, in 1024x1024 px; against pixels, with 484 cells."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    series = {'cells (1024x1024 px)': [(1024, per_row) for per_row in (10, 18, 31, 55)],
              'million px (484 cells)': [(side, 22) for side in (512, 1024, 2048, 4096)]}
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharey='row', layout='constrained')
    for column, (label, sizes) in enumerate(series.items()):
        for kind, style in (('stock', 'o-'), ('mmcell', 's-')):
            # Stock holds three copies of N bitmaps of the full size. It is measured only up to about 2 GB per copy:
            # that is enough to show its line.
            measured = [(side, per_row) for side, per_row in sizes
                        if kind == 'mmcell' or side ** 2 * per_row ** 2 < 2.2e9]
            x_values = [per_row ** 2 if column == 0 else side ** 2 / 1e6 for side, per_row in measured]
            scenes = [write_synthetic(folder, *size) for size in measured]
            times = [median_seconds(prepare_masks(kind, scene), rounds) for scene in scenes]
            memory = [peak_memory_mib(prepare_masks, kind, scene) for scene in scenes]
            axes[0, column].loglog(x_values, times, style, label=kind)
            axes[1, column].loglog(x_values, memory, style, label=kind)
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel('s'), axes[1, 0].set_ylabel('MiB beyond the start'), axes[0, 0].legend()
    figure.suptitle('Masks of one image: annotations → load, resize, flip')
    figure.savefig(out, dpi=110)


if __name__ == '__main__':
    main()
