"""One folder, one training: whether a folder holds another training, and what has changed at --resume."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.optim.scheduler.param_scheduler import INF

from mmcell.checkpoints.differences import compare_trainings, recorded_settings
from mmcell.checkpoints.fit import FitError
from mmcell.checkpoints.records import CheckpointRecord, record_path
from mmcell.errors import MmcellError, list_some

# Settings whose effect is part of the state that a checkpoint holds.
_IN_STATE = re.compile(r'optim_wrapper\.(optimizer|paramwise_cfg)\..*|param_scheduler(\..*)?|randomness\.seed')
# Settings with which the saved state of optimizer and schedule does not fit.
_NOT_RESUMABLE = re.compile(
    r'optim_wrapper\.optimizer\.type|param_scheduler(\.\d+(\.type)?)?|train_cfg\.(type|by_epoch)')
# Settings that say which images are held out; a training that goes on with others has already learnt from them.
_OF_FOLD = re.compile(r'(train|val)_dataloader\..*\.(fold|held_out)')
# Settings that only the start of a training reads.
_OF_START = re.compile(r'model\..*(init_cfg|pretrained)(\..*)?')
_WAYS_OUT = ('Continue that training with --resume and its own settings, train in another folder with --work-dir '
             'FOLDER, or copy the config to a file of another name')
_NEW_TRAINING = ('A training with them from its first step on: --work-dir FOLDER without --resume; from the weights of '
                 'the checkpoint: also --cfg-options load_from=CHECKPOINT')


class OtherRunError(MmcellError):
    """A folder already holds another training; the message says what differs and what to do."""


def refuse_other_run(records: Sequence[CheckpointRecord], config: Mapping) -> None:
    """Stops if a folder holds a training with other settings than the one that is about to start.

    Args:
        records: The records of the folder's checkpoints, from the oldest to the newest.
        config: The resolved config of the training that is about to start, as nested dicts and lists.

    Raises:
        OtherRunError: The newest checkpoint belongs to a training with other settings.
    """
    before = recorded_settings(records[-1].content) if records else None
    differences = [] if before is None else compare_trainings(before, config)
    if differences:
        raise OtherRunError(f'{_describe_folder(records)}, which differs: {list_some(differences)}. {_WAYS_OUT}')


def refuse_other_data(records: Sequence[CheckpointRecord], data: Mapping) -> None:
    """Stops if a folder holds a training on other data, although the names of the files are the same.

    Args:
        records: The records of the folder's checkpoints, from the oldest to the newest.
        data: The description of the data of the training that is about to start: a dict with the keys 'train' and
            'val', whose values are results of :func:`mmcell.checkpoints.provenance.describe_data`.

    Raises:
        OtherRunError: Training or validation data of the newest checkpoint differ.
    """
    changed = _changed_data(records[-1].content, data) if records else []
    if changed:
        raise OtherRunError(f'{_describe_folder(records)}, which had other images or annotations in '
                            f'{", ".join(changed)}. {_WAYS_OUT}')


def refuse_resuming_elsewhere(records: Sequence[CheckpointRecord], resumed: CheckpointRecord) -> None:
    """Stops if a training would be continued in a folder that holds another training.

    Args:
        records: The records of the checkpoints in the work folder, from the oldest to the newest.
        resumed: The record of the checkpoint that the training continues from.

    Raises:
        OtherRunError: The checkpoint lies in another folder, and the work folder has checkpoints of another training.
    """
    if not records or records[-1].path.parent.resolve() == resumed.path.parent.resolve():
        return
    if resumed.run is None or records[-1].run != resumed.run:
        raise OtherRunError(f'{_describe_folder(records)} than {resumed.path}. Continue the training in another folder '
                            'with --work-dir FOLDER')


def _describe_folder(records: Sequence[CheckpointRecord]) -> str:
    newest = records[-1]
    return f'the folder {newest.path.parent} holds the checkpoints of another training ({newest.path.name})'


def _changed_data(content: dict, data: Mapping) -> list[str]:
    """Returns the annotation files whose images or annotations are not those that a record describes."""
    recorded = content.get('data')
    if not isinstance(recorded, dict):
        return []
    return [part['ann_file'] for split in ('train', 'val') for part in data[split]
            if recorded.get(split) and part['sha256'] not in {before.get('sha256') for before in recorded[split]}]


def set_aside(records: Sequence[CheckpointRecord], folder: Path) -> Path:
    """Moves checkpoints and their records to a folder, which is made; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        for path in (record.path, record_path(record.path)):
            if path.exists():
                os.replace(path, folder / path.name)
    return folder


