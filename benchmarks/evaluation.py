"""COCO average precision of crowded images: pycocotools against mmcell, in turn in one run, values compared."""

import argparse
import contextlib
import io
import os
from pathlib import Path

import numpy as np
from _measure import in_turn, use_one_thread
from label_map_rle import grid_of_discs
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcell.coco_json import categories, train_records
from mmcell.evaluation.average_precision import average_precisions
from mmcell.raw_layout import TrainImage, find_train_folders, read_train_image
from mmcell.rle import compress_counts, encode_label_map, foreground_pixels_of_all

EXAMPLE = """example:
  python benchmarks/evaluation.py --consep CONSEP
"""
# pycocotools' own sizes.
COCO_SIZE_BINS_PX = (32, 96)
MIN_RATIO = 50


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP: its training images (default: three synthetic images)')
    parser.add_argument('--detections', type=int, default=1000, help='detections an image (default: 1000)')
    parser.add_argument('--cap', type=int, default=1000,
                        help='detections of a class in an image that count (default: 1000)')
    parser.add_argument('--rounds', type=int, default=2, help='rounds, each method once a round (default: 2)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    document = synthetic_document() if args.consep is None else consep_document(args.consep)
    detections = perturbed_detections(document, np.random.default_rng(0), args.detections)
    print(f"{os.cpu_count()} cores, one thread; {len(document['images'])} images, {len(document['annotations'])} cells, "
          f'{len(detections)} detections, cap {args.cap}, {args.rounds} rounds in turn')
    for kind in ('segm', 'bbox'):
        print_row(document, detections, kind, args.cap, args.rounds)


def print_row(document: dict, detections: list[dict], kind: str, cap: int, rounds: int) -> None:
    """Measures and prints masks or boxes."""
    theirs, ours = {}, {}
    times = in_turn(lambda: theirs.update(by_pycocotools(document, detections, kind, [cap])),
                    lambda: ours.update(by_mmcell(document, detections, kind, [cap])), rounds)
    pycocotools_s, mmcell_s = times
    ratios = pycocotools_s / mmcell_s
    difference = max_difference(theirs, ours)
    print(f'{kind}: pycocotools {np.median(pycocotools_s):.1f} s, mmcell {np.median(mmcell_s):.2f} s, '
          f'{np.median(ratios):.0f}x ({ratios.min():.0f}-{ratios.max():.0f}), asked {MIN_RATIO}x; '
          f'{len(ours)} values, largest difference {difference:.1g}', flush=True)


def by_mmcell(document: dict, detections: list[dict], kind: str, caps: list[int]) -> dict[str, float]:
    """Values by name."""
    return average_precisions(document, detections, kinds=[kind], caps=caps, size_bins_px=COCO_SIZE_BINS_PX)


def by_pycocotools(document: dict, detections: list[dict], kind: str, caps: list[int]) -> dict[str, float]:
    """The same values from pycocotools' tables, under mmcell's names."""
    # Results with a box get its area, also for masks.
    key = {'segm': 'segmentation', 'bbox': 'bbox'}[kind]
    results = [{name: found[name] for name in ('image_id', 'category_id', 'score', key)} for found in detections]
    truth = COCO()
    truth.dataset = {**document, 'annotations': [dict(annotation) for annotation in document['annotations']]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.params.maxDets = caps
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval['precision'], evaluation.eval['recall']
    names = [category['name'] for category in sorted(document['categories'], key=lambda category: category['id'])]
    values = {}
    for m, cap in enumerate(caps):
        for name, table in (('AP', precision), ('AP50', precision[:1]), ('AP75', precision[5:6]), ('AR', recall)):
            name = f"{'bbox_' if kind == 'bbox' else ''}{name}@{cap}"
            parts = {'': table[..., 0, m], **{f'/{part}': table[..., k, 0, m] for k, part in enumerate(names)},
                     **{f'/{part}': table[..., a, m] for a, part in enumerate(('0-32px', '32-96px', '96px+'), 1)}}
            values.update((name + part, of_part[of_part > -1].mean() if (of_part > -1).any() else np.nan)
                          for part, of_part in parts.items())
    return values


def max_difference(theirs: dict[str, float], ours: dict[str, float]) -> float:
    """Largest absolute difference; NaN agrees with NaN alone, and names must be the same."""
    if theirs.keys() != ours.keys() or any(np.isnan(theirs[name]) != np.isnan(ours[name]) for name in theirs):
        return float('inf')
    return float(np.nanmax([abs(theirs[name] - ours[name]) for name in theirs]))


def consep_document(root: Path) -> dict:
    """Annotations of the training images."""
    return document_of([read_train_image(folder, root) for folder in find_train_folders(root)])


def synthetic_document() -> dict:
    """Three images of 600x600 with 400 discs, every second one of each of two classes."""
    discs = grid_of_discs(600, 20)
    by_class = {number: encode_label_map(np.where(discs % 2 == number - 1, discs, 0)) for number in (1, 2)}
    return document_of([TrainImage(f'{index}.tif', *discs.shape, by_class) for index in range(3)])


def document_of(images: list[TrainImage]) -> dict:
    """COCO ground truth of encoded images."""
    records, annotations = train_records(images)
    largest = max(annotation['category_id'] for annotation in annotations)
    return {'images': records, 'annotations': annotations,
            'categories': categories([f'class{number}' for number in range(1, largest + 1)])}


def perturbed_detections(document: dict, rng: np.random.Generator, n_per_image: int) -> list[dict]:
    """True cells drawn at random, moved up to 3 px, a tenth of another class, with random scores of two digits.

    Cells are drawn with replacement where there are fewer, so that some are found twice and others not at all. Scores
    are equal now and then.
    """
    detections = []
    for image in document['images']:
        cells = [cell for cell in document['annotations'] if cell['image_id'] == image['id']]
        if not cells:
            continue
        chosen = [cells[index] for index in rng.choice(len(cells), n_per_image, replace=len(cells) < n_per_image)]
        rles = moved([cell['segmentation'] for cell in chosen], rng.integers(-3, 4, (len(chosen), 2)))
        class_ids = np.where(rng.random(len(chosen)) < .1, rng.integers(1, len(document['categories']) + 1, len(chosen)),
                             [cell['category_id'] for cell in chosen])
        bboxes = np.array([cell['bbox'] for cell in chosen]) + rng.integers(0, 3, (len(chosen), 4))
        detections += [
            {'image_id': image['id'], 'category_id': class_id, 'score': score, 'bbox': bbox, 'segmentation': rle}
            for class_id, score, bbox, rle in zip(class_ids.tolist(), rng.random(len(chosen)).round(2).tolist(),
                                                  bboxes.astype(float).tolist(), rles, strict=True)]
    return detections


def moved(rles: list[dict], shifts_px: np.ndarray) -> list[dict]:
    """RLEs of one size moved by (N, 2) x and y; what leaves the image is cut off."""
    height, width = rles[0]['size']
    positions, areas = foreground_pixels_of_all(rles)
    owner = np.repeat(np.arange(len(rles)), areas)
    x, y = np.divmod(positions, height)
    x, y = x + shifts_px[owner, 0], y + shifts_px[owner, 1]
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # One long row of all images: an instance is a stretch of it.
    positions = (owner * width + x)[is_inside] * height + y[is_inside]
    pieces = np.split(positions, np.searchsorted(positions, np.arange(1, len(rles)) * height * width))
    counts = [run_lengths(piece - index * height * width, height * width) for index, piece in enumerate(pieces)]
    texts = compress_counts(np.concatenate(counts), np.array([len(count) for count in counts]))
    return [{'size': [height, width], 'counts': text} for text in texts]


def run_lengths(positions: np.ndarray, n_pixels: int) -> np.ndarray:
    """Lengths of background and foreground in turn, from sorted positions of foreground pixels."""
    is_first = np.diff(positions, prepend=-2) > 1
    is_last = np.diff(positions, append=n_pixels + 1) > 1
    edges = np.stack([positions[is_first], positions[is_last] + 1], axis=1).reshape(-1)
    lengths = np.diff(edges, prepend=0, append=n_pixels)
    return lengths[:-1] if lengths[-1] == 0 else lengths


if __name__ == '__main__':
    main()
