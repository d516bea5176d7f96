"""Compares training with mmcell, with torchvision's reference Mask R-CNN and with MMDetection's own classes ("stock").

All three have the same weights, images, crops, flips, batches and optimizer, and take turns in one run, on one thread
and without workers, so that a step contains the loading of its images. torchvision loads as its references/detection
do: one bitmap per cell, made by pycocotools. Stock has MMDetection's loader, bitmaps, assigner, RoI head and mask head.
Images are not resized. Each configuration prints one table: seconds per step (median and range, also of the time that
the processor spent on this process, which other work on the machine changes less), images per second, the ratio to
mmcell in the same round (median and range), and by how much the memory grows at most in a step.

The losses of the first round are compared. In it, the samplers take the first boxes in place of random ones. mmcell
and torchvision compute the same losses. Stock's mask loss differs, because MMDetection rounds targets to 0 and 1, and
so does its RPN's box loss, because MMDetection gives an anchor that is the best of several cells to the last of them,
and torchvision to the nearest.

With --profile, the time of a step is also divided among its parts. On one CPU thread, parts are measured in time of the
processor. With --predict, the parts of a prediction are measured. With --epoch, whole epochs of an annotation file are
trained and validated.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from _epochs import print_epochs
from _measure import call_with_peak, use_memory_of
from _models import N_DETECTIONS
from _parts import PartClock, watched_calls
from _step_tables import (
    TOLERANCES,
    Step,
    format_losses,
    format_parts,
    format_steps,
    median_of_parts,
    refuse_other_losses,
)
from _trainees import KINDS, Trainee, first_candidates, make_trainee
from _validation import predict, test_samples

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.layouts.class_maps import find_train_folders, read_train_image
from mmcell.masks.rle import bboxes_xywh

EXAMPLE = """example:
  python benchmarks/training.py --consep CONSEP
  python benchmarks/training.py --consep CONSEP --inputs whole --batch 1 --profile
  python benchmarks/training.py --consep CONSEP --predict
  python benchmarks/training.py --epoch annotations/train.json annotations/val.json --images 4
"""
INPUTS = ('crops', 'whole')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--consep', type=Path, metavar='DIR', help='raw folder of CoNSeP, whose training image with '
                        'the number of cells that is nearest to 850, and the following ones, are trained')
    source.add_argument('--epoch', type=Path, nargs=2, metavar=('TRAIN', 'VAL'),
                        help='annotation files of which whole epochs are trained and validated, in place of steps')
    parser.add_argument('--images', type=int, metavar='N',
                        help='with --epoch: train N images and validate a quarter as many (default: all)')
    parser.add_argument('--workers', type=int, default=2, help='with --epoch: workers of the loaders (default: 2)')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, help='which kinds are measured (default: '
                        'all)')
    parser.add_argument('--inputs', nargs='+', choices=INPUTS, default=INPUTS,
                        help='crops of 512 px, whole images, or both (default: both)')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 2], help='images per step (default: 1 2)')
    parser.add_argument('--precision', choices=tuple(TOLERANCES), default='fp32',
                        help='bf16 is automatic mixed precision with bfloat16 (default: fp32)')
    parser.add_argument('--rounds', type=int, default=2, help='how often each kind is timed (default: 2)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='(default: cpu)')
    parser.add_argument('--profile', action='store_true',
                        help='print also the time of each part of a step')
    parser.add_argument('--predict', action='store_true',
                        help='measure the parts of a prediction of the first image, whole, in place of steps')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_threads(args.threads)
    logging.disable(logging.INFO)
    warnings.filterwarnings('ignore')
    with tempfile.TemporaryDirectory() as folder:
        if args.epoch is not None:
            print_epochs(*args.epoch, args.kinds, args.images, args.inputs, args.batch, args.workers, args.precision,
                         args.device, Path(folder))
            return
        records = read_consep(args.consep)
        print(f'{os.cpu_count()} cores, {args.threads} thread(s), {args.device}, {args.precision}, torch '
              f'{torch.__version__}, {args.rounds} round(s); first image: {len(records[0]["instances"])} cells')
        if args.predict:
            setting = Setting(records, False, 1, args.precision, args.device, args.threads)
            print_predictions(args.kinds, setting, args.rounds)
            return
        for inputs in args.inputs:
            for batch_size in args.batch:
                setting = Setting(records, inputs == 'crops', batch_size, args.precision, args.device, args.threads)
                print_comparison(f'{inputs}, batch {batch_size}, {args.precision}', args.kinds, setting, args.rounds,
                                 args.profile)


def use_threads(n_threads: int) -> None:
    """Sets the threads of torch; OpenCV gets none beside the calling thread."""
    import cv2
    torch.set_num_threads(n_threads)
    cv2.setNumThreads(0)


@dataclass(frozen=True)
class Setting:
    """What a step consists of.

    Attributes:
        records: One dict per image, as ``CellDataset.get_data_info`` returns it.
        crops: Whether the samples are crops of 512 px; otherwise they are whole images.
        batch_size: Images per step.
        precision: 'fp32' or 'bf16'.
        device: 'cpu' or 'cuda'.
        n_threads: Threads of torch.
    """

    records: list[dict]
    crops: bool
    batch_size: int
    precision: str
    device: str
    n_threads: int

    def make_trainee(self, kind: str) -> Trainee:
        """Builds the contestant of a kind."""
        return make_trainee(kind, self.records, self.crops, self.precision, self.device)

    def make_clock(self) -> PartClock:
        """Returns a clock that counts the processor's time on one CPU thread, and otherwise the time of day."""
        if self.device == 'cuda':
            return PartClock(synchronize=torch.cuda.synchronize)
        return PartClock(time.process_time if self.n_threads == 1 else time.perf_counter)

    def numbers(self, step: int) -> range:
        """Returns the numbers of the samples of a step."""
        return range(step * self.batch_size, (step + 1) * self.batch_size)


