"""Repairs a COCO annotation file of another program, as far as no guess is needed, and writes it as a new file.

Ids become whole numbers, areas, boxes and sizes that are missing or wrong are taken from masks and image files, and
masks are written as COCO wants them. Records that need a guess are left out. Every kind of repair, and of record that
is left out, is listed with its number.
"""

import argparse
import sys
from pathlib import Path

from _conversion import path_between, writing_at_the_end

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_missing_annotations, refuse_unwritable_files

EXAMPLE = """examples:
  python data_prep/repair_coco.py export.json --out annotations/train.json --images export/images
  python data_prep/repair_coco.py val.json --out annotations/val.json --drop-crowds
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the new file was written')
    parser.add_argument('file', type=Path, metavar='FILE', help='COCO annotation file; it is not changed')
    parser.add_argument('--out', type=Path, required=True, metavar='NEW.json', help='file to write')
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='folder that the file names of the images are relative to. Missing sizes are read there, '
                             'and all sizes are compared; the new file then names this folder (default: info.data_root '
                             'of FILE, or no comparison if it has none)')
    parser.add_argument('--drop-crowds', action='store_true',
                        help='leave out regions that are not annotated cell by cell (iscrowd 1), which '
                             'tools/evaluate.py cannot measure (default: keep them; training ignores them)')
    args = parser.parse_args()
    if args.out.resolve() == args.file.resolve():
        parser.error(f'--out must be another file than {args.file}')
    if args.out.is_dir():
        parser.error(f'--out must be a file, but {args.out} is a folder')
    if args.images is not None and not args.images.is_dir():
        parser.error(f'--images: there is no folder {args.images}')
    return args


def main() -> int:
    return run_command(parse_args, repair_file)


def repair_file(args: argparse.Namespace) -> None:
    """Writes the repaired file, and prints what was repaired and what was left out."""
    with writing_at_the_end():
        refuse_missing_annotations(args.file)
        refuse_unwritable_files([args.out], '--out')
    from mmcell.annotations.coco_json import read_document, write_documents
    from mmcell.annotations.coco_repair import repair
    from mmcell.annotations.file_sets import info_of
    with writing_at_the_end():
        document = read_document(args.file)
        root = info_of(document).get('data_root')
        folder = args.images or (args.file.parent / root if root else None)
        try:
            document, repairs, left_out = repair(document, folder, args.drop_crowds)
        except MmcellError as error:
            refusal = MmcellError(f'{args.file}: {error}')
            if folder is None:
                refusal.add_note('With --images FOLDER, sizes that are missing are read from the images')
            raise refusal from error
        # The copy is not one of the files of a conversion any more.
        info = {key: value for key, value in info_of(document).items() if key != 'file_set'}
        if folder is not None:
            info['data_root'] = path_between(args.out.parent, folder)
        if info or info_of(document):
            document['info'] = info
        write_documents({args.out: document})
    for line in repairs or ['nothing']:
        print(f'repaired: {line}')
    for line in left_out:
        print(f'left out: {line}')
    if folder is None:
        print('sizes were not compared with the image files: name their folder with --images')
    print(f"wrote {len(document['images'])} images and {len(document['annotations'])} annotations to {args.out}")


if __name__ == '__main__':
    sys.exit(main())
