"""Compares mmcell with other evaluators: COCO average precision on images with hundreds of cells.

Each of the packages and mmcell are called in alternation in one process, with one thread, on the same annotations and
detections in memory. For masks and for boxes, one line per package shows the CPU seconds of the two, their ratio, and
the largest difference between the values.
"""

import argparse
import contextlib
import importlib
import io
import os
from itertools import chain
from pathlib import Path

import numpy as np
from _measure import cpu_seconds, time_alternately, use_one_thread
from label_map_rle import grid_of_discs

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.annotations.coco_json import categories, to_records
from mmcell.annotations.ground_truth import to_ground_truth
from mmcell.evaluation.average_precision import average_precisions
from mmcell.evaluation.pairs import Pairs
from mmcell.layouts.class_maps import find_train_folders, read_train_image
from mmcell.masks.rle import encode_label_map, encode_runs, foreground_pixels_of_all
from mmcell.predictions.cells import Predictions, join_predictions
from mmcell.ragged import groups_of

EXAMPLE = """example:
  python benchmarks/evaluation.py --consep CONSEP
  python benchmarks/evaluation.py --consep CONSEP --against ultrafast-pycocotools --rounds 11
"""
# Where each package has its classes COCO and COCOeval.
PACKAGES = {'pycocotools': (('pycocotools.coco', 'COCO'), ('pycocotools.cocoeval', 'COCOeval')),
            'faster-coco-eval': (('faster_coco_eval', 'COCO'), ('faster_coco_eval', 'COCOeval_faster')),
            'ultrafast-pycocotools': (('ultrafast_pycocotools', 'COCO'), ('ultrafast_pycocotools', 'COCOeval'))}