def read_consep(consep: Path) -> list[dict]:
    """Returns a record per training image of CoNSeP; the image with the number of cells nearest to 850 comes first."""
    images = [read_train_image(path, consep) for path in find_train_folders(consep)]
    records = [to_record(image, consep) for image in images]
    first = min(range(len(records)), key=lambda index: abs(len(records[index]['instances']) - 850))
    return records[first:] + records[:first]


def to_record(image: AnnotatedImage, folder: Path) -> dict:
    """Returns what ``CellDataset.get_data_info`` returns for an image."""
    instances = [dict(bbox=[x, y, x + width, y + height], bbox_label=int(name.removeprefix('class')) - 1,
                      ignore_flag=0, mask=rle)
                 for name, cells in image.cells.items()
                 for rle, (x, y, width, height) in zip(cells.rles, bboxes_xywh(cells.rles).tolist(), strict=True)]
    return dict(img_path=str(folder / image.file_name), img_id=0, height=image.height, width=image.width,
                channel_order='rgb', scale_factor=(1., 1.), instances=instances)


def print_comparison(title: str, kinds: Sequence[str], setting: Setting, rounds: int, with_parts: bool) -> None:
    """Measures steps of all kinds in turn, and prints the losses of the first step and a table of the steps.

    With ``with_parts``, a table of the parts of a step follows.
    """
    trainees = {kind: setting.make_trainee(kind) for kind in kinds}
    steps = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind, trainee in trainees.items():
            step = measure_step(trainee, setting, number)
            steps[kind].append(step)
            print(f'{title}, round {number + 1}, {kind}: {step.seconds:.1f} s, {step.cpu_seconds:.1f} CPU s, '
                  f'{step.peak_mib:.0f} MiB', file=sys.stderr)
    losses = {kind: measured[0].losses for kind, measured in steps.items()}
    print(f'\n### {title}\n\n{format_losses(losses)}\n\n{format_steps(steps, setting.batch_size)}', flush=True)
    if with_parts:
        print('\n' + format_parts({kind: median_of_parts([step.parts for step in measured])
                                   for kind, measured in steps.items()}), flush=True)
    refuse_other_losses(losses, TOLERANCES[setting.precision])


def measure_step(trainee: Trainee, setting: Setting, number: int) -> Step:
    """Takes a step; in the first one, the samplers take the first boxes, so that losses can be compared."""
    torch.manual_seed(number)
    use_memory_of(trainee.kind)
    clock, times = setting.make_clock(), []

    def step() -> dict[str, float]:
        begin = time.perf_counter(), time.process_time()
        with watched_calls(clock, trainee.watched), clock.whole():
            losses = trainee.take_step(setting.numbers(number), clock)
        times.extend((time.perf_counter() - begin[0], time.process_time() - begin[1]))
        return losses

    with first_candidates(trainee) if number == 0 else nullcontext():
        # The first step needs the most memory. In the others, mmcell uses memory that its steps before have freed.
        losses, peak = call_with_peak(step, trims=number == 0) if setting.device == 'cpu' else call_with_gpu_peak(step)
    return Step(*times, peak, clock.seconds, losses)


def call_with_gpu_peak(work: Callable[[], object]) -> tuple[object, float]:
    """Calls a function; returns its result, and by how many MiB the memory of the GPU grew at most meanwhile."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = work()
    return result, (torch.cuda.max_memory_allocated() - before) / 2 ** 20


def print_predictions(kinds: Sequence[str], setting: Setting, rounds: int) -> None:
    """Prints the time of each part of the prediction of the first image, whole."""
    parts = {kind: [] for kind in kinds}
    trainees = {kind: setting.make_trainee(kind) for kind in kinds}
    for _ in range(rounds):
        for kind, trainee in trainees.items():
            parts[kind].append(profile_prediction(trainee, setting))
            print(f'prediction, {kind}: {sum(parts[kind][-1].values()):.1f} s', file=sys.stderr)
    print(f'\n### prediction of {N_DETECTIONS} detections, {setting.precision}\n\n'
          + format_parts({kind: median_of_parts(measured) for kind, measured in parts.items()}), flush=True)


def profile_prediction(trainee: Trainee, setting: Setting) -> dict[str, float]:
    """Returns the seconds of each part of the prediction of the first image, from the file to RLEs."""
    use_memory_of(trainee.kind)
    samples = test_samples(trainee.kind, setting.records)
    trainee.model.eval()
    clock = setting.make_clock()
    with watched_calls(clock, trainee.watched), clock.whole():
        with clock.part('loading'):
            batch = trainee.collate([samples[0]])
        predict(trainee, batch, setting.precision, setting.device)
    return clock.seconds


if __name__ == '__main__':
    main()
