"""Writes a trained model as two files that can be passed on: weights as safetensors, and a description as JSON.

The weights are in half precision: those of the EMA, if there is one. The JSON file beside them has the config, the
classes, the scale, the SHA-256 sum of the weights, and where the model comes from. Neither can hold code. The file with
the weights can be named where a checkpoint is taken, and as load_from, from which a new training starts.
"""

import argparse
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.files.early_checks import refuse_unwritable_files
from mmcell.images.scale import parse_mpp

EXAMPLE = """example:
  python tools/export_model.py work_dirs/cell/mask-rcnn_r50_light --out nuclei.safetensors --mpp 0.25 \\
      --licence 'CC BY 4.0' --data 'NuInsSeg, 665 images of H&E' --scores metrics.json
  python tools/predict.py nuclei.safetensors images/ --out cells
"""
# The values that are kept of an evaluation.
SCORES = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'PQ_image_mean', 'F1@IoU.50_pooled', 'detection_Jaccard@IoU.50_pooled')


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'both files were written')
    parser.add_argument('checkpoint', help='checkpoint file, or a work folder, of which the best checkpoint is taken, '
                                           'or the latest one if none is marked as best')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.safetensors',
                        help='file for the weights; the description is written beside it, as FILE.json')
    parser.add_argument('--mpp', type=parse_mpp, metavar='UM',
                        help='micrometres per pixel of the training images (default: what the checkpoint says, if '
                             'anything)')
    parser.add_argument('--licence', metavar='TEXT', help='licence of the weights (default: not stated)')
    parser.add_argument('--data', metavar='TEXT', help='training data, and their licence (default: not stated)')
    parser.add_argument('--scope', metavar='TEXT',
                        help='which images the model is for, and which it is not for (default: not stated)')
    parser.add_argument('--scores', type=Path, metavar='FILE',
                        help='JSON file of tools/evaluate.py --out, whose AP, AP50, PQ and F1 are kept (default: no '
                             'scores)')
    args = parser.parse_args()
    if args.out.suffix != '.safetensors':
        parser.error(f'--out must end in .safetensors, got {args.out}')
    return args


def main() -> int:
    return run_command(parse_args, export)


def export(args: argparse.Namespace) -> None:
    from mmcell.checkpoints.records import find_checkpoint
    checkpoint = find_checkpoint(args.checkpoint)
    refuse_unwritable_files([args.out], '--out', [checkpoint])
    refuse_other_json(args.out)
    facts = {key: value for key in ('mpp', 'licence', 'data', 'scope') if (value := getattr(args, key)) is not None}
    if args.scores is not None:
        facts['scores'] = read_scores(args.scores)
    from mmcell.checkpoints.config import read_checkpoint_config
    from mmcell.checkpoints.half_precision import to_half
    from mmcell.checkpoints.model_writing import write_model
    from mmcell.framework.model_files import description_path
    from mmcell.framework.safe_loading import load_tensors_only
    from mmcell.inference.detector import describe_training
    loaded = load_tensors_only(checkpoint, 'cpu')
    # The description says of the training what a detector from the checkpoint says, also after joined data sets.
    loaded['meta']['dataset_meta'] = describe_training(loaded, read_checkpoint_config(loaded))
    description = write_model(to_half(loaded), args.out, facts)
    print(f'{args.out}: {args.out.stat().st_size / 2 ** 20:.1f} MiB, {description["parameters"] / 1e6:.1f} million '
          f'weights, classes {", ".join(description["classes"])}')
    missing = [f'--{key}' for key in ('mpp', 'licence', 'data', 'scope', 'scores') if description.get(key) is None]
    print(description_path(args.out), f'does not say what these flags are for: {", ".join(missing)}' if missing else '')


def refuse_other_json(path: Path) -> None:
    """Stops if the description would overwrite a JSON file that is none, for example the record of a checkpoint.

    Raises:
        MmcellError: There is such a file.
    """
    from mmcell.errors import MmcellError
    from mmcell.framework.model_files import description_path, read_description
    from mmcell.framework.weights_errors import WeightsError
    other = description_path(path)
    if other.exists():
        try:
            read_description(path)
        except WeightsError as error:
            raise MmcellError(f'--out: {other}, which is not the description of a model, would be overwritten: name '
                              'another file') from error


def read_scores(path: Path) -> dict:
    """Returns those values of a file of ``tools/evaluate.py --out`` that describe a model in short.

    Raises:
        MmcellError: The file cannot be read, or was not written by ``tools/evaluate.py``.
    """
    import json

    from mmcell.errors import MmcellError
    try:
        measured = json.loads(path.read_text(encoding='utf-8'))
        values = measured['values']
        return {key: values[key] for key in SCORES if key in values}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MmcellError(f'--scores: {path} is no file of tools/evaluate.py --out ({error})') from error


if __name__ == '__main__':
    sys.exit(main())
