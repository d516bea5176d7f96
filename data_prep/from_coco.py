"""Writes the cells of annotation files, or predicted cells of their images, as files that other programs open."""

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError, escape
from mmcell.files.early_checks import refuse_missing, refuse_missing_annotations, refuse_unwritable_folder
from mmcell.writers.formats import EDITABLE_FORMATS, FORMATS, output_paths
from mmcell.writers.output_records import refuse_changed, refuse_to_replace

if TYPE_CHECKING:
    from _written_images import ImageToWrite

CLASS_MAPS = 'class-maps'
FORMAT_TABLE = '\n'.join([
    *(f'  {name:<13} {output_format.description.format("scan")}' for name, output_format in FORMATS.items()),
    f'  {CLASS_MAPS:<13} train/scan/class1.tif, train/scan/class2.tif …, the raw layout, which to_coco.py reads'])
# Formats in which a pixel belongs to one cell: whether each class has a label map of its own.
LABEL_MAPS = {'labels': False, 'class-labels': True, 'label-pyramid': False, CLASS_MAPS: True}
EXAMPLE = f"""examples:
  python data_prep/from_coco.py annotations/train.json annotations/val.json --out cells --formats geojson rois
  python data_prep/from_coco.py annotations/val.json --predictions results.pkl --out cells --formats labels overlay
  python data_prep/from_coco.py annotations/trainval.json --out data --formats class-maps --copy-images
  python data_prep/from_coco.py annotations/val.json --out cells --formats geojson --editable --only TCGA-A1 TCGA-B2

formats and the files that they write for scan.tif into the folder --out:
{FORMAT_TABLE}
A true cell has the id of its annotation in all of them, and no score. Predicted cells are numbered from 1 in each
image. Files are called like their image; files of an image called image.tif are called like its folder. --only takes
these names.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all files were written')
    parser.add_argument('annotations', nargs='+', type=Path, metavar='ANNOTATIONS.json',
                        help='annotation files, each with other images')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='folder for the files to write')
    parser.add_argument('--formats', nargs='+', choices=[*FORMATS, CLASS_MAPS], default=['geojson'], metavar='FORMAT',
                        help=f'what to write: any of {", ".join([*FORMATS, CLASS_MAPS])} (default: geojson)')
    parser.add_argument('--predictions', type=Path, metavar='FILE',
                        help='write predicted cells: a dump of tools/test.py --out, a submission zip, or JSON with '
                             'COCO results for the images of the annotation file (default: write the true cells)')
    parser.add_argument('--score-thr', type=float, metavar='SCORE',
                        help='with --predictions: lowest score (default: .5)')
    parser.add_argument('--only', nargs='+', metavar='IMAGE',
                        help='write only the files of these images (default: all)')
    parser.add_argument('--editable', action='store_true',
                        help='geojson, geojson-gz: write the cells as annotations of QuPath, whose shape can be edited '
                             'there (default: as detections, which QuPath shows faster)')
    parser.add_argument('--copy-images', action='store_true',
                        help='class-maps: also write each image, as train/NAME/image.tif (default: only the maps)')
    args = parser.parse_args()
    if args.predictions is not None and len(args.annotations) > 1:
        parser.error(f'--predictions belong to one annotation file, got {len(args.annotations)}')
    if args.predictions is None and args.score_thr is not None:
        parser.error('--score-thr needs --predictions: true cells have no scores')
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be from 0 to 1, got {args.score_thr:g}')
    if args.editable and not {*EDITABLE_FORMATS} & {*args.formats}:
        parser.error(f'--editable is about the formats {" and ".join(EDITABLE_FORMATS)}, and --formats names neither')
    if args.copy_images and CLASS_MAPS not in args.formats:
        parser.error(f'--copy-images is about the format {CLASS_MAPS}, which --formats does not name')
    args.formats = list(dict.fromkeys(args.formats))
    return args


def main() -> int:
    return run_command(parse_args, write_all)


def write_all(args: argparse.Namespace) -> None:
    """Writes the files of all images, and prints what was written.

    Raises:
        MmcellError: A file cannot be used, an image is in two annotation files or unknown to --only, or files would be
            overwritten that are no outputs.
        OSError: A file cannot be read or written.
    """
    refuse_missing_annotations(*args.annotations)
    refuse_missing(args.predictions)
    refuse_unwritable_folder(args.out, '--out')
    from _written_images import check_image_files, choose_images, read_images
    from rich.console import Console
    from rich.progress import track
    images = choose_images(read_images(args), args.only)
    refuse_to_overwrite(images, args)
    missing = check_image_files(images, args)
    n_cells, n_hidden = 0, Counter()
    for image in track(images, 'images', console=Console(stderr=True)):
        n_cells += write_image(image, args, n_hidden)
    print(f'{n_cells} cells in {len(images)} images written to {escape(args.out)}')
    class_names = images[0].cells.images.class_names if images else []
    if {'class-labels', CLASS_MAPS} & set(args.formats):
        print('classes: ' + ', '.join(f'class{number} is {escape(name)}'
                                      for number, name in enumerate(class_names, start=1)))
    if args.copy_images and images:
        order = '--channel-order bgr ' * (images[0].cells.images.channel_order == 'bgr')
        print(f'read them back with: python data_prep/to_coco.py {shlex.quote(escape(args.out))} {order}--class-names '
              + ' '.join(shlex.quote(escape(name)) for name in class_names))
    print_notes(n_hidden, missing, args)


def print_notes(n_hidden: Counter, missing: list[str], args: argparse.Namespace) -> None:
    """Prints notes about cells that label maps cannot show as a whole, and about image files that do not exist."""
    for key in args.formats:
        if n_hidden[key, 'cut']:
            print(f"note: {key}: {n_hidden[key, 'cut']} cells lost pixels to cells that overlap them, and "
                  f"{n_hidden[key, 'gone']} of these are not seen at all, because a pixel of a label map belongs to "
                  'one cell', file=sys.stderr)
    if missing:
        print(f'note: {len(missing)} image files do not exist, first {escape(missing[0])}: the micrometres per pixel '
              'are known only if the annotation file states them', file=sys.stderr)


def refuse_to_overwrite(images: list['ImageToWrite'], args: argparse.Namespace) -> None:
    """Checks that no output would replace an image, and that masks in the raw layout get a folder of their own.

    Raises:
        MmcellError: An output would replace an image, outputs of another image or a file that mmcell did not write or
            that was changed since, or the folder ``train`` exists already.
    """
    if CLASS_MAPS in args.formats and (args.out / 'train').exists():
        raise MmcellError(f"{args.out / 'train'} exists already, and {CLASS_MAPS} would mix with what is in it: name "
                          'another folder with --out, or move it away')
    outputs = {path.resolve() for image in images for path in flat_paths(image, args)}
    for image in images:
        if image.source.path.resolve() in outputs:
            raise MmcellError(f'the image {image.source.path} would be overwritten by an output: name another folder '
                              'with --out')
        paths = flat_paths(image, args)
        refuse_to_replace(args.out, image.name, image.source.path, paths)
        refuse_changed(args.out, image.name, paths)


def flat_formats(args: argparse.Namespace) -> list[str]:
    """Returns the formats whose files lie directly in the folder."""
    return [key for key in args.formats if key != CLASS_MAPS]


def flat_paths(image: 'ImageToWrite', args: argparse.Namespace) -> list[Path]:
    """Returns the files of an image that lie directly in the folder."""
    return output_paths(flat_formats(args), args.out, image.name, len(image.cells.images.class_names))


def write_image(image: 'ImageToWrite', args: argparse.Namespace, n_hidden: Counter) -> int:
    """Writes the files of an image, and returns the number of its cells.

    Args:
        image: The image.
        args: The parsed command line.
        n_hidden: How many cells lost pixels in the label maps of a format, by (format, 'cut'), and how many of them
            lost all, by (format, 'gone'); the cells of this image are added.
    """
    from _written_images import describe_image

    from mmcell.writers.class_maps import copy_image, write_class_maps
    from mmcell.writers.label_tiff import count_hidden_cells
    from mmcell.writers.output_records import recording
    from mmcell.writers.writing import writing_cells
    cells, numbers = image.cells.in_image(image.place)
    info = describe_image(image, args)
    if formats := flat_formats(args):
        record = {'image': str(image.source.path.resolve()), 'formats': formats}
        with (recording(args.out, image.name, record, flat_paths(image, args)),
              writing_cells(formats, args.out, image.name, info) as write):
            write(cells, numbers)
    if CLASS_MAPS in args.formats:
        folder = args.out / 'train' / image.name
        write_class_maps(folder, cells, numbers, info)
        if args.copy_images:
            copy_image(image.source.path, folder)
    for key in LABEL_MAPS.keys() & set(args.formats):
        n_cut, n_gone = count_hidden_cells(cells, LABEL_MAPS[key])
        n_hidden.update({(key, 'cut'): n_cut, (key, 'gone'): n_gone})
    return len(cells)


if __name__ == '__main__':
    sys.exit(main())
