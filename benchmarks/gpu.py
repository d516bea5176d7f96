"""Measures training, loading and prediction on one GPU, and writes all numbers to a JSON file.

The model is the baseline (configs/cell/mask-rcnn_r50.py) with random weights. Training steps are measured in float32,
TF32, bfloat16 and float16, in both memory formats, with several batches; loading by the number of workers; prediction
from TIFF files to files with RLEs, in tiles, in megapixels per second. The mark is 5 megapixels per second
(HoVer-NeXt). With random weights, every tile has as many cells as --cells allows. Without --data, images are synthetic.

What does not fit into --minutes is listed in the file under "left_out".
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
from _parts import PartClock, watched_calls
from _scenes import grid_of_discs
from _trainees import mmdetection_parts
from mmengine.config import Config
from torch import nn

from mmcell.annotations.coco_json import categories
from mmcell.errors import MmcellError
from mmcell.masks.rle import encode_label_map

EXAMPLE = """example:
  python benchmarks/gpu.py --data annotations/train.json --out gpu.json
  python benchmarks/gpu.py --device cpu --minutes 1 --tiny --out cpu.json
"""
CONFIGS = Path(__file__).parents[1] / 'configs' / 'cell'
MARK_MEGAPIXELS_PER_SECOND = 5.
AUTOCAST = {'float32': None, 'tf32': None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
CLASSES = ['1', '2', '3', '4']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, metavar='JSON', help='annotation file with the training images (default: '
                                                                  'synthetic images)')
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda', help='(default: cuda)')
    parser.add_argument('--minutes', type=float, default=10., help='time for everything (default: 10)')
    parser.add_argument('--cells', type=int, default=300, help='cells per predicted tile (default: 300)')
    parser.add_argument('--tiny', action='store_true', help='a small network and few, small images, to try the command')
    parser.add_argument('--out', type=Path, default=Path('gpu.json'), help='file to write (default: gpu.json)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise MmcellError('there is no GPU that torch can use: give --device cpu')
    logging.disable(logging.INFO)
    warnings.filterwarnings('ignore')
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        report = dict(command=vars(args) | dict(data=args.data and str(args.data), out=str(args.out)),
                      environment=describe_environment(args.device),
                      mark_megapixels_per_second=MARK_MEGAPIXELS_PER_SECOND,
                      host_waits=bench.run('host waits', bench.count_host_waits),
                      parts=bench.run('parts', bench.measure_parts), prediction=bench.measure_prediction(),
                      loading=bench.measure_loading(), training=bench.measure_training(), left_out=bench.left_out)
    args.out.write_text(json.dumps(report, indent=1) + '\n')
    fastest = max((entry['megapixels_per_second']['median'] for entry in report['prediction']), default=None)
    print(f'{args.out}: {len(report["training"])} settings of training, prediction {fastest} megapixels/s '
          f'(mark: {MARK_MEGAPIXELS_PER_SECOND}), left out: {len(bench.left_out)}')


class Bench:
    """Everything that is measured, within the time that the user gives.

    Args:
        args: The arguments of the command.
        folder: Where images and outputs are written.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.device = args, folder, args.device
        self.end = time.monotonic() + 60 * args.minutes
        self.left_out: list[str] = []
        self.side = 96 if args.tiny else 1024
        self.data = args.data or write_images(folder, self.side, 2 if args.tiny else 8)
        self.batches = (1,) if args.tiny else (2, 8, 16)
        self.n_steps = 1 if args.tiny else 10

    def run(self, name: str, measure: Callable[[], object]) -> object:
        """Measures, unless the time is over or the memory is too small: then the name is left out."""
        if time.monotonic() > self.end:
            self.left_out.append(f'{name}: no time')
            return None
        try:
            return measure()
        except torch.cuda.OutOfMemoryError:
            self.left_out.append(f'{name}: out of memory')
            return None
        finally:
            if self.device == 'cuda':
                torch.cuda.empty_cache()

    def run_all(self, name: str, measure: Callable[..., dict], settings: list[tuple]) -> list[dict]:
        """Measures all settings, in their order, for which there is time and memory."""
        rows = [self.run(f'{name} {setting}', partial(measure, *setting)) for setting in settings]
        return [row for row in rows if row is not None]

    def measure_training(self) -> list[dict]:
        """Measures steps with all precisions, memory formats and batches; the most useful settings come first."""
        precisions = ['bfloat16', 'tf32', 'float16', 'float32'] if self.device == 'cuda' else ['float32', 'bfloat16']
        settings = [(batch, precision, is_last) for batch in self.batches for precision in precisions
                    for is_last in (True, False)]
        return self.run_all('training', self.measure_steps, settings)

    def measure_steps(self, batch_size: int, precision: str, channels_last: bool) -> dict:
        """Returns the seconds of whole steps without loading, and the peak memory of the device."""
        with training_precision(precision):
            step = self.make_step(batch_size, precision, channels_last)
            for _ in range(1 if self.args.tiny else 3):
                step()
            if self.device == 'cuda':
                torch.cuda.reset_peak_memory_stats()
            times = [self.seconds(step) for _ in range(self.n_steps)]
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.device == 'cuda' else None
        steps_per_second = 1 / float(np.median(times))
        return dict(batch=batch_size, precision=precision, channels_last=channels_last, seconds_per_step=spread(times),
                    steps_per_second=steps_per_second, images_per_second=batch_size * steps_per_second, peak_mib=peak)

    def measure_parts(self) -> dict:
        """Returns the median seconds of each part of a step. Parts are waited for one by one, which slows the step."""
        precision = 'bfloat16' if self.device == 'cuda' else 'float32'
        with training_precision(precision):
            step = self.make_step(self.batches[0], precision, True)
            step()
            clocks = []
            for _ in range(self.n_steps):
                clock = PartClock(synchronize=torch.cuda.synchronize if self.device == 'cuda' else None)
                with watched_calls(clock, mmdetection_parts(step.model)), clock.whole():
                    step(clock)
                clocks.append(clock.seconds)
        return {part: spread([seconds.get(part, 0.) for seconds in clocks]) for part in clocks[0]}

    def count_host_waits(self) -> int | None:
        """Returns how often a step waits for the GPU, in torch's own count; None on the CPU."""
        if self.device == 'cpu':
            return None
        step = self.make_step(self.batches[0], 'bfloat16', True)
        with training_precision('bfloat16'):
            step()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                torch.cuda.set_sync_debug_mode('warn')
                try:
                    step()
                finally:
                    torch.cuda.set_sync_debug_mode('default')
        return sum('synchronizing' in str(warning.message) for warning in caught)

    def make_step(self, batch_size: int, precision: str, channels_last: bool) -> 'TrainingStep':
        """Returns a training step on one fixed batch of crops of the training images."""
        model = make_model(self.args.tiny, self.args.cells).to(self.device).train()
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        loader = make_loader(self.data, batch_size, 0, self.device)
        return TrainingStep(model, next(iter(loader)), precision, self.device)

    def measure_prediction(self) -> list[dict]:
        """Measures predictions from files to files with several precisions and batches of tiles."""
        dtypes = [torch.bfloat16, None] if self.device == 'cuda' else [None]
        settings = [(dtype, tiles) for dtype in dtypes for tiles in ((1,) if self.args.tiny else (8, 4, 16))]
        return self.run_all('prediction', self.measure_images, settings)

    def measure_images(self, dtype: torch.dtype | None, batch_tiles: int) -> dict:
        """Predicts TIFF files as tools/predict.py does: reading, network, RLE and writing are part of the time."""
        from mmcell.inference.image_jobs import ImageJob
        from mmcell.inference.many_images import predict_images
        from mmcell.inference.predictor import Predictor
        from mmcell.models.precision import set_precision
        side, n_images = (128, 2) if self.args.tiny else (2048, 4)
        paths = [write_tiff(self.folder / f'predict_{i}.tif', side, i) for i in range(n_images)]
        model = make_model(self.args.tiny, self.args.cells).to(self.device).to(memory_format=torch.channels_last).eval()
        if dtype is not None:
            set_precision(model, dtype)
        options = dict(tile_px=64, overlap_px=16) if self.args.tiny else dict(tile_px=1024, overlap_px=64)
        predictor = Predictor(model, batch_size=batch_tiles, **options)
        n_cells = []

        def work() -> None:
            with tempfile.TemporaryDirectory(dir=self.folder) as out:
                job = ImageJob(predictor, ('coco',), Path(out), 'rgb', None)
                outcomes = predict_images([(path, path.stem) for path in paths], job, False, 0, 1)
                failures = [outcome.message for outcome in outcomes if outcome.status != 'done']
                if failures:
                    raise MmcellError('\n'.join(failures))
                n_cells.append(sum(outcome.n_cells for outcome in outcomes))
        work()
        times = [self.seconds(work) for _ in range(1 if self.args.tiny else 3)]
        megapixels = n_images * side**2 / 1e6
        return dict(precision=str(dtype or torch.float32).removeprefix('torch.'), tiles_per_batch=batch_tiles,
                    tile_px=options['tile_px'], cells=n_cells[-1], megapixels=megapixels,
                    megapixels_per_second=spread([megapixels / t for t in times]))

    def measure_loading(self) -> list[dict]:
        """Measures how many crops per second the loader delivers, by its number of workers."""
        n_workers = (0,) if self.args.tiny else (0, 2, 4, 8)
        return self.run_all('loading', self.measure_loader, [(n,) for n in n_workers if n <= (os.cpu_count() or 1)])

    def measure_loader(self, n_workers: int) -> dict:
        """Returns the crops per second of one pass, after a first batch that starts the workers."""
        batches = iter(make_loader(self.data, 2 if self.args.tiny else 8, n_workers, self.device,
                                   4 if self.args.tiny else 320))
        next(batches)
        start, n_images = time.perf_counter(), sum(len(batch['inputs']) for batch in batches)
        return dict(workers=n_workers, images_per_second=n_images / (time.perf_counter() - start))

    def seconds(self, work: Callable[[], object]) -> float:
        """Returns the seconds of one call, until the device has finished."""
        synchronize = torch.cuda.synchronize if self.device == 'cuda' else lambda: None
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        return time.perf_counter() - start


