"""Predicts the test images of a config, and writes what its evaluators make of them."""

import argparse

from _arguments import (
    add_config_arguments,
    add_tile_arguments,
    find_checkpoint,
    load_config,
    plain_errors,
    processes,
    stop_workers,
    tile_settings,
)
from mmengine.config import Config, ConfigDict

from mmcell.errors import MmcellError

EXAMPLE = """example:
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/mask-rcnn_r50 --out results.pkl
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/mask-rcnn_r50 --split val
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/mask-rcnn_r50 --show-dir pictures
  python tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/mask-rcnn_r50 --tile 512 --tta
  torchrun --nproc-per-node 2 tools/test.py configs/cell/mask-rcnn_r50.py work_dirs/mask-rcnn_r50 --launcher pytorch
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a work folder: its best checkpoint, else its latest')
    parser.add_argument('--out', '--dump-results', dest='out', metavar='FILE.pkl',
                        help='write the predictions to this file, masks as RLE')
    parser.add_argument('--split', choices=['test', 'val'], default='test',
                        help="val: the config's validation images and metrics instead of its test ones")
    add_tile_arguments(parser, 'as the config says, else whole images')
    parser.add_argument('--tta', action='store_true',
                        help='predict flipped and turned views of each image, too, and merge boxes and masks, as '
                             'tta_model (and tta_pipeline, if there is one) in the config says; for example '
                             '--cfg-options tta_model.scales="[1.,1.5]"')
    parser.add_argument('--show-dir', metavar='FOLDER',
                        help='draw the predictions, one PNG an image, into this folder; as in MMDetection a relative '
                             'one is inside <work dir>/<time>. Least score: --cfg-options '
                             'default_hooks.visualization.score_thr=0.3')
    add_config_arguments(parser)
    args = parser.parse_args()
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out must end with .pkl or .pickle, got {args.out}')
    return args


def main() -> None:
    args = parse_args()
    with plain_errors():
        test(args)


def test(args: argparse.Namespace) -> None:
    cfg = load_config(args)
    cfg.load_from = find_checkpoint(args.checkpoint)
    if args.split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    settings = tile_settings(args)
    if settings is not None:
        use_tiles(cfg, settings)
    if args.tta:
        use_tta(cfg)
    if args.show_dir is not None:
        draw_into(cfg, args.show_dir)
    with processes(cfg):
        run(cfg, args)


def use_tiles(cfg: Config, settings: dict[str, float]) -> None:
    """Wraps the model in a ``TiledDetector``; one that predicts tiles already gets these tiles instead."""
    cfg.model = ConfigDict(type='TiledDetector', detector=cfg.model.get('detector', cfg.model), **settings)


def use_tta(cfg: Config) -> None:
    """Wraps the model in the config's ``tta_model``, and gives the test data its ``tta_pipeline`` where it has one.

    Of a model that predicts tiles with a ``detector`` it is the detector that is wrapped: tiles have views.

    Raises:
        MmcellError: the config has no ``tta_model``, or has a ``tta_pipeline`` and tiles.
    """
    if cfg.get('tta_model') is None:
        raise MmcellError("--tta: the config has no tta_model; tta_model = dict(type='MaskTTAModel') takes all flips "
                          'and quarter turns')
    holder, key = (cfg.model, 'detector') if 'detector' in cfg.model else (cfg, 'model')
    holder[key] = ConfigDict(**cfg.tta_model, module=holder[key])
    if cfg.get('tta_pipeline') is None:
        return
    if key == 'detector':
        raise MmcellError('--tta: a tta_pipeline makes views of whole images, and the model predicts tiles; without it '
                          'tta_model makes the views')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline


def draw_into(cfg: Config, folder: str) -> None:
    """Turns the visualization hook on; a config without one gets mmcell's."""
    hooks = cfg.setdefault('default_hooks', {})
    hooks['visualization'] = {**(hooks.get('visualization') or dict(type='CellVisualizationHook')),
                              'draw': True, 'test_out_dir': folder}


def run(cfg: Config, args: argparse.Namespace) -> None:
    from mmcell.framework.console import ConsoleRunner
    runner = ConsoleRunner.from_cfg(cfg)
    from mmcell.hooks import FittingCheckpointHook
    runner.register_hook(FittingCheckpointHook(args.split))
    if args.out is not None:
        from mmcell.evaluation.registered import DumpCellResults
        # First: what a later evaluator refuses can still be looked at.
        dump = DumpCellResults(out_file_path=args.out)
        dump.dataset_meta = runner.test_evaluator.dataset_meta
        runner.test_evaluator.metrics.insert(0, dump)
    runner.test()
    stop_workers(runner)


if __name__ == '__main__':
    main()
