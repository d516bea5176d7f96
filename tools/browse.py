"""Draws the true cells of a data set: one picture per image, and a contact sheet of all of them.

Without --augmented, the images are drawn as they are stored, with the cells of the annotation file. With --augmented,
they are drawn as the model is shown them in training: after the pipeline of the config, with normalisation undone, and
with the boxes and masks that the loss gets. With --transforms, each image is drawn as it is stored, and beside it as
these transforms change it, one after another or, with --each, each by itself.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from _config import read_config
from _options import add_setting_argument

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_missing, refuse_missing_annotations, refuse_unwritable_folder
from mmcell.settings.config_files import refuse_unreadable_config

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config

    from mmcell.datasets.browsing import BrowsedImage, EachTransform, ShownSamples, StoredImages, TransformedSamples
    from mmcell.visualization.panels import Panel

EXAMPLE = """example:
  python tools/browse.py annotations/train.json --out work_dirs/browse
  python tools/browse.py configs/cell/mask-rcnn_r50.py --augmented --draws 4 --n 10
  python tools/browse.py annotations/train.json --transforms "dict(type='CellErasing', n_patches=3, ratio=.1)" --n 4
"""
THUMBNAIL_PX = 320
IMAGES_PER_SHEET = 60
COLUMNS_OF_EACH = 4


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all pictures were written')
    parser.add_argument('source', metavar='CONFIG_OR_ANNOTATIONS',
                        help='config file of an experiment, or an annotation file, which ends in .json')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='folder for the pictures (default: work_dirs/browse/<name of the source>)')
    parser.add_argument('--augmented', action='store_true',
                        help='draw what the model is shown, several times per image. Needs a config (default: draw the '
                             'images as they are stored)')
    parser.add_argument('--transforms', nargs='+', action='extend', type=transform_config, metavar='TRANSFORM',
                        help='draw each image before and after these transforms, which are written as in a config and '
                             'follow the loading of image and cells (default: none)')
    parser.add_argument('--each', action='store_true',
                        help='with --transforms: draw what each transform does by itself (default: what all of them '
                             'do, one after another)')
    parser.add_argument('--draws', type=int, default=4, metavar='N',
                        help='with --augmented or --transforms: how many times each image is drawn, side by side '
                             '(default: 4)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of these draws (default: 0)')
    parser.add_argument('--n', type=int, default=16, metavar='N',
                        help='how many images are drawn, evenly spread over the data set; 0 draws all (default: 16)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train',
                        help='which data of a config are drawn (default: train)')
    parser.add_argument('--scale', type=int, default=2, metavar='N',
                        help='factor by which pictures are enlarged, a whole number (default: 2)')
    parser.add_argument('--images', metavar='FOLDER',
                        help='folder of the images of an annotation file (default: the folder that the file names)')
    parser.add_argument('--channel-order', choices=['rgb', 'bgr'],
                        help='order of the channels in the image files of an annotation file (default: the order that '
                             'the file names, or rgb)')
    add_setting_argument(parser, 'train_dataloader.dataset.ann_file=other.json')
    args = parser.parse_args()
    is_config = not args.source.endswith('.json')
    if min(args.scale, args.draws) < 1 or min(args.n, args.seed) < 0:
        parser.error('--scale and --draws must be at least 1, --n and --seed at least 0')
    if args.augmented and args.transforms:
        parser.error('--augmented draws the whole pipeline, --transforms only some transforms: give one of them')
    if args.each and not args.transforms:
        parser.error('--each is for --transforms, but no transforms were given')
    if not is_config and (args.augmented or args.cfg_options or args.split != 'train'):
        parser.error('--augmented, --split and --cfg-options need a config, but an annotation file was given: name '
                     'the config whose pipeline is to be shown')
    if is_config and (args.images or args.channel_order):
        parser.error('--images and --channel-order are for annotation files; for a config use --cfg-options '
                     '…dataset.data_prefix.img=FOLDER …dataset.channel_order=bgr')
    args.out = args.out or Path('work_dirs', 'browse', Path(args.source).stem)
    return args


def transform_config(text: str) -> dict:
    """Returns the config of a transform; a text that is none makes argparse print a message."""
    from mmcell.settings.literals import LiteralError, parse_typed_dict
    try:
        return parse_typed_dict(text)
    except LiteralError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    return run_command(parse_args, browse)


def browse(args: argparse.Namespace) -> None:
    """Draws the pictures and the contact sheets.

    Raises:
        MmcellError: The config or the annotation file cannot be used, or an image cannot be read.
        FileNotFoundError: A file does not exist.
    """
    if args.source.endswith('.json'):
        refuse_missing_annotations(args.source)
        refuse_missing(args.images)
    else:
        refuse_unreadable_config(args.source)
    refuse_unwritable_folder(args.out, '--out')
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from mmcell.visualization.cell_panels import class_legend
    from mmcell.visualization.overlay import write_png
    from mmcell.visualization.panels import lay_out
    images = open_images(args)
    n_draws = args.draws if args.augmented or args.transforms else 0
    n_draws *= len(args.transforms) if args.each else 1
    n_drawn = min(args.n or len(images), len(images))
    indices = np.linspace(0, len(images) - 1, n_drawn).round().astype(int).tolist()
    thumbnails, counts, names = [], Counter(), Counter()
    for index in track(indices, 'images', console=Console(stderr=True)):
        drawn = ([] if args.augmented else [images[index]]) + [images.draw(index, number) for number in range(n_draws)]
        name = unused_name(drawn[0], names)
        panels = [draw_panel(image, images.classes, args.scale) for image in drawn]
        write_png(lay_out(panels, class_legend(images.classes)), args.out / f'{name}.png')
        thumbnails += [draw_thumbnail(image, images.classes, name) for image in drawn]
        counts.update(label for image in drawn for label in image.labels)
    legend = class_legend(images.classes, counts=[counts[label] for label in range(len(images.classes))])
    n_columns = n_draws + bool(args.transforms) if n_draws else int(np.ceil(np.sqrt(min(n_drawn, IMAGES_PER_SHEET))))
    n_columns = min(n_columns, COLUMNS_OF_EACH) if args.each else n_columns
    per_sheet = IMAGES_PER_SHEET // n_columns * n_columns or n_columns
    starts = range(0, len(thumbnails), per_sheet)
    for number, start in enumerate(starts, start=1):
        sheet = 'contact_sheet' + (f'_{number:02d}' if len(starts) > 1 else '')
        write_png(lay_out(thumbnails[start:start + per_sheet], legend, n_columns), args.out / f'{sheet}.png')
    cells = ', '.join(f'{name} {counts[label]:,}' for label, name in enumerate(images.classes))
    if args.augmented and not counts:
        print('note: the pipeline loads no cells' + ('; that of --split train does' if args.split != 'train' else ''))
    print(f'{n_drawn} of {len(images)} images, {counts.total():,} cells drawn: {cells}')
    print(f'wrote {n_drawn} pictures and {len(starts)} contact sheet{"s" if len(starts) > 1 else ""} to {args.out}')


def open_images(args: argparse.Namespace) -> 'StoredImages | ShownSamples | TransformedSamples | EachTransform':
    """Returns the images that the arguments ask for.

    Raises:
        MmcellError: The config has no such data or no data preprocessor, or the annotation file cannot be used.
        FileNotFoundError: A file does not exist.
    """
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope

    from mmcell.annotations.coco_json import read_annotations
    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        from mmcell.datasets.browsing import EachTransform, ShownSamples, StoredImages, TransformedSamples
    transformed = EachTransform if args.each else TransformedSamples
    init_default_scope('mmdet')
    if args.source.endswith('.json'):
        dataset = ConfigDict(type='CellDataset', ann_file=args.source, test_mode=True, pipeline=[dict(type='LoadTiff')])
        order = args.channel_order or (read_annotations(args.source).get('info') or {}).get('channel_order')
        if order is not None:
            dataset.channel_order = order
        if args.images is not None:
            dataset.data_prefix = dict(img=args.images)
        return transformed(dataset, args.transforms, args.seed) if args.transforms else StoredImages(dataset)
    cfg = read_config(args, args.source)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    loader = cfg.get(f'{args.split}_dataloader')
    if loader is None:
        raise MmcellError(f'{args.source} has no {args.split}_dataloader: choose another --split')
    if args.transforms:
        return transformed(loader.dataset, args.transforms, args.seed)
    if not args.augmented:
        return StoredImages(loader.dataset)
    return ShownSamples(loader.dataset, find_preprocessor(cfg), args.split == 'train', args.seed)


def find_preprocessor(cfg: 'Config') -> dict:
    """Returns the config of the data preprocessor of a model, or of the detector that it wraps.

    Raises:
        MmcellError: There is none.
    """
    model = cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or (model.get('detector') or {}).get('data_preprocessor')
    if preprocessor is None:
        raise MmcellError('the model of the config has no data_preprocessor, so that it is not known what the model is '
                          'shown: leave --augmented out')
    return preprocessor


def draw_panel(image: 'BrowsedImage', class_names: list[str], scale: int, width_px: int = 1) -> 'Panel':
    """Draws the cells of an image in the colours of their classes, and the boxes if they are known.

    Args:
        image: The image.
        class_names: The names of all classes, by label.
        scale: The whole number by which the image is enlarged.
        width_px: The width of outlines and boxes in px of the picture.
    """
    from mmcell.visualization.colors import class_colors
    from mmcell.visualization.overlay import draw_boxes, draw_instances
    from mmcell.visualization.panels import Panel
    colors = [class_colors(len(class_names))[label] for label in image.labels]
    picture = draw_instances(image.image, image.rles or [], colors if image.rles else [], scale, width_px=width_px)
    heading = f'{image.title}: {len(image.labels)} cells' if image.title else f'{len(image.labels)} cells'
    if image.bboxes_xyxy is not None:
        draw_boxes(picture, image.bboxes_xyxy, colors, scale, width_px)
    if image.ignored_bboxes_xyxy is not None and len(image.ignored_bboxes_xyxy):
        draw_boxes(picture, image.ignored_bboxes_xyxy, [(255, 255, 255)] * len(image.ignored_bboxes_xyxy), scale,
                   width_px)
        heading += f', {len(image.ignored_bboxes_xyxy)} ignored (white)'
    height, width = image.image.shape[:2]
    return Panel(f'{heading}, {width} x {height} px', picture)


def draw_thumbnail(image: 'BrowsedImage', class_names: list[str], name: str) -> 'Panel':
    """Draws an image as :func:`draw_panel` does, at most ``THUMBNAIL_PX`` wide and high, with visible outlines."""
    import cv2

    from mmcell.visualization.panels import Panel
    side_px = max(image.image.shape[:2])
    scale = max(THUMBNAIL_PX // side_px, 1)
    panel = draw_panel(image, class_names, scale, width_px=max(round(side_px / THUMBNAIL_PX), 1))
    picture: np.ndarray = panel.picture
    if side_px > THUMBNAIL_PX:
        size = [max(round(THUMBNAIL_PX / side_px * side), 1) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return Panel(f'{name}: {panel.heading}', picture)


def unused_name(image: 'BrowsedImage', names: Counter) -> str:
    """Returns a name for the picture of an image, which ends in a number if the name was used before."""
    from mmcell.visualization.overlay import picture_name
    name = Path(picture_name(image.img_id, image.img_path)).stem
    names[name] += 1
    return name if names[name] == 1 else f'{name}_{names[name]}'


if __name__ == '__main__':
    sys.exit(main())
