"""Converts PASCAL VOC's segmentation masks to COCO annotation files, one file per list of images."""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from _conversion import add_pool_arguments, path_between, print_skipped, writing_at_the_end

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import MmcellError, escape

if TYPE_CHECKING:
    from mmcell.annotations.raw_layout import TrainImage

EXAMPLE = """examples:
  python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --out annotations/voc
  python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --out annotations/voc --splits train=pascal_train.json val=test.json

The second example converts the images that Tiny PASCAL VOC's own JSON files list. Their masks come from PASCAL VOC, so
that holes in objects are kept.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the files were written and no image was left out', 'nothing was written',
                         'the files were written without the images that --skip-bad left out')
    parser.add_argument('voc_root', type=Path, metavar='VOC2012',
                        help='folder that contains ImageSets, JPEGImages, SegmentationObject and SegmentationClass')
    parser.add_argument('--out', type=Path, default=Path('annotations/voc'), metavar='FOLDER',
                        help='folder where one file NAME.json per split is written (default: annotations/voc)')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], metavar='NAME[=LIST]',
                        help='lists of images to convert. NAME without =LIST stands for the list '
                             'ImageSets/Segmentation/NAME.txt. NAME=LIST takes your own file LIST instead: text with '
                             'one image name per line, or COCO JSON (.json), whose images are taken. For example: '
                             'train val=my_images.txt (default: train val)')
    add_pool_arguments(parser)
    args = parser.parse_args()
    names = [split.partition('=')[0] for split in args.splits]
    if len(set(names)) < len(names) or not all(name and Path(name).name == name for name in names):
        parser.error(f'--splits: every NAME must be a file name and must differ from the others, got {names}')
    return args


def main() -> int:
    return run_command(parse_args, convert)


def convert(args: argparse.Namespace) -> ExitStatus:
    """Reads the lists and the images, writes the annotation files, and prints what is in them."""
    from mmcell.annotations import coco_json, voc
    from mmcell.annotations.file_sets import as_file_set
    from mmcell.files.parallel import map_with_progress
    with writing_at_the_end():
        splits = read_splits(args.splits, args.voc_root)
        names = list(dict.fromkeys(name for image_names in splits.values() for name in image_names))
        images, bad = map_with_progress(
            partial(voc.read_voc_image, voc_root=args.voc_root), names, args.jobs, 'images', args.skip_bad)
        print_skipped(bad, 'listed', len(images))
        documents = build_documents(images, splits, args.voc_root, args.out)
        refuse_empty_splits(documents)
        coco_json.write_documents(as_file_set(documents))
    print_table(documents)
    print('wrote ' + ', '.join(escape(path) for path in documents))
    if bad:
        print(f'skipped {len(bad)} of {len(names)} images', file=sys.stderr)
    return ExitStatus.PARTLY if bad else ExitStatus.DONE


def read_splits(splits: list[str], voc_root: Path) -> dict[str, list[str]]:
    """Returns the image names of each split by the name of the split.

    Args:
        splits: The values of ``--splits``, each NAME or NAME=LIST.
        voc_root: The folder that contains ``ImageSets``.

    Raises:
        FileNotFoundError: A list does not exist.
        LayoutError: A file is not a list of image names.
    """
    from mmcell.annotations import voc
    image_names = {}
    for split in splits:
        name, _, path = split.partition('=')
        image_names[name] = voc.read_image_names(path or voc_root / voc.LIST_FOLDER / f'{name}.txt')
    return image_names


def build_documents(images: list['TrainImage'], splits: dict[str, list[str]], voc_root: Path,
                    out: Path) -> dict[Path, dict]:
    """Returns the content of every annotation file by its path; an image has the same id in every file."""
    from mmcell.annotations import coco_json, voc
    info = {'description': 'PASCAL VOC, converted by mmcell', 'data_root': path_between(out, voc_root),
            'channel_order': 'rgb'}
    image_records, annotations = coco_json.train_records(images)
    ids_by_name = {Path(record['file_name']).stem: record['id'] for record in image_records}
    documents = {}
    for name, image_names in splits.items():
        # Images that were skipped because of bad files have no id.
        ids = {ids_by_name[image_name] for image_name in image_names if image_name in ids_by_name}
        records, objects = coco_json.subset(image_records, annotations, ids)
        documents[out / f'{name}.json'] = {'info': info, 'categories': coco_json.categories(voc.CLASS_NAMES),
                                           'images': records, 'annotations': objects}
    return documents


def refuse_empty_splits(documents: dict[Path, dict]) -> None:
    """Refuses to write a file without images, which is left if all images of a list were skipped.

    Raises:
        MmcellError: A file would have no image.
    """
    for path, document in documents.items():
        if not document['images']:
            raise MmcellError(f'{path} would have no image, because all images of its list were skipped: mend them, or '
                              f'leave {path.stem} out of --splits')


def print_table(documents: dict[Path, dict]) -> None:
    """Prints the number of images and of objects of each class in each file."""
    from rich.console import Console
    from rich.table import Table

    from mmcell.annotations.voc import CLASS_NAMES
    table = Table('', *(escape(path.stem) for path in documents), title='objects')
    table.add_row('images', *(str(len(document['images'])) for document in documents.values()))
    counts = [Counter(annotation['category_id'] for annotation in document['annotations'])
              for document in documents.values()]
    for number, name in enumerate(CLASS_NAMES, start=1):
        table.add_row(name, *(str(count[number]) for count in counts))
    table.add_row('objects', *(str(count.total()) for count in counts))
    Console(markup=False, emoji=False).print(table)


if __name__ == '__main__':
    sys.exit(main())
