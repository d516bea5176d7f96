"""Measures memory, open files and processes of the conversion and the prediction of many small images.

    python benchmarks/many_images.py                # 10,000 images of 64 x 64 px
    python benchmarks/many_images.py --images 1000

The detector is tiny and has random weights. Nothing may grow with the number of images but what is known of each: the
result, printed as JSON, has means over the second and the last tenth of each command's time.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from huge_image import discs, write_checkpoint

REPO = Path(__file__).resolve().parents[1]
SECONDS_PER_SAMPLE = .2
PAGE = os.sysconf('SC_PAGE_SIZE')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=10_000, help='number of images (default: 10000)')
    parser.add_argument('--side', type=int, default=64, help='side of the square images in px (default: 64)')
    parser.add_argument('--jobs', type=int, default=2, help='processes of the conversion (default: 2)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / 'raw', args.images, args.side)
        checkpoint = write_checkpoint(folder / 'tiny.pth')
        conversion = watch(['data_prep/to_coco.py', folder / 'raw', '--layout', 'label-maps', '--out',
                            folder / 'annotations', '--jobs', args.jobs])
        prediction = watch(['tools/predict.py', checkpoint, folder / 'raw' / 'train' / 'images', '--out',
                            folder / 'out', '--formats', 'labels', 'csv', '--score-thr', 0, '--no-amp'])
        print(json.dumps({'images': args.images, 'side_px': args.side, 'conversion': conversion,
                          'prediction': prediction}))


def write_images(folder: Path, n_images: int, side: int) -> None:
    """Writes images with discs, and label maps of the discs, as PNG."""
    for part in ('images', 'masks'):
        (folder / 'train' / part).mkdir(parents=True)
    pattern = discs()[0][:side, :side]
    _, label_map = cv2.connectedComponents((pattern.min(2) < 140).astype(np.uint8))
    for index in range(n_images):
        image = np.roll(pattern, index, axis=1)
        cv2.imwrite(str(folder / 'train' / 'images' / f'{index:05}.png'), image)
        cv2.imwrite(str(folder / 'train' / 'masks' / f'{index:05}.png'), label_map.astype(np.uint16))


def watch(command: list) -> dict:
    """Runs a command, and measures it and the processes that it starts.

    Returns:
        'seconds'; and the means at its begin and its end of 'memory_mib', in which shared pages count once for each
        process, 'open_files' and 'processes'.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=REPO, stdout=subprocess.DEVNULL,
                               env={**os.environ, 'OMP_NUM_THREADS': '1'})
    samples = []
    while process.poll() is None:
        samples.append(look_at(process.pid))
        time.sleep(SECONDS_PER_SAMPLE)
    if process.returncode:
        raise SystemExit(f'{" ".join(map(str, command))} failed')
    values, tenth = np.array(samples, float), max(len(samples) // 10, 1)
    begin, end = values[tenth:2 * tenth].mean(0), values[-tenth:].mean(0)
    means = np.stack([begin, end], axis=1).round(1).tolist()
    return {'seconds': round(time.perf_counter() - start, 1),
            **dict(zip(('memory_mib', 'open_files', 'processes'), means, strict=True))}


def look_at(process_id: int) -> tuple[float, int, int]:
    """Returns the memory in MiB, the open files and the number of a process and of its descendants."""
    memory, n_files, n_processes, waiting = 0., 0, 0, [process_id]
    while waiting:
        folder = Path(f'/proc/{waiting.pop()}')
        try:
            memory += int((folder / 'statm').read_text().split()[1]) * PAGE / 2 ** 20
            n_files += len(list((folder / 'fd').iterdir()))
            for task in (folder / 'task').iterdir():
                waiting += map(int, (task / 'children').read_text().split())
        except OSError:  # it has just ended
            continue
        n_processes += 1
    return memory, n_files, n_processes


if __name__ == '__main__':
    main()
