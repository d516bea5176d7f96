"""Compares ways to predict images with hundreds of cells: mmcell, MMDetection and torchvision.

The kinds are mmcell without tiles and views ("plain"), mmcell with tiles, mmcell with views, MMDetection's own classes
("stock"), and torchvision. All kinds run on one thread and use the same random weights of torchvision's Mask R-CNN "v1"
with ResNet-50. Images keep their size, an image or tile has 1,000 detections, and the results are RLEs. The column
"cells" counts masks that have at least one pixel; for torchvision it counts all masks.

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
from _scenes import grid_of_discs, write_fullest_of_consep, write_scene
from torch import nn

from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.masks.rle import areas_px, encode_label_map

EXAMPLE = """example:
  python benchmarks/inference.py --consep CONSEP
"""
KINDS = ('plain', 'tiles', 'views', 'stock', 'torchvision')
N_DETECTIONS = 1000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS,
                        help='which kinds are measured (default: all)')
    parser.add_argument('--side', type=int, default=1000, help='side of the synthetic image in px (default: 1000)')
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP, to measure also its training image with the most cells (default: '
                             'only a synthetic image)')
    parser.add_argument('--rounds', type=int, default=3, help='how often each kind is timed (default: 3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
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
    theirs = torchvision_model()
    if kind == 'torchvision':
        return partial(predict_with_torchvision, theirs, path)
    from mmcell.inference.prediction_plan import PredictionPlan
    from mmcell.inference.predictor import Predictor
    predictor = Predictor(mmdetection_model(theirs, stock=kind == 'stock'), with_views=kind == 'views')
    plan = PredictionPlan('tiled', tile_px=512) if kind == 'tiles' else PredictionPlan('whole')

    def work() -> list[dict]:
        return predictor.predict(read_image(path), plan).cells.masks.to_rles()
    return work


def torchvision_model() -> nn.Module:
    """Builds torchvision's Mask R-CNN "v1" with random weights that keep its outputs at a moderate size."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0., box_detections_per_img=N_DETECTIONS,
        rpn_pre_nms_top_n_test=2000, rpn_post_nms_top_n_test=2000)
    model.transform = KeepSize(model.transform)
    for name, parameter in model.named_parameters():
        if name.endswith('bn3.weight'):
            # Without this, each of the sixteen blocks adds as much as it receives, and boxes become extremely large.
            nn.init.zeros_(parameter)
    return model.eval()


class KeepSize(nn.Module):
    """torchvision's transform, except that it does not resize images to a short side of 800 px.

    Args:
        transform: The transform, whose method ``resize`` is replaced.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        transform.resize = lambda image, target=None: (image, target)

    def forward(self, images: list, targets: list | None = None) -> tuple:
        """Normalises and pads images."""
        return self.transform(images, targets)

    def postprocess(self, *args: object) -> list[dict]:
        """Scales boxes to the size of the images, and pastes masks."""
        return self.transform.postprocess(*args)


def mmdetection_model(theirs: nn.Module, stock: bool) -> nn.Module:
    """Builds the same model from MMDetection's (stock) or mmcell's classes, with torchvision's weights."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from mmcell.checkpoints.torchvision_weights import convert_mask_rcnn
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs' / 'cell' / 'mask-rcnn_r50_tv-v1.py')
    cfg.model.test_cfg.rcnn.update(score_thr=0., max_per_img=N_DETECTIONS)
    cfg.model.test_cfg.rpn.update(nms_pre=2000, max_per_img=2000)
    # Both paste masks in MMDetection's way, so that their masks can be compared.
    cfg.model.roi_head.mask_head.type = 'FCNMaskHead' if stock else 'CellMaskHead'
    if stock:
        for extractor in ('bbox_roi_extractor', 'mask_roi_extractor'):
            cfg.model.roi_head[extractor].type = 'SingleRoIExtractor'
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.load_state_dict(convert_mask_rcnn(theirs.state_dict()).state_dict, strict=False)
    model.cfg, model.dataset_meta = cfg, {'classes': ('1', '2', '3', '4'), 'channel_order': 'rgb'}
    return model.eval()


def predict_with_torchvision(model: nn.Module, path: str) -> list[dict]:
    """Returns the RLEs of torchvision's masks, which are the pixels with a probability above one half."""
    image = torch.from_numpy(read_image(path)).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        masks = model([image])[0]['masks'][:, 0] > .5
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks.numpy()]


if __name__ == '__main__':
    main()
