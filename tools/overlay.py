"""Draws predicted cells over their images, beside a second picture with the true cells if they are known."""

import argparse
import sys
from pathlib import Path

from _options import refuse_wrong_score

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_missing, refuse_missing_annotations, refuse_unwritable_folder

EXAMPLE = """example:
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays --matches
  python tools/overlay.py results.pkl --annotations annotations/test.json --out work_dirs/overlays --classes class3
  python tools/overlay.py results.pkl --annotations annotations/val.json --out work_dirs/overlays --formats svg pdf
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all pictures were written')
    parser.add_argument('results', help='file that tools/test.py --out wrote')
    parser.add_argument('--annotations', required=True, help='annotation file of the images that were predicted')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER',
                        help='folder for the pictures')
    parser.add_argument('--formats', nargs='+', choices=['png', 'svg', 'pdf'], default=['png'], metavar='FORMAT',
                        help='one file per image and format: png; svg and pdf for papers, in which cells are outlines '
                             'that can be edited, over the image at its own resolution (default: png)')
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
    refuse_wrong_score(parser, args.score_thr)
    if args.scale < 1:
        parser.error(f'--scale must be at least 1, got {args.scale}')
    return args


def main() -> int:
    return run_command(parse_args, draw)


def draw(args: argparse.Namespace) -> None:
    refuse_missing_annotations(args.annotations)
    refuse_missing(args.results)
    refuse_unwritable_folder(args.out, '--out')
    print(f'wrote {draw_all(args)} pictures to {args.out}')


def draw_all(args: argparse.Namespace) -> int:
    """Writes the pictures of each image of the dump, and returns their number.

    Raises:
        MmcellError: The files do not fit together, a class is unknown, or --matches was given without true cells.
        OSError: An image cannot be read, or a picture cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    from mmcell.annotations.coco_json import check_image_files
    from mmcell.annotations.ground_truth import read_true_cells
    from mmcell.evaluation.error_types import judge_predictions
    from mmcell.evaluation.pairs import Pairs
    from mmcell.evaluation.pictures import compose_picture
    from mmcell.predictions.result_files import read_predictions
    from mmcell.visualization.overlay import picture_name
    from mmcell.visualization.vector_pictures import write_cell_picture
    truth = read_true_cells(args.annotations, crowds_allowed=False)
    unknown = set(args.classes or ()) - set(truth.class_names)
    if unknown:
        raise MmcellError(f'--classes: {sorted(unknown)} unknown; {args.annotations} has the classes '
                          f'{truth.class_names}')
    if args.matches and not truth.rles:
        raise MmcellError(f'--matches compares with true cells, but {args.annotations} has none')
    file = read_predictions(args.results, truth)
    for remark in file.assumed:
        print(f'note: {remark}', file=sys.stderr)
    sources = dict(list(file.sources.items())[:args.max_images])
    records = [dict(zip(('id', 'file_name', 'height', 'width'), (truth.image_ids[place], truth.file_names[place],
                                                                 *truth.sizes[place].tolist()), strict=True))
               for place in sources]
    check_image_files({'images': records}, [source.path for source in sources.values()], args.annotations)
    pairs = Pairs(truth, file.predictions)
    verdicts = judge_predictions(pairs, args.score_thr) if args.matches else None
    shown = None if args.classes is None else [truth.class_names.index(name) for name in args.classes]
    formats = dict.fromkeys(args.formats)
    for image, source in track(sources.items(), 'overlays', console=Console(stderr=True)):
        picture = compose_picture(source, pairs, image, args.score_thr, shown_classes=shown, scale=args.scale,
                                  verdicts=verdicts)
        for file_format in formats:
            write_cell_picture(picture, args.out / picture_name(truth.image_ids[image], source.path, file_format))
    return len(sources) * len(formats)


if __name__ == '__main__':
    sys.exit(main())