class TrainingStep:
    """One step of training on a fixed batch: transfer, forward, backward and a fused AdamW.

    Args:
        model: The detector on its device.
        batch: What the loader returns.
        precision: A key of ``AUTOCAST``.
        device: 'cuda' or 'cpu'.
    """

    def __init__(self, model: nn.Module, batch: dict, precision: str, device: str) -> None:
        self.model, self.batch, self.dtype, self.device = model, batch, AUTOCAST[precision], device
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
        self.scaler = torch.amp.GradScaler(device, enabled=precision == 'float16')

    def __call__(self, clock: PartClock | None = None) -> None:
        """Makes a step; with a clock, backward pass and update are parts of it."""
        batch = self.model.data_preprocessor(
            dict(inputs=self.batch['inputs'], data_samples=[s.clone() for s in self.batch['data_samples']]), True)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            losses = self.model(**batch, mode='loss')
        total, _ = self.model.parse_losses(losses)
        clock = clock or PartClock()
        with clock.part('backward'):
            self.scaler.scale(total).backward()
        with clock.part('optimizer'):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()


@contextmanager
def training_precision(precision: str) -> Iterator[None]:
    """Uses TF32 for products and convolutions, except inside a block that measures 'float32'."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision('highest' if precision == 'float32' else 'high')
    torch.backends.cudnn.allow_tf32 = precision != 'float32'
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def make_model(tiny: bool, n_cells: int) -> nn.Module:
    """Builds the baseline, or the small model of the demo, with random weights and a limit of ``n_cells`` cells."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    cfg = Config.fromfile(CONFIGS / ('mask-rcnn_r18_demo.py' if tiny else 'mask-rcnn_r50.py'))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.update(init_cfg=None)
    cfg.model.data_preprocessor.non_blocking = True
    cfg.model.test_cfg.rcnn.update(score_thr=0., max_per_img=min(n_cells, 20) if tiny else n_cells)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    # Every mask has pixels. Cells without a pixel would be left out.
    nn.init.ones_(model.roi_head.mask_head.conv_logits.bias)
    model.cfg, model.dataset_meta = cfg, dict(classes=tuple(CLASSES), channel_order='rgb')
    return model


