"""Options that several commands have. An option that MMDetection's commands also have has the same name as there."""

import argparse

from mmcell.errors import MmcellError
from mmcell.tiles.tile_limits import refuse_wrong_tiles


def add_setting_argument(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds --cfg-options to a parser; :func:`mmcell.settings.options.apply_options` reads the values.

    Args:
        parser: The parser that gets the argument.
        example: One or two settings, for the help text.
    """
    parser.add_argument('--cfg-options', nargs='+', action='extend', type=key_and_value, metavar='KEY=VALUE',
                        help=f'settings that replace those of the config, for example {example}; write a list as '
                             'KEY="[a,b]". A setting that nothing in the config reads is refused; +KEY=VALUE adds it '
                             'nevertheless (default: none)')


def key_and_value(text: str) -> str:
    """Returns the text of a setting unchanged; a text without key or without = makes argparse print a message."""
    if not text.partition('=')[0].removeprefix('+') or '=' not in text:
        raise argparse.ArgumentTypeError(f'KEY=VALUE pairs without spaces around the = expected, got {text}')
    return text


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --work-dir, --cfg-options, --launcher, --trust-checkpoint and the hidden --local_rank to a parser."""
    parser.add_argument('--work-dir', metavar='FOLDER',
                        help='folder for logs and outputs (default: work_dir of the config, or work_dirs/<path of '
                             'the config below configs/> if the config has none; with a fold, followed by _fold<N>)')
    add_setting_argument(parser, 'train_dataloader.batch_size=4 model.backbone.init_cfg=None')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started the processes, if there are several (default: none, for a single process)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints that hold more than tensors, numbers and strings, as MMDetection '
                             'saves them in training. This runs any code that is stored in the file: use it only for '
                             'files whose origin you trust (default: refuse them)')
    # torch.distributed.launch passes this argument; torchrun sets the environment variable LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_tile_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --tile, --overlap, --tile-batch and --upscale; :func:`tile_settings` reads them.

    Args:
        parser: The parser, or the argument group, that gets the arguments.
        default: What the command does without --tile, as a phrase for the help text.
    """
    parser.add_argument('--tile', type=int, metavar='PX',
                        help=f'predict in overlapping square tiles with sides of this many pixels (default: {default})')
    parser.add_argument('--overlap', type=int, metavar='PX',
                        help='least number of pixels that neighbouring tiles share (default: 128)')
    parser.add_argument('--tile-batch', type=int, metavar='N',
                        help='how many tiles are predicted at the same time (default: 1)')
    parser.add_argument('--upscale', type=float, metavar='FACTOR',
                        help='enlarge each tile by this factor before it is predicted (default: 1)')


def tile_settings(args: argparse.Namespace, default_px: int | None = None) -> dict[str, float] | None:
    """Returns the arguments for ``TiledDetector`` that the command line gives.

    Args:
        args: The parsed command line with the arguments of :func:`add_tile_arguments`.
        default_px: The side of a tile in pixels if --tile was not given; None: without --tile there are no tiles.

    Returns:
        Argument name to value: always ``tile_px``, and the others only if they were given. None: no tiles.

    Raises:
        MmcellError: An argument that has no effect without --tile was given without it, or ``TiledDetector`` refuses
            the values.
    """
    optional = dict(overlap_px=args.overlap, batch_size=args.tile_batch, upscale=args.upscale)
    optional = {key: value for key, value in optional.items() if value is not None}
    if args.tile is None and ('upscale' in optional or (optional and default_px is None)):
        raise MmcellError('--overlap, --tile-batch and --upscale have an effect only on tiles: give --tile, too')
    tile_px = default_px if args.tile is None else args.tile
    if tile_px is None:
        return None
    settings = dict(tile_px=tile_px, **optional)
    try:
        refuse_wrong_tiles(**settings)
    except ValueError as error:
        raise MmcellError(f'--tile, --overlap, --tile-batch or --upscale: {error}') from error
    return settings


def add_precision_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --amp and --no-amp to a parser; without either, ``amp`` is None.

    Args:
        parser: The parser that gets the arguments.
    """
    parser.add_argument('--amp', action=argparse.BooleanOptionalAction,
                        help='predict in mixed precision: the layers of the network compute in bfloat16 on the CPU, in '
                             'float16 on a GPU, and boxes, scores and masks are still computed in float32. --no-amp: '
                             'predict in float32 (default: mixed precision if the processor has AVX-512 BF16 or AMX, '
                             'and the cells of the first images are the same with and without it; a line on the screen '
                             'says what was chosen)')


def refuse_wrong_score(parser: argparse.ArgumentParser, score_threshold: float) -> None:
    """Ends the program with a message if --score-thr is not a score."""
    if not 0 <= score_threshold <= 1:
        parser.error(f'--score-thr must be from 0 to 1, got {score_threshold:g}')


def refuse_other_suffix(parser: argparse.ArgumentParser, flag: str, path: object, *suffixes: str) -> None:
    """Ends the program with a message if a file that is to be written does not end in one of the suffixes."""
    if path is not None and not str(path).endswith(suffixes):
        parser.error(f'{flag} must end with {" or ".join(suffixes)}, got {path}')
