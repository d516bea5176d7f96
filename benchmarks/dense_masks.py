"""Crowded images: MMDetection's bitmaps against mmcell's label maps, in turn in one run, results compared."""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from _measure import in_turn, median_seconds, peak_memory_mib
from label_map_rle import grid_of_discs
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope

from mmcell.raw_layout import find_train_folders, read_train_image
from mmcell.rle import encode_label_map

EXAMPLE = """example:
  python benchmarks/dense_masks.py --consep CONSEP
  python benchmarks/dense_masks.py --plot docs/dense_masks.png
"""
LOAD = {'stock': [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
        'mmcell': [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]}
CHANGE = [dict(type='Resize', scale_factor=.8, keep_ratio=True),
          dict(type='RandomFlip', prob=1., direction='horizontal'), dict(type='PackDetInputs', meta_keys=())]


@dataclass(frozen=True)
class Scene:
    """An image file with its cells: what a data set hands to its pipeline, as JSON."""

    name: str
    path: str

    def sample(self) -> dict:
        """A fresh sample."""
        return json.loads(Path(self.path).read_text())


@dataclass(frozen=True)
class Stage:
    """A piece of work that both do.

    Attributes:
        prepare: (kind, scene) to the work of 'stock' or 'mmcell'.
        same: whether what both give is equal.
        min_ratio: stock's time at least so many times mmcell's.
        max_memory: mmcell's memory at most this part of stock's.
    """

    name: str
    prepare: Callable[[str, Scene], Callable[[], object]]
    same: Callable[[object, object], bool]
    min_ratio: float
    max_memory: float


def prepare_masks(kind: str, scene: Scene) -> Callable[[], object]:
    """Annotations → masks, resized to .8 and mirrored."""
    init_default_scope('mmdet')
    load = TRANSFORMS.build(LOAD[kind][1])
    sample = scene.sample()
    shape = tuple(round(side * .8) for side in sample['ori_shape'])
    return lambda: load(dict(sample))['gt_masks'].resize(shape).flip()


def prepare_sample(kind: str, scene: Scene) -> Callable[[], object]:
    """File → packed input."""
    init_default_scope('mmdet')
    pipeline = Compose([*LOAD[kind], *CHANGE])
    sample = scene.sample()
    return lambda: pipeline(dict(sample))


def prepare_targets(kind: str, scene: Scene) -> Callable[[], object]:
    """Loaded masks → targets of the mask head for 128 boxes near their cells."""
    init_default_scope('mmdet')
    sample = TRANSFORMS.build(LOAD[kind][1])(scene.sample())
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(sample['gt_masks']), 128)
    boxes = sample['gt_bboxes'].tensor.numpy()[indices] + rng.normal(0, 2, (128, 4)).astype(np.float32)
    return lambda: sample['gt_masks'].crop_and_resize(boxes, (28, 28), indices).to_ndarray()


def same_masks(stock: object, ours: object) -> bool:
    """Every bitmap is equal."""
    return all(np.array_equal(a, b) for a, b in zip(stock, ours, strict=True))


def same_samples(stock: dict, ours: dict) -> bool:
    """Image (stock's is BGR), boxes, labels and masks are equal."""
    first, second = stock['data_samples'].gt_instances, ours['data_samples'].gt_instances
    return (torch.equal(stock['inputs'].flip(0), ours['inputs']) and torch.equal(first.labels, second.labels)
            and torch.equal(first.bboxes.tensor, second.bboxes.tensor) and same_masks(first.masks, second.masks))


