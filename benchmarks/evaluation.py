"""COCO average precision of crowds: pycocotools and faster-coco-eval against mmcell, in turn, values compared."""

import argparse
import contextlib
import io
import os
from pathlib import Path

import numpy as np
from _measure import in_turn, use_one_thread
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster as FasterCOCOeval
from label_map_rle import grid_of_discs
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcell.annotations.coco_json import categories, train_records
from mmcell.annotations.raw_layout import TrainImage, find_train_folders, read_train_image
from mmcell.evaluation.average_precision import average_precisions
from mmcell.masks.rle import compress_counts, encode_label_map, foreground_pixels_of_all

EXAMPLE = """example:
  python benchmarks/evaluation.py --consep CONSEP
"""
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
    print(f"{os.cpu_count()} cores, one thread; {len(document['images'])} images, "
          f"{len(document['annotations'])} cells, {len(detections)} detections, cap {args.cap}, all sizes and COCO's "
          f'three; median of {args.rounds} rounds in turn (range of the ratio)')
    for kind in ('segm', 'bbox'):
        for name, reference in REFERENCES.items():
            print(f'{kind}: {measured(name, reference, document, detections, kind, args.cap, args.rounds)}', flush=True)


def measured(name: str, reference: tuple[type, type], document: dict, detections: list[dict], kind: str, cap: int,
             rounds: int) -> str:
    """One line: a reference against mmcell."""
    theirs, ours = {}, {}
    theirs_s, ours_s = in_turn(lambda: theirs.update(by_reference(*reference, document, detections, kind, [cap])),
                               lambda: ours.update(by_mmcell(document, detections, kind, [cap])), rounds)
    ratios = theirs_s / ours_s
    asked = f', asked {MIN_RATIO}x' if name == 'pycocotools' else ''
    return (f'{name} {np.median(theirs_s):.2f} s, mmcell {np.median(ours_s):.2f} s, '
            f'{np.median(ratios):.1f}x ({ratios.min():.1f}-{ratios.max():.1f}){asked}; '
            f'{len(ours)} values, largest difference {max_difference(theirs, ours):.1g}')


def by_mmcell(document: dict, detections: list[dict], kind: str, caps: list[int],
              size_bins_px: tuple[float, ...] = COCO_SIZE_BINS_PX) -> dict[str, float]:
    """Values by name."""
    return average_precisions(document, detections, kinds=[kind], caps=caps, size_bins_px=size_bins_px)


def by_reference(coco: type, coco_eval: type, document: dict, detections: list[dict], kind: str, caps: list[int],
                 size_bins_px: tuple[float, float] = COCO_SIZE_BINS_PX) -> dict[str, float]:
    """The same values from the tables of pycocotools, or of a package with its interface, under mmcell's names."""
    # Results with a box get its area, also for masks.
    key = {'segm': 'segmentation', 'bbox': 'bbox'}[kind]
    results = [{name: found[name] for name in ('image_id', 'category_id', 'score', key)} for found in detections]
    truth = coco()
    truth.dataset = {**document, 'annotations': [dict(annotation) for annotation in document['annotations']]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = coco_eval(truth, truth.loadRes(results), kind)
        evaluation.params.maxDets = caps
        small, large = size_bins_px
        evaluation.params.areaRng = [[0, 1e10], [0, small ** 2], [small ** 2, large ** 2], [large ** 2, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval['precision'], evaluation.eval['recall']
    class_names = [category['name'] for category in sorted(document['categories'], key=lambda category: category['id'])]
    sizes = [f'0-{small}px', f'{small}-{large}px', f'{large}px+']
    values = {}
    for name, table in (('AP', precision), ('AP50', precision[:1]), ('AP75', precision[5:6]), ('AR', recall)):
        for index, cap in enumerate(caps):
            parts = {'': table[..., 0, index]}
            parts.update((f'/{part}', table[..., k, 0, index]) for k, part in enumerate(class_names))
            parts.update((f'/{part}', table[..., a, index]) for a, part in enumerate(sizes, start=1))
            values.update((f"{'bbox_' * (kind == 'bbox')}{name}@{cap}{part}", mean_above(of_part))
                          for part, of_part in parts.items())
    return values


REFERENCES = {'pycocotools': (COCO, COCOeval), 'faster-coco-eval': (FasterCOCO, FasterCOCOeval)}


def mean_above(table: np.ndarray) -> float:
    """COCO's mean: of what is not -1; NaN where nothing is left."""
    return float(table[table > -1].mean()) if (table > -1).any() else float('nan')


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
        others = rng.choice([category['id'] for category in document['categories']], len(chosen))
        class_ids = np.where(rng.random(len(chosen)) < .1, others, [cell['category_id'] for cell in chosen])
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
