"""Compares ways to predict images with hundreds of cells: mmcell, MMDetection and torchvision.

The kinds are mmcell without tiles and views ("plain"), mmcell with tiles, mmcell with views, MMDetection's own classes
("stock"), and torchvision. They use the same random weights of torchvision's Mask R-CNN "v1" with ResNet-50. The kind
"light" is another network, that of configs/cell/mask-rcnn_r50_light.py, also with random weights. Images keep their
size, an image or tile has 1,000 detections, and the results are RLEs. The column "cells" counts masks that have
at least one pixel; for torchvision it counts all masks.

The masks of stock and plain are compared. They may differ in a few pixels whose probability is almost exactly one half,
because sums are added in another order. Each image takes minutes, mostly in the mask head: it processes 1,000 cells per
image or tile, and with views it does so eight times.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pycocotools.mask
import torch
from _measure import peak_memory_mib, seconds, use_one_thread
from _models import light_model, mmdetection_config, mmdetection_model, torchvision_model
from _scenes import grid_of_discs, write_fullest_of_consep, write_scene
from torch import nn

from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.masks.rle import areas_px, encode_label_map

EXAMPLE = """example:
  python benchmarks/inference.py --consep CONSEP
"""
KINDS = ('plain', 'tiles', 'views', 'stock', 'light', 'torchvision')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS,
                        help='which kinds are measured (default: all)')
    parser.add_argument('--side', type=int, default=1000, help='side of the synthetic image in px (default: 1000)')
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP, to measure also its training image with the most cells (default: '
                             'only a synthetic image)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument('--rounds', type=int, default=3, help='how often each kind is timed (default: 3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        image = np.random.default_rng(0).integers(0, 256, (args.side, args.side, 3), np.uint8)
        rles = encode_label_map(grid_of_discs(args.side, 30)).rles
        scenes = [write_scene(Path(folder), f'noise {args.side}x{args.side}', image, rles)]
        scenes += list(write_fullest_of_consep(args.consep, Path(folder)))[:1]
        for scene in scenes:
            compare(scene.name, scene.sample()['img_path'], args.kinds, args.rounds)


def compare(name: str, path: str, kinds: list[str], rounds: int) -> None:
    """Measures all kinds on one image, and prints one row per kind.

    A row shows the median and the range of the seconds per image, images per second, peak memory and number of cells.
    """
    works = {kind: prepare(kind, path) for kind in kinds}
    rles = {kind: work() for kind, work in works.items()}
    if {'plain', 'stock'} <= rles.keys():
        n_different, n_px = count_different_px(rles['plain'], rles['stock'])
        print(f'{name}: masks of plain and stock differ in {n_different} of {n_px} pixels')
    times = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, work in works.items():
            times[kind].append(seconds(work))
    print(f'{name}\n{"":12} {"s/image":>8} {"range":>13} {"images/s":>9} {"peak MiB":>9} {"cells":>6}')
    for kind in kinds:
        median, low, high = (f(times[kind]) for f in (np.median, min, max))
        print(f'{kind:12} {median:8.2f} {f"{low:.2f}-{high:.2f}":>13} {1 / median:9.3f} '
              f'{peak_memory_mib(prepare, kind, path):9.0f} {len(rles[kind]):6}', flush=True)


def count_different_px(ours: list[dict], theirs: list[dict]) -> tuple[int, int]:
    """Returns in how many pixels masks differ, and how many pixels the masks of stock have.

    Args:
        ours: RLEs of the kind 'plain'.
        theirs: RLEs of the kind 'stock', in the same order.

    Raises:
        MmcellError: The numbers of masks differ, or more than 1 in 100,000 pixels differs.
    """
    if len(ours) != len(theirs):
        raise MmcellError(f'plain predicts {len(ours)} masks, but stock {len(theirs)}')
    n_different = sum(int((pycocotools.mask.decode(a) != pycocotools.mask.decode(b)).sum())
                      for a, b in zip(ours, theirs, strict=True) if a != b)
    n_px = int(areas_px(theirs).sum())
    if n_different > 1e-5 * n_px:
        raise MmcellError(f'masks of plain and stock differ in {n_different} of {n_px} pixels')
    return n_different, n_px


def prepare(kind: str, path: str) -> Callable[[], list[dict]]:
    """Returns a function that predicts an image file with one of ``KINDS``, and returns the RLEs of its cells."""
    logging.disable(logging.INFO)
    if kind == 'light':
        return prepare_light(path)
    theirs = torchvision_model()
    if kind == 'torchvision':
        return partial(predict_with_torchvision, theirs, path)
    from mmcell.inference.prediction_plan import PredictionPlan
    from mmcell.inference.predictor import Predictor
    stock = kind == 'stock'
    cfg = mmdetection_config(stock)
    if not stock:
        # Both paste masks in MMDetection's way, so that their masks can be compared.
        cfg.model.roi_head.mask_head.type = 'CellMaskHead'
    predictor = Predictor(mmdetection_model(theirs, cfg, stock), with_views=kind == 'views')
    plan = PredictionPlan('tiled', tile_px=512) if kind == 'tiles' else PredictionPlan('whole')

    def work() -> list[dict]:
        return predictor.predict(read_image(path), plan).cells.masks.to_rles()
    return work


def prepare_light(path: str) -> Callable[[], list[dict]]:
    """Returns the same function for the network of the laptop recipe, prepared as tools/predict.py does."""
    from mmcell.inference.prediction_plan import PredictionPlan
    from mmcell.inference.predictor import Predictor
    from mmcell.models.folding import fold_batch_norm
    model = light_model()
    fold_batch_norm(model)
    predictor = Predictor(model, with_views=False)
    return lambda: predictor.predict(read_image(path), PredictionPlan('whole')).cells.masks.to_rles()


def predict_with_torchvision(model: nn.Module, path: str) -> list[dict]:
    """Returns the RLEs of torchvision's masks, which are the pixels with a probability above one half."""
    image = torch.from_numpy(read_image(path)).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        masks = model([image])[0]['masks'][:, 0] > .5
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks.numpy()]


if __name__ == '__main__':
    main()
