"""Draws predicted cells over their images, beside a second picture with the true cells if they are known."""

import argparse
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError

EXAMPLE = """example:
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays --matches
  python tools/overlay.py results.pkl --annotations annotations/test.json --out work_dirs/overlays --classes class3
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all pictures were written')
    parser.add_argument('results', help='file that tools/test.py --out wrote')
    parser.add_argument('--annotations', required=True, help='annotation file of the images that were predicted')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER',
                        help='folder for the pictures, one PNG per image')
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='draw only these classes (default: all)')
    parser.add_argument('--matches', action='store_true',
                        help='draw hits, wrong classes, missed cells and spurious detections in different colours and '
                             'line styles. A hit has a mask IoU above .5 with a true cell of its class (default: one '
                             'colour per class)')
    parser.add_argument('--score-thr', type=float, default=.5, metavar='SCORE',
                        help='draw only predictions with at least this score (default: .5)')
    parser.add_argument('--scale', type=int, default=2,
                        help='factor by which pictures are enlarged, a whole number (default: 2)')
    parser.add_argument('--max-images', type=int, metavar='N', help='draw only the first N images (default: all)')
    args = parser.parse_args()
    if args.scale < 1:
        parser.error(f'--scale must be at least 1, got {args.scale}')
    return args


def main() -> int:
    return run_command(parse_args, draw)


def draw(args: argparse.Namespace) -> None:
    print(f'wrote {draw_all(args)} pictures to {args.out}')


def draw_all(args: argparse.Namespace) -> int:
    """Writes one PNG per image of the dump, and returns the number of pictures.

    Raises:
        MmcellError: The files do not fit together, a class is unknown, or --matches was given without true cells.
        OSError: An image cannot be read, or a picture cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    from mmcell.annotations.coco_json import check_image_files, read_annotations
    from mmcell.evaluation.image_pairs import pair_images
    from mmcell.evaluation.pictures import draw_image_pair, image_sources
    from mmcell.predictions.categories import Categories
    from mmcell.predictions.dump_file import load_results, to_coco_detections
    from mmcell.visualization.overlay import picture_name, write_png
    document = read_annotations(args.annotations, crowds_allowed=False)
    ids_by_name = {category['name']: category['id'] for category in document['categories']}
    unknown = set(args.classes or ()) - set(ids_by_name)
    if unknown:
        raise MmcellError(f'--classes: {sorted(unknown)} unknown; {args.annotations} has the classes '
                          f'{list(ids_by_name)}')
    if args.matches and not document['annotations']:
        raise MmcellError(f'--matches compares with true cells, but {args.annotations} has none')
    results = load_results(args.results)[:args.max_images]
    images = {image['id']: image for image in document['images']}
    for result in results:
        if result['img_id'] not in images:
            raise MmcellError(f"{args.results} contains image id {result['img_id']}, but {args.annotations} does not: "
                              'give the annotation file of the predicted images')
    categories = Categories.of_document(document, args.annotations)
    assumed = categories.remark_on(results, args.results)
    if assumed is not None:
        print(f'note: {assumed}', file=sys.stderr)
    sources = image_sources(document, args.annotations, results)
    shown = {**document, 'images': [images[result['img_id']] for result in results]}
    check_image_files(shown, [sources[result['img_id']].path for result in results], args.annotations)
    detections = [detection for result in results for detection in to_coco_detections(
                      result, categories.ids_of_sample(result, args.results))]
    pairs = pair_images(shown, detections)
    for pair in track(pairs, 'overlays', console=Console(stderr=True)):
        picture = draw_image_pair(
            sources[pair.image_id], pair, document['categories'], args.score_thr, scale=args.scale,
            shown_ids=None if args.classes is None else [ids_by_name[name] for name in args.classes],
            with_truth=bool(document['annotations']), with_verdicts=args.matches)
        write_png(picture, args.out / picture_name(pair.image_id, sources[pair.image_id].path))
    return len(pairs)


if __name__ == '__main__':
    sys.exit(main())
