"""Writes PASCAL VOC's segmentation masks as COCO JSON."""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from to_coco import EXIT_SKIPPED, path_between, usable_cores

from mmcell.annotations import coco_json, voc
from mmcell.annotations.raw_layout import TrainImage
from mmcell.errors import MmcellError
from mmcell.files.parallel import map_with_progress

EXAMPLE = """example:
  python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --out annotations/voc
  python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --out annotations/voc --splits train=pascal_train.json val=test.json
The second takes the images that Tiny PASCAL VOC's own JSON names, and their masks, holes included, from PASCAL VOC.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('voc_root', type=Path, metavar='VOC2012',
                        help='folder that holds ImageSets, JPEGImages, SegmentationObject and SegmentationClass')
    parser.add_argument('--out', type=Path, default=Path('annotations/voc'),
                        help='folder for one <name>.json a split (default: annotations/voc)')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], metavar='NAME[=LIST]',
                        help='what to convert: NAME is a list of ImageSets/Segmentation; LIST is a file of your own, '
                             'one image name a line, or COCO JSON whose images are meant (default: train val)')
    parser.add_argument('--skip-bad', action='store_true',
                        help='leave out images with bad files, list them, and end with exit status 3')
    parser.add_argument('--jobs', type=int, default=usable_cores(), help='processes (default: one a core)')
    args = parser.parse_args()
    names = [split.partition('=')[0] for split in args.splits]
    if len(set(names)) < len(names) or not all(name and Path(name).name == name for name in names):
        parser.error(f'--splits: names that differ, each the name of a file to write, expected; got {names}')
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def main() -> int:
    args = parse_args()
    try:
        splits = read_splits(args.splits, args.voc_root)
        names = list(dict.fromkeys(name for listed in splits.values() for name in listed))
        images, bad = map_with_progress(
            partial(voc.read_voc_image, voc_root=args.voc_root), names, args.jobs, 'images', args.skip_bad)
        documents = build_documents(images, splits, args.voc_root, args.out)
        coco_json.write_documents(documents)
    except (MmcellError, OSError) as error:
        print(f'error: {error}\nnothing was written', file=sys.stderr)
        return 1
    print_table(documents)
    print('wrote ' + ', '.join(str(path) for path in documents))
    for message in bad:
        print(f'skipped: {message}', file=sys.stderr)
    return EXIT_SKIPPED if bad else 0


def read_splits(splits: list[str], voc_root: Path) -> dict[str, list[str]]:
    """Name of each split to the names of its images."""
    found = {}
    for split in splits:
        name, _, path = split.partition('=')
        found[name] = voc.read_image_names(path or voc_root / voc.LIST_FOLDER / f'{name}.txt')
    return found


def build_documents(images: list[TrainImage], splits: dict[str, list[str]], voc_root: Path,
                    out: Path) -> dict[Path, dict]:
    """Path to content of every file to write; an image has the same id in each."""
    info = {'description': 'PASCAL VOC, converted by mmcell', 'data_root': path_between(out, voc_root)}
    image_records, annotations = coco_json.train_records(images)
    id_of = {Path(record['file_name']).stem: record['id'] for record in image_records}
    documents = {}
    for name, listed in splits.items():
        ids = {id_of[image_name] for image_name in listed if image_name in id_of}
        records, objects = coco_json.subset(image_records, annotations, ids)
        documents[out / f'{name}.json'] = {'info': info, 'categories': coco_json.categories(voc.CLASS_NAMES),
                                           'images': records, 'annotations': objects}
    return documents


def print_table(documents: dict[Path, dict]) -> None:
    """Prints images, and objects of each class, of each file."""
    from rich.console import Console
    from rich.table import Table
    table = Table('', *(path.stem for path in documents), title='objects')
    table.add_row('images', *(str(len(document['images'])) for document in documents.values()))
    counts = [Counter(annotation['category_id'] for annotation in document['annotations'])
              for document in documents.values()]
    for number, name in enumerate(voc.CLASS_NAMES, start=1):
        table.add_row(name, *(str(count[number]) for count in counts))
    table.add_row('objects', *(str(count.total()) for count in counts))
    Console().print(table)


if __name__ == '__main__':
    sys.exit(main())
