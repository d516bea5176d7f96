"""A config for the prediction of an annotation file's images, made from the config inside a checkpoint."""

from pathlib import Path

from mmengine.config import Config

from mmcell.annotations.coco_json import read_document
from mmcell.annotations.file_sets import info_of
from mmcell.checkpoints.config import CheckpointConfigError, without_initial_weights

_DATA_SETS = ('CellDataset', 'TinyVOCDataset', 'mmdet.CellDataset', 'mmdet.TinyVOCDataset')
_FOLDERS = {'data_root', 'data_prefix'}
_KEPT = {'metainfo', 'channel_order', 'pipeline', *_FOLDERS}


def make_prediction_config(config: Config, annotations: str | Path | None = None, trusted: bool = False) -> Config:
    """Returns a config with which ``tools/test.py`` predicts images, and neither measures nor writes anything else.

    Of the config inside the checkpoint it has only what is checked or cannot do harm: the model, the test pipeline, and
    where the images lie. Hooks, loops and samplers are mmcell's and MMEngine's own.

    Args:
        config: The config inside a checkpoint, as :func:`mmcell.checkpoints.config.read_checkpoint_config` returns it.
        annotations: The annotation file of the images; None takes that of the config's test data. Its images lie where
            the file says or, if it does not say, where the config says.
        trusted: Whether a data set of any class is taken, and the modules of ``custom_imports`` are imported.

    Raises:
        CheckpointConfigError: The test data of the config are no single file, are of a class that is not built without
            trust, or name no file.
        MmcellError: ``annotations`` is not an annotation file.
        FileNotFoundError: There is no such annotation file.
    """
    tested = config.test_dataloader.get('dataset') or {}
    kind, file = tested.get('type'), annotations or tested.get('ann_file')
    if {'dataset', 'datasets'} & tested.keys() or not (kind in _DATA_SETS or trusted):
        raise CheckpointConfigError(f'the test data in the config inside the checkpoint are of the type {kind!r}, but '
                                    f'only {_DATA_SETS[0]} is predicted from a work folder: predict with tools/test.py '
                                    '--out FILE.pkl, and name this file')
    if not file:
        raise CheckpointConfigError('the config inside the checkpoint names no test images: name an annotation file '
                                    'with --annotations')
    if annotations is None:
        file, kept = Path(tested.get('data_root') or '', file), _KEPT
        if not file.is_file():
            raise FileNotFoundError(f'the config inside the checkpoint names the test images {file}, but there is no '
                                    'such annotation file (seen from the current folder): name one with --annotations')
    else:
        kept = _KEPT - _FOLDERS if 'data_root' in info_of(read_document(file)) else _KEPT
    dataset = dict(type=kind, ann_file=str(Path(file).resolve()), test_mode=True,
                   **{key: tested[key] for key in sorted(kept) if tested.get(key) is not None})
    imports = config.get('custom_imports') if trusted else None
    return Config(dict(
        custom_imports=imports or dict(imports=['mmcell'], allow_failed_imports=False), default_scope='mmdet',
        model=without_initial_weights(config.model.to_dict()),
        test_dataloader=dict(batch_size=1, num_workers=2, dataset=dataset,
                             sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)),
        test_cfg=dict(type='TestLoop'), test_evaluator=[], default_hooks=dict(class_count=dict(type='ClassCountHook')),
        visualizer=dict(type='CellVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])))
