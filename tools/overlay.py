"""Draws predicted cells over their images, beside a second picture with the true cells if there are any."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """example:
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays
  python tools/overlay.py results.pkl --annotations annotations/test.json --out work_dirs/overlays --classes class3

Exit status: 0 if all pictures were written, 1 if not, 2 if the command line is wrong.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', help='file that tools/test.py --out wrote')
    parser.add_argument('--annotations', required=True, help='annotation file of the images that were predicted')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER',
                        help='folder for the pictures, one PNG per image')
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='draw only these classes (default: all)')
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
    args = parse_args()
    from mmcell.annotations.coco_json import read_annotations
    from mmcell.predictions.dump_file import load_results
    try:
        document = read_annotations(args.annotations)
        names = {category['id']: category['name'] for category in document['categories']}
        unknown = set(args.classes or ()) - set(names.values())
        if unknown:
            raise ValueError(f'--classes: {sorted(unknown)} unknown; {args.annotations} has the classes '
                             f'{list(names.values())}')
        results = load_results(args.results)[:args.max_images]
        args.out.mkdir(parents=True, exist_ok=True)
        paths = draw_all(results, document, names, args)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'wrote {len(paths)} pictures to {args.out}')
    return 0


def draw_all(results: list[dict], document: dict, names: dict[int, str], args: argparse.Namespace) -> list[Path]:
    """Writes one PNG per result, and returns the paths of the PNGs.

    Args:
        results: Results of a dump, as :func:`mmcell.predictions.dump_file.load_results` reads them.
        document: COCO annotations that contain these images.
        names: Category id to class name.
        args: The parsed command line.

    Raises:
        ValueError: A result belongs to an image that the annotations do not contain.
        OSError: An image cannot be read, or a picture cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    from mmcell.images.pixels import read_image
    from mmcell.masks.rle import area_px
    from mmcell.predictions.dump_file import to_coco_detections
    from mmcell.visualization.colors import class_colors
    from mmcell.visualization.overlay import add_legend, draw_instances, join_side_by_side, picture_name, write_png

    colors = dict(zip(names, class_colors(len(names)), strict=True))
    shown = [category_id for category_id, name in names.items() if args.classes is None or name in args.classes]
    truth = {image['id']: [] for image in document['images']}
    for annotation in document['annotations']:
        truth[annotation['image_id']].append(annotation)
    paths = []
    for result in track(results, 'overlays', console=Console(stderr=True)):
        if result['img_id'] not in truth:
            raise ValueError(f"{args.results} contains image id {result['img_id']}, but {args.annotations} does not: "
                             'give the annotation file of the predicted images')
        image = read_image(result['img_path'], result.get('channel_order', 'rgb'), result.get('percentiles'))
        detections = [detection for detection in to_coco_detections(result, list(names))
                      if detection['score'] >= args.score_thr]
        panels, titles = [], []
        predicted = f'predicted, score >= {args.score_thr:g}'
        for title, cells in (('true', truth[result['img_id']]), (predicted, detections)):
            cells = [cell for cell in cells
                     if cell['category_id'] in shown and area_px(cell['segmentation']) > 0]
            if title == 'true' and not cells:
                continue
            panels.append(draw_instances(image, [cell['segmentation'] for cell in cells],
                                         [colors[cell['category_id']] for cell in cells], args.scale))
            titles.append(f'{len(cells)} {title}')
        picture = add_legend(join_side_by_side(panels), ' | '.join(titles), [names[i] for i in shown],
                             [colors[i] for i in shown])
        paths.append(args.out / picture_name(result['img_id'], result['img_path']))
        write_png(picture, paths[-1])
    return paths


if __name__ == '__main__':
    sys.exit(main())