STAGES = [
    Stage('masks: JSON → load, resize, flip', prepare_masks, same_masks, 200, 1 / 50),
    Stage('sample: file → packed input', prepare_sample, same_samples, 50, 1 / 20),
    Stage('targets of 128 RoIs', prepare_targets, np.array_equal, 30, 1 / 20),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP: its two fullest training images beside the synthetic one')
    parser.add_argument('--rounds', type=int, default=3, help='rounds, each method once a round (default: 3)')
    parser.add_argument('--plot', type=Path, metavar='PNG', help='instead: cost against cells and pixels, as a picture')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.plot is not None:
            plot_costs(args.plot, Path(folder), args.rounds)
        else:
            scenes = [write_synthetic(Path(folder), 1024, 31), *fullest_of(args.consep, Path(folder))]
            print_table(scenes, args.rounds)


def print_table(scenes: list[Scene], rounds: int) -> None:
    """Measures and prints one row for each stage and scene."""
    print(f'{os.cpu_count()} cores, one thread each, median of {rounds} rounds in turn (range of the ratio)')
    print(f"{'stage':34} {'image':28} {'stock':>9} {'mmcell':>9} {'time ratio':>22} {'at least':>8} "
          f"{'stock':>9} {'mmcell':>9} {'memory':>7} {'at most':>7}  equal")
    for stage in STAGES:
        for scene in scenes:
            print(measured_row(stage, scene, rounds), flush=True)


def measured_row(stage: Stage, scene: Scene, rounds: int) -> str:
    """One row of the table."""
    stock, ours = (stage.prepare(kind, scene) for kind in ('stock', 'mmcell'))
    is_same = stage.same(stock(), ours())
    stock_s, ours_s = in_turn(stock, ours, rounds)
    del stock, ours
    stock_mib, ours_mib = (peak_memory_mib(stage.prepare, kind, scene) for kind in ('stock', 'mmcell'))
    ratios = stock_s / ours_s
    spread = f'{np.median(ratios):.0f}x ({ratios.min():.0f}-{ratios.max():.0f})'
    return (f'{stage.name:34} {scene.name:28} {np.median(stock_s) * 1e3:6.0f} ms {np.median(ours_s) * 1e3:6.1f} ms '
            f'{spread:>22} {stage.min_ratio:7.0f}x {stock_mib:5.0f} MiB {ours_mib:5.1f} MiB '
            f'1/{stock_mib / max(ours_mib, .1):<5.0f} 1/{1 / stage.max_memory:<5.0f}  {is_same}')


def write_scene(folder: Path, name: str, image: np.ndarray, rles: list[dict]) -> Scene:
    """Writes the image as TIFF and the sample as JSON."""
    stem = name.replace(' ', '_').replace(',', '')
    tifffile.imwrite(folder / f'{stem}.tif', image, photometric='rgb')
    return describe_scene(folder, name, folder / f'{stem}.tif', image.shape[:2], rles)


def describe_scene(folder: Path, name: str, image_path: Path, shape: tuple[int, int], rles: list[dict]) -> Scene:
    """Writes the sample of an image file as JSON."""
    import pycocotools.mask
    boxes = np.array([pycocotools.mask.toBbox(rle) for rle in rles])
    boxes[:, 2:] += boxes[:, :2]
    instances = [dict(bbox=box, bbox_label=i % 4, ignore_flag=0, mask=rle)
                 for i, (box, rle) in enumerate(zip(boxes.tolist(), rles, strict=True))]
    path = folder / f'{Path(image_path).stem}_{len(rles)}.json'
    path.write_text(json.dumps(dict(img_path=str(image_path), ori_shape=list(shape), img_shape=list(shape),
                                    instances=instances)))
    return Scene(name, str(path))


def write_synthetic(folder: Path, side: int, per_row: int) -> Scene:
    """A square image of noise with per_row squared discs that nearly touch."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    rles = encode_label_map(grid_of_discs(side, per_row)).rles
    return write_scene(folder, f'{side}x{side}, {len(rles)} discs', image, rles)


def fullest_of(consep: Path | None, folder: Path) -> Iterator[Scene]:
    """The two training images with most cells."""
    if consep is None:
        return
    images = [read_train_image(path, consep) for path in find_train_folders(consep)]
    counted = [([rle for found in image.instances_by_class.values() for rle in found.rles], image) for image in images]
    for rles, image in sorted(counted, key=lambda pair: -len(pair[0]))[:2]:
        name = Path(image.file_name).parent.name
        # Stock's reader cannot tell an alpha channel: both read the same three channels.
        pixels = tifffile.imread(consep / image.file_name)[:, :, :3]
        yield write_scene(folder, f'CoNSeP {name}, {len(rles)} cells', pixels, rles)


def plot_costs(out: Path, folder: Path, rounds: int) -> None:
    """Draws time and memory of the first stage against cells at 1024x1024, and against pixels with 484 cells."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    series = {'cells (1024x1024 px)': [(1024, per_row) for per_row in (10, 18, 31, 55)],
              'million px (484 cells)': [(side, 22) for side in (512, 1024, 2048, 4096)]}
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharey='row', layout='constrained')
    for column, (label, sizes) in enumerate(series.items()):
        for kind, style in (('stock', 'o-'), ('mmcell', 's-')):
            # Stock holds three copies of N full-size bitmaps: to 2 GB each, which is enough to see the line.
            measured = [(side, per_row) for side, per_row in sizes
                        if kind == 'mmcell' or side ** 2 * per_row ** 2 < 2.2e9]
            at = [per_row ** 2 if column == 0 else side ** 2 / 1e6 for side, per_row in measured]
            scenes = [write_synthetic(folder, *size) for size in measured]
            times = [median_seconds(prepare_masks(kind, scene), rounds) for scene in scenes]
            memory = [peak_memory_mib(prepare_masks, kind, scene) for scene in scenes]
            axes[0, column].loglog(at, times, style, label=kind)
            axes[1, column].loglog(at, memory, style, label=kind)
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel('s'), axes[1, 0].set_ylabel('MiB beyond the start'), axes[0, 0].legend()
    figure.suptitle('Masks of one image: annotations → load, resize, flip')
    figure.savefig(out, dpi=110)


if __name__ == '__main__':
    main()
