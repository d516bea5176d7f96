"""Makes synthetic images like H&E stainings, and masks of their cells, in the folders that to_coco.py reads."""

import argparse
import json
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_unwritable_folder

EXAMPLE = """example:
  python data_prep/make_demo_data.py work_dirs/demo/data --images 40 --test-images 6
  python data_prep/to_coco.py work_dirs/demo/data --out work_dirs/demo/annotations --channel-order bgr
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all files were written')
    parser.add_argument('out', type=Path, metavar='FOLDER',
                        help='folder where train/, test_release/ and the list of test images are written')
    parser.add_argument('--images', type=int, default=40, metavar='N',
                        help='number of training images, with masks (default: 40)')
    parser.add_argument('--test-images', type=int, default=6, metavar='N',
                        help='number of test images, without masks (default: 6)')
    parser.add_argument('--size', type=int, default=256, metavar='PX',
                        help='mean height and width of the images in pixels; each height and width differs from it by '
                             'up to a quarter, at random (default: 256)')
    parser.add_argument('--density', type=float, default=16., metavar='CELLS',
                        help='number of cells to place per 100 x 100 pixels. Cells for which there is too little room '
                             'are left out, so that images have fewer; many cells touch (default: 16)')
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='whole number that all random choices depend on; the same number gives the same images '
                             '(default: 0)')
    parser.add_argument('--channel-order', choices=('rgb', 'bgr'), default='bgr',
                        help="order of the colours in the image files. 'bgr' stores blue first although the file is "
                             "tagged RGB, as in the images of the challenge; other programs then show red and blue "
                             "exchanged. 'rgb' looks right everywhere (default: bgr)")
    args = parser.parse_args()
    if min(args.images, args.test_images, args.density, args.seed) < 0 or args.size < 1:
        parser.error('--images, --test-images, --density and --seed must not be negative, and --size must be positive')
    return args


def main() -> int:
    return run_command(parse_args, make_data)


def make_data(args: argparse.Namespace) -> None:
    refuse_unwritable_folder(args.out, 'FOLDER')
    import numpy as np
    from _demo_cells import make_scene, write_image, write_train_folder

    from mmcell.annotations.id_list import TEST_FOLDER, TEST_IDS_FILE
    from mmcell.files.whole_files import written_whole
    from mmcell.layouts.class_maps import TRAIN_FOLDER
    refuse_other_data(args.out, TRAIN_FOLDER, TEST_FOLDER, TEST_IDS_FILE)
    seeds = np.random.SeedSequence(args.seed).spawn(args.images + args.test_images)
    scenes = (make_scene(np.random.default_rng(seed), args.size, args.density) for seed in seeds)
    for index in range(args.images):
        write_train_folder(args.out / TRAIN_FOLDER / f'demo_{index:03d}', *next(scenes), args.channel_order)
    test_folder = args.out / TEST_FOLDER
    test_folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for image_id, (image, _) in enumerate(scenes, start=1):
        name = f'demo_test_{image_id:03d}.tif'
        write_image(test_folder / name, image, args.channel_order)
        entries.append({'file_name': name, 'id': image_id, 'height': image.shape[0], 'width': image.shape[1]})
    with written_whole([args.out / TEST_IDS_FILE]) as (temporary,):
        temporary.write_text(json.dumps(entries, indent=1), encoding='utf-8')
    print(f'wrote {args.images} training and {args.test_images} test images to {args.out}')


def refuse_other_data(folder: Path, train_folder: str, test_folder: str, ids_file: str) -> None:
    """Stops if a folder has images or an id list that are no demo data: they would be mixed with these or overwritten.

    Raises:
        MmcellError: There is such a file.
    """
    foreign = [path for name in (train_folder, test_folder) for path in sorted((folder / name).glob('*'))
               if not path.name.startswith('demo_')]
    ids = folder / ids_file
    if ids.exists():
        try:
            names = [entry['file_name'] for entry in json.loads(ids.read_text(encoding='utf-8'))]
        except (ValueError, TypeError, KeyError):
            names = [None]
        if not all(str(name).startswith('demo_') for name in names):
            foreign.append(ids)
    if foreign:
        raise MmcellError(f'{foreign[0]} is no demo data, and would be mixed with it or overwritten: name another '
                          'folder')


if __name__ == '__main__':
    sys.exit(main())
