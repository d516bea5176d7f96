"""The models of work folders: their predictions, each made once and kept in its folder, and which are one model."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmengine.config import Config

# Below a work folder: config, logs and unfinished predictions.
PREDICTION_FOLDER = 'predictions'


@dataclass(frozen=True)
class FolderModel:
    """The model of a work folder.

    Attributes:
        folder: The work folder.
        checkpoint: Its best checkpoint, or the latest one if none is marked as best.
        config: The config inside the checkpoint, with which the model was trained.
        test_config: The config of the prediction.
    """

    folder: Path
    checkpoint: Path
    config: 'Config'
    test_config: 'Config'

    @property
    def annotations(self) -> Path:
        """The annotation file of the images that are predicted."""
        return Path(self.test_config.test_dataloader.dataset.ann_file)

    @property
    def dump(self) -> Path:
        """The file with the predictions, for example ``test.pkl`` for the images of ``test.json``."""
        return self.folder / f'{self.annotations.stem}.pkl'


def read_models(folders: Sequence[Path], annotations: Path | None, trusted: bool) -> list[FolderModel]:
    """Returns the models of work folders.

    Args:
        folders: The work folders.
        annotations: The annotation file of the images that are predicted; None takes the test images of the config in
            each checkpoint.
        trusted: Whether checkpoints may run code, see ``--trust-checkpoint``.

    Raises:
        MmcellError: A folder has no checkpoint, its config cannot be used, or the configs name different test images
            and ``annotations`` is None.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    from mmcell.checkpoints.config import read_checkpoint_config
    from mmcell.checkpoints.prediction_config import make_prediction_config
    from mmcell.checkpoints.records import find_checkpoint
    from mmcell.framework.safe_loading import trusting_checkpoints
    models = []
    for folder in folders:
        path = find_checkpoint(folder)
        try:
            with trusting_checkpoints(trusted):
                loaded = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
                config = read_checkpoint_config(loaded, trusted)
            models.append(FolderModel(folder, Path(path), config, make_prediction_config(config, annotations, trusted)))
        except MmcellError as error:
            error.add_note(f'The checkpoint is {path}')
            raise
    files = list(dict.fromkeys(model.annotations for model in models))
    if len(files) > 1:
        raise MmcellError(f'the configs of the work folders name different test images, {files[0]} and {files[1]}: '
                          'name the annotation file with --annotations')
    return models


def predict(model: FolderModel, trusted: bool) -> bool:
    """Predicts the images with tools/test.py, unless the dump in the folder is of this checkpoint and these images.

    A hidden file beside the dump records what the dump was made from.

    Args:
        model: The model.
        trusted: Whether the checkpoint may run code.

    Returns:
        Whether something was predicted.

    Raises:
        MmcellError: A file that this function did not write is in the place of the dump, or the prediction failed.
    """
    from mmcell.evaluation.report_files import describe_file
    from mmcell.files.whole_files import written_whole
    record_path = model.dump.with_name(f'.{model.dump.name}.json')
    record = json.loads(record_path.read_text(encoding='utf-8')) if record_path.exists() else {}
    origin = {'checkpoint': describe_file(model.checkpoint)['sha256'],
              'annotations': describe_file(model.annotations)['sha256']}
    if model.dump.exists():
        if record.get('dump') != describe_file(model.dump)['sha256']:
            raise MmcellError(f'{model.dump} was made by another command, so that its checkpoint is not known: name '
                              'the file in place of the folder, or move it away')
        if {**record, **origin} == record:
            return False
    folder = model.folder / PREDICTION_FOLDER
    folder.mkdir(exist_ok=True)
    unfinished = folder / model.dump.name
    _run_test(model, folder, unfinished, trusted)
    with written_whole([record_path, model.dump]) as (temporary_record, temporary_dump):
        record = {**origin, 'dump': describe_file(unfinished)['sha256']}
        temporary_record.write_text(json.dumps(record), encoding='utf-8')
        os.replace(unfinished, temporary_dump)
    return True


def _run_test(model: FolderModel, folder: Path, out: Path, trusted: bool) -> None:
    config = folder / f'{model.dump.stem}.py'
    model.test_config.dump(config)
    command = [sys.executable, str(Path(__file__).with_name('test.py')), str(config), str(model.checkpoint), '--out',
               str(out), '--work-dir', str(folder), '--launcher', 'none', *(['--trust-checkpoint'] if trusted else [])]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise MmcellError(f'{model.folder}: its prediction ended with exit status {status}, for the reason above')


def share_weights(models: Sequence[FolderModel | None]) -> list[float]:
    """Returns the weight of each model: 1 divided by the number of models that are folds of the same training.

    Trainings with the same settings, seed included, are folds of one training if they held out different folds.

    Args:
        models: The models; None stands for a dump, which counts as a model of its own.
    """
    from mmcell.checkpoints.differences import compare_trainings
    groups: list[list[int]] = []
    settings = [None if model is None else _without_fold(model.config) for model in models]
    for index, own in enumerate(settings):
        group = next((group for group in groups if own is not None and settings[group[0]] is not None
                      and not compare_trainings(settings[group[0]], own)), None)
        if group is None:
            groups.append(group := [])
        group.append(index)
    size = {index: len(group) for group in groups for index in group}
    return [1 / size[index] for index in range(len(models))]


def _without_fold(config: 'Config') -> dict | None:
    """Returns the settings of a training as if it had held out fold 0; None if it held out no fold."""
    from mmcell.settings.data_sets import leaf_settings
    config = deepcopy(config)
    leaves = [leaf for loader in (config.get('train_dataloader'), config.get('val_dataloader')) if loader
              for _, leaf in leaf_settings(loader.dataset) if leaf.get('fold') is not None]
    for leaf in leaves:
        leaf.fold = 0
    # Of a training that was resumed, load_from names its own checkpoint.
    return {**config.to_dict(), 'resume': True} if leaves else None