def describe_changes(resumed: dict, config: Mapping, data: Mapping) -> Iterator[str]:
    """Yields sentences about the settings and data that differ from those of the checkpoint that is resumed.

    Args:
        resumed: What the checkpoint says about its training (:func:`mmcell.checkpoints.records.content_of`).
        config: The resolved config, as nested dicts and lists.
        data: The description of the data, as in :func:`refuse_other_data`.

    Raises:
        FitError: The state in the checkpoint cannot be continued with the config, because its optimizer, its
            learning-rate schedule or its unit of length (epochs or iterations) is another one, or another fold is held
            out.
    """
    before = recorded_settings(resumed)
    if before is not None:
        differences = [change for change in compare_trainings({**before, 'resume': True}, config)
                       if not _OF_START.fullmatch(change.name)]
        wrong = [change for change in differences if _NOT_RESUMABLE.fullmatch(change.name)]
        if wrong:
            raise FitError('--resume: the saved state of optimizer and learning-rate schedule cannot be continued with '
                           f'{list_some(wrong)}. {_NEW_TRAINING}')
        held_out = [change for change in differences if _OF_FOLD.fullmatch(change.name)]
        if held_out:
            raise FitError(f'--resume: another fold is held out: {list_some(held_out)}. The training of the checkpoint '
                           'has learnt from images that this one is validated on: train each fold from its first step '
                           'on, in a folder of its own (--work-dir FOLDER without --resume)')
        ignored = [change for change in differences if _IN_STATE.fullmatch(change.name)]
        if ignored:
            yield ('--resume: these settings have no effect, because optimizer, learning-rate schedule and seed '
                   f'continue as they were saved: {list_some(ignored)}. {_NEW_TRAINING}')
        others = [change for change in differences if change not in ignored]
        if others:
            yield f'--resume: these settings are new from this step on: {list_some(others)}. {_NEW_TRAINING}'
    changed = _changed_data(resumed, data)
    if changed:
        yield ('--resume: images or annotations are not the same as in the checkpoint, from this step on: '
               f'{", ".join(changed)}')


def has_same_schedule(resumed: dict, config: Mapping) -> bool:
    """Returns whether a checkpoint records the same settings of the learning-rate schedule as a config has.

    Args: As in :func:`describe_changes`.
    """
    before = recorded_settings(resumed)
    return before is not None and before.get('param_scheduler') == config.get('param_scheduler')


def describe_schedule(saved_end: int, own_end: int, max_iters: int) -> Iterator[str]:
    """Yields a sentence if the learning-rate schedule that was resumed is not as long as that of the config.

    Args:
        saved_end: The step at which the schedule of the checkpoint ends (:func:`end_of_schedule`).
        own_end: The step at which the schedule of the config would end.
        max_iters: The number of steps of the whole training.
    """
    if saved_end != own_end:
        rest = f'; the training goes on to step {max_iters:,} with its last value' if saved_end < max_iters else (
            f', but the training ends after {max_iters:,}')
        yield f'--resume: the saved learning-rate schedule is {saved_end:,} steps long{rest}. {_NEW_TRAINING}'


def end_of_schedule(schedulers: object, steps_per_epoch: int) -> int:
    """Returns the step at which the last part of a learning-rate schedule ends; 0 without a schedule.

    Args:
        schedulers: The parameter schedulers of a runner: a list, one list per optimizer in a dict, or None.
        steps_per_epoch: The number of steps of one epoch.
    """
    lists = schedulers.values() if isinstance(schedulers, Mapping) else [schedulers or []]
    return max((scheduler.end * (steps_per_epoch if scheduler.by_epoch else 1)
                for part in lists for scheduler in part if scheduler.begin < INF), default=0)
