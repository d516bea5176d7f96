"""Writes the weights of a checkpoint in half precision, in parts of a limited size, or joins such parts again.

The file has the weights, the config and the classes: it can be named where tools/test.py and tools/predict.py take a
checkpoint. A training cannot be continued from it, but a new one can start from it (load_from). The first digits of the
SHA-256 sum of the whole are in all names, and are compared when the parts are joined.
"""

import argparse
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_unwritable_files

EXAMPLE = """example:
  python tools/half_weights.py work_dirs/cell/mask-rcnn_r50 --out carried/r50.pth --part-mib 15
  python tools/half_weights.py --join carried/r50-3f9a2c1b.pth
  python tools/half_weights.py work_dirs/cell/mask-rcnn_r50/epoch_12.pth --unchanged --out carried/epoch_12.pth
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the files were written')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, or a work folder, of which the best checkpoint '
                                                      'is taken, or the latest one if none is marked as best; not '
                                                      'together with --join')
    parser.add_argument('--join', metavar='FILE',
                        help='join the parts FILE.1-of-N, FILE.2-of-N … and write the whole (default: write parts)')
    parser.add_argument('--out', type=Path, metavar='FILE.pth',
                        help='file to write; with a checkpoint, digits of the check sum are added to its name '
                             '(default: beside the checkpoint or the parts, and named after them)')
    parser.add_argument('--unchanged', action='store_true',
                        help='write the checkpoint as it is, in parts, so that its training can be continued on '
                             'another machine (default: in half precision, only what predictions need)')
    parser.add_argument('--part-mib', type=int, metavar='N', help='largest size of a part in MiB (default: 15)')
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.join is None):
        parser.error('give either a checkpoint or --join FILE, and not both')
    if args.unchanged and args.join is not None:
        parser.error('--unchanged has no effect with --join')
    if args.part_mib is not None and args.join is not None:
        parser.error('--part-mib has no effect with --join')
    if args.part_mib is not None and args.part_mib < 1:
        parser.error(f'--part-mib must be at least 1, got {args.part_mib}')
    return args


def main() -> int:
    return run_command(parse_args, write_or_join)


def write_or_join(args: argparse.Namespace) -> None:
    from mmcell.files.parts import find_parts
    refuse_unwritable_files([args.out], '--out')
    if args.join is not None:
        find_parts(args.join)
        join(args)
    else:
        from mmcell.checkpoints.records import find_checkpoint
        write(find_checkpoint(args.checkpoint), args)


def join(args: argparse.Namespace) -> None:
    from mmcell.files.parts import join_parts
    from mmcell.files.whole_files import written_whole
    whole, content = join_parts(args.join)
    path = args.out or whole
    if args.out is None and whole.exists() and whole.read_bytes() != content:
        raise MmcellError(f'{whole} is there already, and is not what its parts give: name another file with --out')
    with written_whole([path]) as (temporary,):
        temporary.write_bytes(content)
    print(f'{path}: {len(content) / 2 ** 20:.1f} MiB, as its check sum says')


def write(checkpoint: str, args: argparse.Namespace) -> None:
    from mmcell.files.parts import write_parts
    source = Path(checkpoint)
    if args.unchanged:
        content, name = source.read_bytes(), source.name
    else:
        from mmcell.checkpoints.half_precision import to_bytes, to_half
        from mmcell.framework.safe_loading import load_tensors_only
        content, name = to_bytes(to_half(load_tensors_only(checkpoint, 'cpu'))), f'{source.stem}_half.pth'
    for written in write_parts(content, args.out or source.with_name(name), (args.part_mib or 15) * 2 ** 20):
        print(f'{written}: {written.stat().st_size / 2 ** 20:.1f} MiB')


if __name__ == '__main__':
    sys.exit(main())
