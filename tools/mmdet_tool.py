"""Runs one of the tools that MMDetection installs, for example get_flops, over a config of this project.

Started directly, most of these tools stop, because they import MMCV's compiled operations before they read the config.
Here mmcell is imported first, which replaces these operations. Without arguments, the names of the tools are printed.
"""

import argparse
import runpy
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError

EXAMPLE = """example:
  python tools/mmdet_tool.py get_flops configs/cell/mask-rcnn_r50.py --num-images 1
  python tools/mmdet_tool.py confusion_matrix configs/cell/mask-rcnn_r50.py results.pkl work_dirs/confusion
"""
# These tools cannot read label maps or result files of mmcell, or swap colours. What to use instead:
REPLACEMENTS = {
    'browse_dataset': 'tools/browse.py CONFIG --augmented',
    'analyze_results': 'tools/evaluate.py RESULTS ANNOTATIONS --worst 20 --overlays FOLDER',
    'analyze_logs': 'tools/curves.py WORK_DIR --out FILE',
    'optimize_anchors': 'tools/anchor_recall.py',
    'fuse_results': 'tools/ensemble.py',
}


# The same for single options of a tool.
REPLACED_OPTIONS = {
    ('test', '--out'): 'tools/test.py CONFIG CHECKPOINT --out FILE.pkl',
}


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the tool succeeds', 'it fails or does not exist')
    parser.add_argument('name', nargs='?', help="the tool's file name without .py (default: print all names)")
    parser.add_argument('arguments', nargs=argparse.REMAINDER,
                        help="the arguments of the tool; --help after the name shows them")
    return parser.parse_args()


def main() -> int:
    return run_command(parse_args, run_tool)


def run_tool(args: argparse.Namespace) -> None:
    tools = find_tools()
    if args.name is None:
        print('\n'.join(sorted(tools)))
        return
    name = Path(args.name).stem
    if name in REPLACEMENTS:
        raise MmcellError(f"MMDetection's {name} does not fit the data of this project: use {REPLACEMENTS[name]}")
    for (tool, option), replacement in REPLACED_OPTIONS.items():
        if name == tool and any(argument.split('=')[0] == option for argument in args.arguments):
            raise MmcellError(f"{option} of MMDetection's {tool} needs bitmaps, but masks are RLEs here: use "
                              f'{replacement}')
    if name not in tools:
        raise MmcellError(f'MMDetection has no tool {name}; call {sys.argv[0]} without arguments for all names')
    import mmcell  # noqa: F401
    sys.argv = [str(tools[name]), *args.arguments]
    # The folder of a script is the first entry of sys.path; this project's tools/ must not be searched for the tool.
    sys.path[0] = str(tools[name].parent)
    runpy.run_path(str(tools[name]), run_name='__main__')


def find_tools() -> dict[str, Path]:
    """Returns the paths of the tools that the installed MMDetection has, by their names; empty if it has none."""
    from importlib.util import find_spec
    package = Path(find_spec('mmdet').origin).parent
    # In a wheel the tools lie inside the package, in a checkout of the sources beside it.
    folder = next((path for path in (package / '.mim' / 'tools', package.parent / 'tools') if path.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.rglob('*.py'))}


if __name__ == '__main__':
    sys.exit(main())