COCO_SIZE_BINS_PX = (32, 96)
MIN_RATIO = 50


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--consep', type=Path, metavar='DIR',
                        help='raw folder of CoNSeP, to measure its training images (default: three synthetic images)')
    parser.add_argument('--against', choices=PACKAGES, nargs='+', default=list(PACKAGES)[:2], metavar='PACKAGE',
                        help=f"packages to compare with: {', '.join(PACKAGES)} (default: the first two, which mmcell "
                             'depends on; the other one must be installed)')
    parser.add_argument('--detections', type=int, default=1000, help='detections per image (default: 1000)')
    parser.add_argument('--cap', type=int, default=1000,
                        help='how many detections count per image and class (default: 1000)')
    parser.add_argument('--rounds', type=int, default=2, help='how often each method is timed (default: 2)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ['RAYON_NUM_THREADS'] = '1'  # ultrafast-pycocotools reads it when it is used for the first time
    use_one_thread()
    references = {name: load_reference(name) for name in args.against}
    document = synthetic_document() if args.consep is None else consep_document(args.consep)
    detections = perturbed_detections(document, np.random.default_rng(0), args.detections)
    print(f"{os.cpu_count()} cores, one thread; {len(document['images'])} images, "
          f"{len(document['annotations'])} cells, {len(detections)} detections, cap {args.cap}, all sizes and COCO's "
          f'three; CPU seconds, median of {args.rounds} rounds in alternation (range of the ratio)')
    for kind in ('segm', 'bbox'):
        for name, reference in references.items():
            print(f'{kind}: {compare(name, reference, document, detections, kind, args.cap, args.rounds)}', flush=True)


def compare(name: str, reference: tuple[type, type], document: dict, detections: list[dict], kind: str, cap: int,
            rounds: int) -> str:
    """Measures a reference and mmcell, and returns the line that compares them."""
    theirs, ours = {}, {}
    theirs_s, ours_s = time_alternately(
        lambda: theirs.update(by_reference(*reference, document, detections, kind, [cap])),
        lambda: ours.update(by_mmcell(document, detections, kind, [cap])), rounds, cpu_seconds)
    ratios = theirs_s / ours_s
    target = f', target {MIN_RATIO}x' if name == 'pycocotools' else ''
    return (f'{name} {np.median(theirs_s):.3f} s, mmcell {np.median(ours_s):.3f} s, '
            f'{np.median(ratios):.1f}x ({ratios.min():.1f}-{ratios.max():.1f}){target}; '
            f'{len(ours)} values, largest difference {max_difference(theirs, ours):.1g}')


def load_reference(package: str) -> tuple[type, type]:
    """Returns the classes COCO and COCOeval of a package."""
    try:
        return tuple(getattr(importlib.import_module(module), name) for module, name in PACKAGES[package])
    except ImportError as error:
        raise SystemExit(f'{error}; install it with: pip install {package}') from error


def by_mmcell(document: dict, detections: list[dict], kind: str, caps: list[int],
              size_bins_px: tuple[float, ...] = COCO_SIZE_BINS_PX) -> dict[str, float]:
    """Returns the values of mmcell, name to value."""
    return average_precisions(pair_unchecked(document, detections), kinds=[kind], caps=caps, size_bins_px=size_bins_px)


def pair_unchecked(document: dict, detections: list[dict]) -> Pairs:
    """Does what :func:`mmcell.evaluation.pairs.pair_coco` does, without its checks, as no reference has them."""
    truth = to_ground_truth(document)
    return Pairs(truth, join_predictions([Predictions(
        np.array([truth.place_of_image[detection['image_id']] for detection in detections], np.int64),
        np.array([truth.place_of_class[detection['category_id']] for detection in detections], np.int64),
        np.array([detection['score'] for detection in detections], np.float64),
        np.fromiter(chain.from_iterable(detection['bbox'] for detection in detections), np.float64).reshape(-1, 4),
        [detection['segmentation'] for detection in detections])]))


def by_reference(coco: type, coco_eval: type, document: dict, detections: list[dict], kind: str, caps: list[int],
                 size_bins_px: tuple[float, float] = COCO_SIZE_BINS_PX) -> dict[str, float]:
    """Computes the same values with pycocotools or a package with its interface, under mmcell's names.

    Args:
        coco: The class ``COCO`` of the package.
        coco_eval: The class ``COCOeval`` of the package.
        document: COCO annotations.
        detections: COCO results.
        kind: 'segm' or 'bbox'.
        caps: How many detections count per image and class; one set of values per cap.
        size_bins_px: The two boundaries between small, medium and large cells: square roots of areas in px.
    """
    # Only the key of this kind is passed on: if there is a box, pycocotools takes its area, even when masks count.
    key = {'segm': 'segmentation', 'bbox': 'bbox'}[kind]
    names = ('image_id', 'category_id', 'score', key)
    results = [{name: detection[name] for name in names} for detection in detections]
    truth = coco()
    # pycocotools 2.0.10 copies the entry 'info'.
    truth.dataset = {'info': {}, **document,
                     'annotations': [dict(annotation) for annotation in document['annotations']]}
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


def mean_above(table: np.ndarray) -> float:
    """Returns the mean of the defined entries of a table, NaN without any; COCO marks undefined entries with -1."""
    return float(table[table > -1].mean()) if (table > -1).any() else float('nan')


def max_difference(theirs: dict[str, float], ours: dict[str, float]) -> float:
    """Returns the largest absolute difference; infinity if names differ or only one of two values is NaN."""
    if theirs.keys() != ours.keys() or any(np.isnan(theirs[name]) != np.isnan(ours[name]) for name in theirs):
        return float('inf')
    return float(np.nanmax([abs(theirs[name] - ours[name]) for name in theirs]))


def consep_document(root: Path) -> dict:
    """Returns the annotations of CoNSeP's training images as a COCO document."""
    return document_of([read_train_image(folder, root) for folder in find_train_folders(root)])


def synthetic_document() -> dict:
    """Returns annotations of three images of 600x600 px with 400 discs each, which alternate between two classes."""
    discs = grid_of_discs(600, 20)
    by_class = {f'class{number}': encode_label_map(np.where(discs % 2 == number - 1, discs, 0)) for number in (1, 2)}
    return document_of([AnnotatedImage(f'{index}.tif', *discs.shape, by_class) for index in range(3)])


def document_of(images: list[AnnotatedImage]) -> dict:
    """Returns a COCO document of the images, whose classes are called class1, class2 …"""
    largest = max(int(name.removeprefix('class')) for image in images for name in image.cells)
    names = [f'class{number}' for number in range(1, largest + 1)]
    records, annotations = to_records(images, names)
    return {'images': records, 'annotations': annotations, 'categories': categories(names)}


def perturbed_detections(document: dict, rng: np.random.Generator, n_per_image: int) -> list[dict]:
    """Returns detections that are made from true cells by random changes.

    ``n_per_image`` cells of each image are drawn at random. Their masks move by up to 3 px along each axis; x, y, width
    and height of their boxes grow by 0 to 2 px, independently of the masks. About a tenth get a random class. All get
    random scores with two decimals, some of which are equal. If an image has fewer than ``n_per_image`` cells, they are
    drawn with replacement, so that some cells are detected several times and others never.
    """
    detections = []
    for image in document['images']:
        cells = [cell for cell in document['annotations'] if cell['image_id'] == image['id']]
        if not cells:
            continue
        chosen = [cells[index] for index in rng.choice(len(cells), n_per_image, replace=len(cells) < n_per_image)]
        rles = move_rles([cell['segmentation'] for cell in chosen], rng.integers(-3, 4, (len(chosen), 2)))
        others = rng.choice([category['id'] for category in document['categories']], len(chosen))
        class_ids = np.where(rng.random(len(chosen)) < .1, others, [cell['category_id'] for cell in chosen])
        bboxes = np.array([cell['bbox'] for cell in chosen]) + rng.integers(0, 3, (len(chosen), 4))
        detections += [
            {'image_id': image['id'], 'category_id': class_id, 'score': score, 'bbox': bbox, 'segmentation': rle}
            for class_id, score, bbox, rle in zip(class_ids.tolist(), rng.random(len(chosen)).round(2).tolist(),
                                                  bboxes.astype(float).tolist(), rles, strict=True)]
    return detections


def move_rles(rles: list[dict], shifts_px: np.ndarray) -> list[dict]:
    """Moves N masks of one size by shifts (N, 2) int, x and y in px; pixels that leave the image are cut off."""
    height, width = rles[0]['size']
    positions, areas = foreground_pixels_of_all(rles)
    owner = groups_of(areas)
    x, y = np.divmod(positions, height)
    x, y = x + shifts_px[owner, 0], y + shifts_px[owner, 1]
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    positions = (x * height + y)[is_inside]
    n_px = np.bincount(owner[is_inside], minlength=len(rles))
    return encode_runs(positions, positions + 1, n_px, height, width)  # touching runs are joined


if __name__ == '__main__':
    main()