def make_loader(ann_file: Path, batch_size: int, n_workers: int, device: str, n_images: int | None = None) -> object:
    """Returns a loader of crops of the training images, with the pipeline of the baseline."""
    from mmdet.registry import DATASETS
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader, RandomSampler
    cfg = Config.fromfile(CONFIGS / 'mask-rcnn_r50.py')
    dataset = DATASETS.build(cfg.train_dataloader.dataset | dict(ann_file=str(Path(ann_file).resolve())))
    sampler = RandomSampler(dataset, replacement=True, num_samples=n_images or batch_size,
                            generator=torch.Generator().manual_seed(0))
    return DataLoader(dataset, batch_size, sampler=sampler, num_workers=n_workers, collate_fn=pseudo_collate,
                      pin_memory=device == 'cuda')


def write_tiff(path: Path, side: int, seed: int) -> Path:
    """Writes a square image of noise around dark discs, as a tiled and compressed TIFF."""
    pixels = np.random.default_rng(seed).integers(120, 256, (side, side, 3), np.uint8)
    pixels[grid_of_discs(side, max(side // 32, 2)) > 0] //= 2
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(256, 256), compression='lzw')
    return path


def write_images(folder: Path, side: int, n_images: int) -> Path:
    """Writes synthetic images with their annotation file, and returns the path of the file."""
    images, annotations = [], []
    rles = encode_label_map(grid_of_discs(side, max(side // 32, 2)))
    for i in range(n_images):
        write_tiff(folder / f'train_{i}.tif', side, i)
        images.append(dict(id=i + 1, file_name=f'train_{i}.tif', height=side, width=side))
        annotations += [dict(id=len(annotations) + j + 1, image_id=i + 1, category_id=j % 4 + 1, iscrowd=0,
                             segmentation=rle, area=int(area), bbox=bbox)
                        for j, (rle, area, bbox) in enumerate(zip(
                            rles.rles, rles.areas_px.tolist(), rles.bboxes_xywh.tolist(), strict=True))]
    path = folder / 'train.json'
    path.write_text(json.dumps(dict(info=dict(data_root='.'), images=images, categories=categories(CLASSES),
                                    annotations=annotations)))
    return path


def describe_environment(device: str) -> dict:
    """Returns the names and versions of the hardware and software on which the numbers depend."""
    environment = dict(device=platform.processor() or platform.machine(), cores=os.cpu_count(),
                       threads=torch.get_num_threads(), python=platform.python_version(), torch=torch.__version__)
    if device == 'cuda':
        query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        environment.update(device=torch.cuda.get_device_name(), cuda=torch.version.cuda,
                           cudnn=torch.backends.cudnn.version(),
                           driver=subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip())
    return environment


def spread(values: list[float]) -> dict[str, float]:
    """Returns the median, the least and the greatest of some numbers, and how many there are."""
    return dict(median=float(np.median(values)), min=min(values), max=max(values), n=len(values))


if __name__ == '__main__':
    main()
