"""Trackers of experiments, such as TensorBoard and W&B: which can be used, and how a resumed training goes on in them.

MMEngine's back ends (``mmengine.visualization.vis_backend``) write to the trackers. This module makes the arguments of
the back ends, and the names and steps of the values.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from numbers import Number
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization.vis_backend import BaseVisBackend

from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole

LOCAL = 'LocalVisBackend'
# The package that each of MMEngine's back ends imports. Back ends of other origin are not checked.
_PACKAGES = {'TensorboardVisBackend': 'tensorboard', 'WandbVisBackend': 'wandb', 'MLflowVisBackend': 'mlflow',
             'ClearMLVisBackend': 'clearml', 'NeptuneVisBackend': 'neptune', 'DVCLiveVisBackend': 'dvclive',
             'AimVisBackend': 'aim'}
# The file in which a training keeps the ids that trackers have given it.
_IDS = 'trackers.json'
# MLflow and TensorBoard have no other characters in names.
_NOT_IN_NAMES = re.compile(r'[^\w./ -]')


class TrackerError(MmcellError):
    """A tracker cannot be used as it is set; the message says what to do."""


def to_settings(vis_backends: Sequence[str | Mapping]) -> list[dict]:
    """Returns the settings of back ends, each as a dict with its ``type``.

    Args:
        vis_backends: The settings, in which a name stands for a dict with only a ``type``. If ``LocalVisBackend`` is
            not among them, it is added, because --resume, ``tools/curves.py`` and others read its log.
    """
    settings = [dict(type=entry) if isinstance(entry, str) else dict(entry) for entry in vis_backends]
    return settings if any(entry.get('type') == LOCAL for entry in settings) else [dict(type=LOCAL), *settings]


def refuse_unusable_trackers(config: Mapping) -> None:
    """Stops before a training whose trackers cannot start.

    Args:
        config: The resolved config, as nested dicts and lists.

    Raises:
        TrackerError: ``vis_backends`` is set at the top level, where nothing reads it; a back end is unknown, or the
            package that it needs is not installed.
    """
    kinds = _kinds_of((config.get('visualizer') or {}).get('vis_backends'))
    # MMDetection's configs have both, and their children may change only the setting that counts.
    if set(_kinds_of(config.get('vis_backends'))) - {*kinds, LOCAL}:
        raise TrackerError('vis_backends is read by nothing: set visualizer.vis_backends, for example --cfg-options '
                           '"visualizer.vis_backends=[TensorboardVisBackend]"')
    for kind in kinds:
        if VISBACKENDS.get(kind) is None:
            near = get_close_matches(kind, VISBACKENDS.module_dict, cutoff=.3)
            raise TrackerError(f'visualizer.vis_backends: there is no back end {kind}; did you mean '
                               f'{" or ".join(near or sorted(VISBACKENDS.module_dict))}?')
        package = _PACKAGES.get(kind)
        if package is not None and find_spec(package) is None:
            raise TrackerError(f'visualizer.vis_backends: {kind} needs the package {package}. Install it with "pip '
                               f'install {package}", or leave {kind} out')


def _kinds_of(backends: object) -> list[str]:
    """Returns the names of back ends in a setting; classes have no name that could be wrong."""
    entries = backends if isinstance(backends, list | tuple) else [backends]
    kinds = [entry.get('type') if isinstance(entry, Mapping) else entry for entry in entries]
    return [kind for kind in kinds if isinstance(kind, str)]


@dataclass(frozen=True)
class TrackedTraining:
    """A training that trackers follow.

    Attributes:
        folder: The folder of its first run, where its trackers write and where the ids that they have given it are
            kept. A resumed run has the folder of the first run, too.
        step: The number of steps that are done when the run begins; 0 if it is not resumed.
    """

    folder: Path
    step: int = 0

    @property
    def ids(self) -> dict[str, str]:
        """The ids of the training in its trackers, by the types of their back ends; empty in a new training."""
        with suppress(OSError, ValueError):
            ids = json.loads(Path(self.folder, _IDS).read_text(encoding='utf-8'))
            if isinstance(ids, dict):
                return ids
        return {}


def start_tracker(settings: dict, config: Config, training: TrackedTraining) -> BaseVisBackend:
    """Returns the back end of a tracker, in which a resumed training goes on.

    Args:
        settings: The settings of the back end: its ``type`` and arguments.
        config: The config of the training, which the tracker stores.
        training: The training.

    Raises:
        TrackerError: The training cannot go on in the tracker.
    """
    kind = settings['type']
    settings = {'save_dir': str(training.folder), **settings}
    if kind in _ARGUMENTS:
        settings = _ARGUMENTS[kind](settings, training.ids.get(kind))
    backend = VISBACKENDS.build(settings)
    backend.add_config(config)
    if kind == 'TensorboardVisBackend' and training.step:
        _purge(backend, training.step + 1)
    if kind == 'WandbVisBackend' and settings.get('define_metric_cfg') is None:
        # Curves over the step of the training instead of the number of calls of wandb.log.
        backend.experiment.define_metric('*', step_metric='step')
    if kind in _FIND_ID:
        ids = {**training.ids, kind: _FIND_ID[kind](backend)}
        with written_whole([Path(training.folder, _IDS)]) as (temporary,):
            temporary.write_text(json.dumps(ids, indent=1), encoding='utf-8')
    return backend


def _arguments_of_wandb(settings: dict, known: str | None) -> dict:
    """Returns the settings of a back end with which a training goes on in a known run, or begins a new run."""
    # The config of a resumed run differs in load_from and resume, which W&B refuses without allow_val_change.
    own = {} if known is None else {'id': known, 'resume': 'allow', 'allow_val_change': True}
    return {**settings, 'init_kwargs': {**own, **(settings.get('init_kwargs') or {})}}


def _arguments_of_mlflow(settings: dict, known: str | None) -> dict:
    import mlflow
    # MMEngine would write files into save_dir, which MLflow 3 refuses. MLflow's own default is a data base, or what the
    # environment variable MLFLOW_TRACKING_URI names.
    settings = {'tracking_uri': mlflow.get_tracking_uri(), **settings}
    if known is None:
        return settings
    mlflow.set_tracking_uri(settings['tracking_uri'])
    try:
        mlflow.start_run(run_id=known)
    except mlflow.MlflowException as error:
        raise TrackerError(f'the run {known} cannot be continued in MLflow ({error}); to begin a new run there, remove '
                           f'{Path(settings["save_dir"], _IDS)}') from error
    # MLflow refuses parameters with another value than before, as load_from and resume have.
    return {**settings, 'tracked_config_keys': []}


def _arguments_of_clearml(settings: dict, known: str | None) -> dict:
    # A new training is a new task, also if an earlier one has the same name. With the offset 0, the steps of a resumed
    # run are not counted on from the last one.
    own = {'reuse_last_task_id': False} if known is None else {'reuse_last_task_id': known, 'continue_last_task': 0}
    return {**settings, 'init_kwargs': {**own, **(settings.get('init_kwargs') or {})}}


_ARGUMENTS: dict[str, Callable[[dict, str | None], dict]] = {
    'WandbVisBackend': _arguments_of_wandb, 'MLflowVisBackend': _arguments_of_mlflow,
    'ClearMLVisBackend': _arguments_of_clearml}
_FIND_ID: dict[str, Callable[[BaseVisBackend], str]] = {
    'WandbVisBackend': lambda backend: backend.experiment.run.id,
    'MLflowVisBackend': lambda backend: backend.experiment.active_run().info.run_id,
    'ClearMLVisBackend': lambda backend: backend.experiment.Task.current_task().id}


def _purge(backend: BaseVisBackend, step: int) -> None:
    """Makes TensorBoard forget the values of earlier runs from a step on, which the resumed run writes again."""
    # SummaryWriter does the same for its argument purge_step, which MMEngine's back end does not pass on.
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    backend.experiment.file_writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))


def add_values(backend: BaseVisBackend, values: Mapping[str, float], step: int) -> None:
    """Gives values to a tracker, at once."""
    kind = type(backend).__name__
    # MMEngine's back end for W&B ignores the step.
    backend.add_scalars({**values, 'step': step} if kind == 'WandbVisBackend' else dict(values), step)
    if kind == 'TensorboardVisBackend':
        # TensorBoard writes every two minutes. After a kill, values would be missing that are not computed again.
        backend.experiment.flush()


def name_values(values: Mapping[str, object]) -> dict[str, float]:
    """Returns the values that MMEngine logs under the names that they have in trackers.

    Names of training values get 'train/' in front, those of validation values 'val/'. Both have the values 'time' and
    'data_time', which trackers would otherwise draw as one curve. In names, @ becomes '_at_', and other characters that
    some trackers refuse become '_'. The number of the step, and values that are no numbers, are left out.

    Args:
        values: What ``LoggerHook`` passes on: of a training with the key 'iter' or 'loss', else of a validation.
    """
    part = 'train' if 'iter' in values or 'loss' in values else 'val'
    return {f'{part}/{_NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))}': value for name, value in values.items()
            if isinstance(value, Number) and name not in ('iter', 'step')}
