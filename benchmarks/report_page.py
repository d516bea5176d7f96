"""Measures the page of a report with hundreds of images: how large it is, and how soon it can be used.

The images are synthetic. Each has about 800 true and 800 predicted cells of irregular outline, and noise, which is hard
to compress. The page is opened in Chromium, as a file, several times. The times are those from the start of loading to
the end of loading, and to the moment when the first image and its cells are on the screen; each time Chromium is new.
The last times are those of a step of zooming and of a step of the score slider.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _browser import HOW_TO_INSTALL, open_browser

from mmcell.annotations.coco_json import categories
from mmcell.annotations.ground_truth import to_ground_truth
from mmcell.errors import MmcellError
from mmcell.evaluation.pairs import Pairs
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.cells import Predictions, join_predictions
from mmcell.reports.content import Report
from mmcell.reports.gallery import gallery_of
from mmcell.reports.page import render_page

EXAMPLE = """example:
  python benchmarks/report_page.py
"""
MAX_MB, MAX_SECONDS = 40, 3
N_CLASSES = 4
PITCH_PX = 34
# Resolves after the next picture of the page is on the screen.
NEXT_FRAME = 'new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))'
TIME_STEPS = f"""async ([id, event]) => {{
  const times = [];
  for (let step = 0; step < 10; step++) {{
    const start = performance.now();
    const element = document.getElementById(id);
    if (event === 'input') element.value = .3 + .04 * step;
    element.dispatchEvent(new Event(event));
    await {NEXT_FRAME};
    times.push(performance.now() - start);
  }}
  return times.sort((a, b) => a - b)[5];
}}"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=200, help='number of images (default: 200)')
    parser.add_argument('--side', type=int, default=1000, help='side of the images in px (default: 1000)')
    parser.add_argument('--rounds', type=int, default=5, help='how often the page is opened (default: 5)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='keep the page in this file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    pairs = synthetic_pairs(args.images, args.side)
    n_true, n_predicted = (len(side.rles) / args.images for side in (pairs.truth, pairs.predictions))
    start = time.perf_counter()
    pairs.overlaps  # noqa: B018 (an evaluation has them)
    gallery_start = time.perf_counter()
    gallery = gallery_of(['results'], [pairs], .5, lambda image: noisy_image(pairs, image))
    gallery_s = time.perf_counter() - gallery_start
    html = render_page(Report('Benchmark', '', [], [], gallery)).encode()
    print(f'{args.images} images of {args.side}x{args.side} px, each with {n_true:.0f} true and {n_predicted:.0f} '
          f'predicted cells\noverlaps: {gallery_start - start:.1f} s, gallery: {gallery_s:.1f} s\n'
          f'page: {len(html) / 1e6:.1f} MB, target {MAX_MB} MB', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = args.out or Path(folder) / 'page.html'
        path.write_bytes(html)
        times = np.array([open_page(path) for _ in range(args.rounds)])
    names = (f'loaded (target {MAX_SECONDS} s)', f'first image drawn (target {MAX_SECONDS} s)', 'one step of zoom',
             'one step of the slider')
    for name, column in zip(names, times.T, strict=True):
        print(f'{name}: {np.median(column):.2f} s (range {column.min():.2f}-{column.max():.2f})')


def open_page(path: Path) -> tuple[float, float, float, float]:
    """Returns the seconds until the page is loaded and the first image drawn, and for a step of zoom and slider."""
    with open_browser() as browser:
        if browser is None:
            raise MmcellError(f'there is no Chromium. Install it: {HOW_TO_INSTALL}')
        page = browser.new_page(viewport={'width': 1280, 'height': 900})
        start = time.perf_counter()
        page.goto(path.resolve().as_uri())
        loaded_s = time.perf_counter() - start
        page.locator('#gallery').scroll_into_view_if_needed()
        page.locator('#predicted-pane .cell').first.wait_for(state='attached')
        page.evaluate(NEXT_FRAME)
        drawn_s = time.perf_counter() - start
        page.locator('#viewer').scroll_into_view_if_needed()
        steps = [page.evaluate(TIME_STEPS, step) / 1000 for step in (['zoom-in', 'click'], ['threshold', 'input'])]
        return loaded_s, drawn_s, *steps


def synthetic_pairs(n_images: int, side: int) -> Pairs:
    """Returns irregular cells, and predictions that have other outlines; some cells are missed, some spurious."""
    rng = np.random.default_rng(0)
    images, annotations, predictions = [], [], []
    for image in range(n_images):
        images.append({'id': image, 'file_name': f'image_{image:04d}.tif', 'height': side, 'width': side})
        shapes = rng.normal(size=((side // PITCH_PX + 1) ** 2, 7))
        true, predicted = (encode_label_map(irregular_cells(side, each, rng)) for each in (
            shapes, shapes + rng.normal(scale=.25, size=shapes.shape)))
        annotations += [
            {'id': len(annotations) + number, 'image_id': image, 'category_id': cell % N_CLASSES + 1,
             'segmentation': rle, 'area': area, 'bbox': bbox, 'iscrowd': 0}
            for number, (cell, rle, area, bbox) in enumerate(zip(
                true.ids.tolist(), true.rles, true.areas_px.tolist(), true.bboxes_xywh.tolist(), strict=True), start=1)]
        n_predicted = len(predicted.rles)
        is_wrong = rng.random(n_predicted) < .1
        predictions.append(Predictions(
            np.full(n_predicted, image), (predicted.ids + is_wrong) % N_CLASSES,
            rng.random(n_predicted).astype(np.float32).astype(float), predicted.bboxes_xywh, predicted.rles))
    document = {'images': images, 'annotations': annotations,
                'categories': categories([f'class {number}' for number in range(1, N_CLASSES + 1)])}
    return Pairs(to_ground_truth(document), join_predictions(predictions))


def irregular_cells(side: int, shapes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a label map with one cell per square of a grid; a few squares stay empty.

    Args:
        side: Height and width of the map in px.
        shapes: (N, 7) random numbers: position, size, and three waves of the outline of each cell.
        rng: Decides which cells are left out.
    """
    squares = np.arange(side) // PITCH_PX
    n_per_row = squares[-1] + 1
    cell = squares[:, None] * n_per_row + squares
    x_shift, y_shift, size, *waves = shapes[cell].transpose(2, 0, 1)
    centre = squares * PITCH_PX + PITCH_PX / 2
    dx, dy = np.arange(side) - centre - 2 * x_shift, (np.arange(side) - centre)[:, None] - 2 * y_shift
    angle = np.arctan2(dy, dx)
    outline = 1 + sum(.06 * wave * np.cos((number + 2) * angle + wave) for number, wave in enumerate(waves))
    is_kept = rng.random(n_per_row ** 2) < .95
    return np.where((np.hypot(dx, dy) < (10 + size) * outline) & is_kept[cell], cell + 1, 0).astype(np.int32)


def noisy_image(pairs: Pairs, image: int) -> np.ndarray:
    """Returns an image, (H, W, 3) uint8 RGB, of noise at several scales."""
    height, width = pairs.truth.sizes[image]
    rng = np.random.default_rng(image)
    pixels = np.tile([200., 160., 190.], (height, width, 1))
    for size in (1, 4, 16):
        coarse = rng.normal(scale=12, size=(-(-height // size), -(-width // size), 3))
        pixels += np.kron(coarse, np.ones((size, size, 1)))[:height, :width]
    return pixels.clip(0, 255).astype(np.uint8)


if __name__ == '__main__':
    main()
