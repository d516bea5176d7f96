"""Predicts the test images of a config with a checkpoint, and runs the config's evaluators on the predictions.

With the configs of this project, predictions of test images are written as a submission zip in <work folder>/<time>.
With --split val, the average precision on the validation images is written to the log.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from _config import check_config_arguments, load_config
from _launch import processes, stop_workers, use_gloo_without_gpu
from _options import (
    add_config_arguments,
    add_precision_arguments,
    add_tile_arguments,
    refuse_other_suffix,
    tile_settings,
)

from mmcell.commands.shell import make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_unwritable_files

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLE = """example:
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/cell/mask-rcnn_r50 --out results.pkl
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/cell/mask-rcnn_r50 --split val
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/cell/mask-rcnn_r50 --show-dir pictures
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/cell/mask-rcnn_r50 --tile 512 --tta
  torchrun --nproc-per-node 2 tools/test.py configs/cell/mask-rcnn_r50.py best_AP50_epoch_9.pth --launcher pytorch
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all images were predicted and evaluated')
    parser.add_argument('config', help='config file of the experiment')
    parser.add_argument('checkpoint', help='checkpoint file, or a work folder, of which the best checkpoint is taken, '
                                           'or the latest one if none is marked as best')
    parser.add_argument('--out', '--dump-results', dest='out', metavar='FILE.pkl',
                        help='also write the predictions to this file, a dump with masks as RLE (default: no dump)')
    parser.add_argument('--split', choices=['test', 'val'], default='test',
                        help="test: the test images and evaluators of the config; val: the validation images and "
                             'evaluators (default: test)')
    add_tile_arguments(parser, 'the tiles of the config, or whole images if it has none')
    parser.add_argument('--tta', action='store_true',
                        help='test-time augmentation: also predict flipped and turned views of each image, and merge '
                             'boxes and masks. The views are those of tta_model (and tta_pipeline, if there is one) in '
                             'the config; change them for example with --cfg-options tta_model.scales="[1.,1.5]" '
                             '(default: no views)')
    parser.add_argument('--show-dir', metavar='FOLDER',
                        help='draw the predictions into this folder, one PNG per image. As in MMDetection, a relative '
                             'path is inside <work folder>/<time>. Change the lowest score that is drawn with '
                             '--cfg-options default_hooks.visualization.score_thr=0.3 (default: no pictures)')
    add_precision_arguments(parser)
    add_config_arguments(parser)
    args = parser.parse_args()
    refuse_other_suffix(parser, '--out', args.out, '.pkl', '.pickle')
    return args


def main() -> int:
    return run_command(parse_args, test)


def test(args: argparse.Namespace) -> None:
    """Applies the command line to the config, and runs it."""
    from mmcell.checkpoints.records import find_checkpoint
    check_config_arguments(args)
    checkpoint, tiles = find_checkpoint(args.checkpoint), tile_settings(args)
    refuse_unwritable_files([args.out], '--out')
    from mmcell.framework.safe_loading import trusting_checkpoints
    with trusting_checkpoints(args.trust_checkpoint):
        cfg = load_config(args)
        cfg.load_from = checkpoint
        if args.split == 'val':
            cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        if tiles is not None:
            use_tiles(cfg, tiles)
        if args.tta:
            use_tta(cfg)
        if args.show_dir is not None:
            draw_into(cfg, args.show_dir)
        with processes(use_gloo_without_gpu(cfg)):
            run(cfg, args)


def use_tiles(cfg: 'Config', settings: dict[str, float]) -> None:
    """Wraps the model of ``cfg`` in a ``TiledDetector`` with these settings, which replaces an existing one."""
    cfg.model = dict(type='TiledDetector', detector=cfg.model.get('detector', cfg.model), **settings)


def use_tta(cfg: 'Config') -> None:
    """Wraps the model in the config's ``tta_model``, and gives the test data the ``tta_pipeline`` if there is one.

    If the model predicts tiles, the detector inside it is wrapped instead, so that views are made of each tile.

    Raises:
        MmcellError: The config has no ``tta_model``, or it has a ``tta_pipeline`` and the model predicts tiles.
    """
    if cfg.get('tta_model') is None:
        raise MmcellError("--tta: the config has no tta_model; add tta_model = dict(type='MaskTTAModel') to it for "
                          'all flips and quarter turns')
    parent, key = (cfg.model, 'detector') if 'detector' in cfg.model else (cfg, 'model')
    from mmengine.config import ConfigDict
    parent[key] = ConfigDict(**cfg.tta_model, module=parent[key])
    if cfg.get('tta_pipeline') is None:
        return
    if key == 'detector':
        raise MmcellError('--tta: the tta_pipeline of the config makes views of whole images, but the model predicts '
                          'tiles; give --cfg-options tta_pipeline=None, and tta_model makes the views of each tile')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline


def draw_into(cfg: 'Config', folder: str) -> None:
    """Makes the visualization hook draw into a folder; a config without a visualization hook gets mmcell's."""
    hooks = cfg.setdefault('default_hooks', {})
    hooks['visualization'] = {**(hooks.get('visualization') or dict(type='CellVisualizationHook')),
                              'draw': True, 'test_out_dir': folder}


def run(cfg: 'Config', args: argparse.Namespace) -> None:
    """Builds the runner, adds the check of the checkpoint and the writer of the dump to it, and runs the test."""
    from mmcell.framework.console import ConsoleRunner
    runner = ConsoleRunner.from_cfg(cfg)
    from mmcell.hooks import FittingCheckpointHook, PrecisionHook
    runner.register_hook(FittingCheckpointHook(args.split))
    runner.register_hook(PrecisionHook(args.amp))
    if args.out is not None:
        from mmcell.evaluation.registered import DumpCellResults
        # The dump comes first, so that predictions which a later evaluator refuses can still be looked at.
        dump = DumpCellResults(out_file_path=args.out)
        dump.dataset_meta = runner.test_evaluator.dataset_meta
        runner.test_evaluator.metrics.insert(0, dump)
    runner.test()
    stop_workers(runner)


if __name__ == '__main__':
    sys.exit(main())
