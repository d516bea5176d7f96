"""Checkpoints that load without running code, are never incomplete, and record what they were made from."""

import json
from collections.abc import Iterator
from copy import copy
from math import isfinite
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmcell.checkpoints.content import to_history_buffers, to_plain
from mmcell.checkpoints.provenance import describe_data, describe_software
from mmcell.checkpoints.records import CheckpointRecord, content_of, find_best, read_records, record_path
from mmcell.checkpoints.runs import (
    describe_changes,
    describe_schedule,
    end_of_schedule,
    has_same_schedule,
    refuse_other_data,
    refuse_other_run,
    set_aside,
)
from mmcell.evaluation.cell_metric import HEADLINES
from mmcell.files.whole_files import remove_leftovers, written_whole
from mmcell.framework.safe_loading import WeightsError
from mmcell.framework.schedules import follow_length
from mmcell.hooks.budget import count_parameters
from mmcell.hooks.steps import steps_done

BACKEND = 'mmcell_whole_files'


class WholeFileBackend(LocalBackend):
    """A file backend for local files that are written completely or not at all.

    Files that are to be removed stay until :meth:`remove_outdated` is called, after their replacement was written.

    Args:
        description: The text of the record that ``put`` writes beside a file, NAME.json beside NAME.pth. Either both
            files appear or none. None writes no record.
    """

    def __init__(self, description: str | None = None) -> None:
        self.description = description
        self.outdated: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file and its record.

        Raises:
            WeightsError: The file cannot be written, for example because the disk is full. An older file of the same
                name stays as it was.
        """
        contents = {Path(filepath): obj}
        if self.description is not None:
            contents = {record_path(Path(filepath)): self.description.encode(), **contents}
        try:
            with written_whole(contents) as temporary_paths:
                for path, content in zip(temporary_paths, contents.values(), strict=True):
                    path.write_bytes(content)
        except OSError as error:
            raise WeightsError(f'the checkpoint {filepath} cannot be written ({error.strerror}); earlier checkpoints '
                               'are unchanged: solve the problem, then continue with --resume') from error

    def remove(self, filepath: str | Path) -> None:
        """Marks a file as outdated; :meth:`remove_outdated` removes it later."""
        self.outdated.append(str(filepath))

    def remove_outdated(self, kept: set[str]) -> None:
        """Removes the marked files and their records, except the files whose paths are in ``kept``."""
        for path in map(Path, set(self.outdated) - kept):
            path.unlink(missing_ok=True)
            record_path(path).unlink(missing_ok=True)
        self.outdated.clear()


register_backend(BACKEND, WholeFileBackend, force=True)


class _FormattedConfig(Config):
    """A config that formats its text once; MMEngine formats it for every checkpoint, which takes a second.

    If Ctrl-C comes while MMEngine formats a text, the text is reported as a syntax error.
    """

    @classmethod
    def of(cls, config: Config) -> '_FormattedConfig':
        formatted = copy(config)
        # Plain assignments to a config become settings.
        object.__setattr__(formatted, '__class__', cls)
        vars(formatted)['_formatted'] = config.pretty_text
        return formatted

    @property
    def pretty_text(self) -> str:
        return vars(self)['_formatted']


@HOOKS.register_module()
class CellCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with the same arguments and more care for what it writes and reads.

    - A checkpoint contains only tensors, numbers, strings and containers of these: it loads with
      ``weights_only=True``. The stock hook also pickles the message hub's buffers, which need ``getattr`` and NumPy's
      internals to load.
    - A run that is killed or finds the disk full leaves the last checkpoint complete: a file is written under a
      temporary name, and the old checkpoint is removed only when the new checkpoint exists. The stock hook removes the
      old checkpoint first.
    - Beside ``NAME.pth`` lies its record ``NAME.json``: epoch, step, seed, time, config, start of the training, best
      values so far, software with versions and commit, and the data with their hash and class names.
      ``meta['mmcell']`` in the checkpoint has the same, except for config and step, which stand in ``meta``.
    - A folder holds the checkpoints of one training. Another training is refused
      (:func:`mmcell.checkpoints.runs.refuse_other_run`). If the same training is started again, or resumed from an
      earlier step, the later checkpoints are moved to a folder of their own; none is ever deleted.
    - When a training is resumed, the differences between its config and the config in the checkpoint are told, with
      their effect.
    """

    _default_greater_keys = [*CheckpointHook._default_greater_keys, *HEADLINES]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        self.record: dict = {}
        # Whether the checkpoint that is being saved is one of a training that was asked to stop.
        self.is_stopping = False
        # Checkpoints of stopped trainings, which the next checkpoint replaces.
        self.stopped: list[str] = []
        # What the checkpoint says that the training continues from, and the end of the schedule that the config makes.
        self.resumed: dict | None = None
        self.own_end = 0

    def before_train(self, runner: Runner) -> None:
        """Prepares the folder of the checkpoints, describes software and data for the records, and warns of changes.

        Raises:
            OtherRunError: The folder holds the checkpoints of another training.
        """
        super().before_train(runner)
        val_loop = runner.val_loop
        self.record = {
            'run': (self.resumed or {}).get('run') or runner.timestamp,
            'parameters': dict(zip(('trainable', 'all'), count_parameters(runner.model), strict=True)),
            'software': describe_software(),
            'data': {'train': describe_data(runner.train_dataloader.dataset),
                     'val': [] if val_loop is None else describe_data(val_loop.dataloader.dataset)}}
        # All processes stop if the state does not fit; the logger shows warnings only in the first.
        warnings = list(self._describe_resumed(runner))
        if self.resumed is not None and runner.cfg.get('randomness'):
            # The training goes on with the seed of the checkpoint, which is therefore the seed to record.
            runner.cfg.randomness.seed = runner.seed
        if not isinstance(runner.cfg, _FormattedConfig):
            runner.cfg = _FormattedConfig.of(runner.cfg)
        if isinstance(self.file_backend, WholeFileBackend):
            self._prepare_folder(runner)
        for warning in warnings:
            runner.logger.warning(warning)

    def _prepare_folder(self, runner: Runner) -> None:
        """Leaves only earlier checkpoints of this training in the folder, and takes its best values from them."""
        records = read_records(self.out_dir)
        if self.resumed is None:
            refuse_other_run(records, runner.cfg.to_dict())
            refuse_other_data(records, self.record['data'])
        kept = [record for record in records if self.resumed is not None
                and record.is_of_run(self.record['run']) and record.step <= runner.iter]
        self._adopt_best(runner, kept)
        for record in kept:
            if record.content.get('stopped'):
                self.stopped.append(str(record.path))
        barrier()
        if is_main_process():
            remove_leftovers(self.out_dir, lambda name: name.endswith(('.pth', '.json')))
            moved = [record for record in records if record not in kept]
            if moved:
                folder = set_aside(moved, Path(self.out_dir) / f'replaced_by_{runner.timestamp}')
                runner.logger.warning(f'the checkpoints in {self.out_dir} that this training would replace were moved '
                                      f'to {folder}')

    def _adopt_best(self, runner: Runner, records: list[CheckpointRecord]) -> None:
        """Takes the best checkpoints and values so far from the folder, also if it was moved or copied.

        Without a best checkpoint in the folder, the first validation makes one: a training that is resumed in another
        folder keeps the best of its own epochs there, and deletes nothing elsewhere.
        """
        hub = runner.message_hub
        for name in self.key_indicators if self.save_best else ():
            suffix = '' if len(self.key_indicators) == 1 else f'_{name}'
            best_path, best_value = f'best_ckpt{suffix}', f'best_score{suffix}'
            best = find_best(records, name)
            known = hub.runtime_info.get(best_path)
            # Checkpoints of earlier versions have no value in their record, but the message hub has it.
            if best is not None and best.best is None and Path(str(known)).name != best.path.name:
                best = None
            if best is not None:
                hub.update_info(best_path, str(best.path))
                if best.best is not None:
                    hub.update_info(best_value, best.best[0])
            elif known is not None:
                hub.pop_info(best_path)
                hub.pop_info(best_value)
            path = None if best is None else str(best.path)
            if suffix:
                self.best_ckpt_path_dict[name] = path
            else:
                self.best_ckpt_path = path

    def _describe_resumed(self, runner: Runner) -> Iterator[str]:
        """Yields warnings about a training that is resumed: what has changed, and what that leads to."""
        if self.resumed is None:
            return
        yield from describe_changes(self.resumed, runner.cfg.to_dict(), self.record['data'])
        done = steps_done(runner)
        if done >= runner.max_iters:
            yield (f'Nothing to train: {done} of {runner.max_iters} steps are done. To train longer, set a '
                   'greater train_cfg.max_epochs or train_cfg.max_iters.')
        elif has_same_schedule(self.resumed, runner.cfg) and follow_length(runner, done):
            yield ('--resume: the training has another length than at the checkpoint: the learning rate continues at '
                   f'{runner.optim_wrapper.param_groups[0]["lr"]:.3g}, as in a training that had this length from its '
                   'first step on')
        else:
            yield from describe_schedule(self._end_of_schedule(runner), self.own_end, runner.max_iters)

    @staticmethod
    def _end_of_schedule(runner: Runner) -> int:
        return end_of_schedule(runner.param_schedulers, len(runner.train_dataloader))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the description of training, software and data, and converts the content to plain types."""
        described = {**self.record, 'best': self._best_values(runner)}
        if self.is_stopping:
            described['stopped'] = True
        checkpoint['meta']['mmcell'] = described
        checkpoint.update(to_plain(checkpoint))
        if self.backend_args is not None and self.backend_args.get('backend') == BACKEND:
            # The runner makes the file backend from these arguments when it writes the checkpoint.
            record = {key: value for key, value in content_of(checkpoint).items() if key != 'config'}
            self.backend_args['description'] = json.dumps(
                {**record, 'config': runner.cfg.pretty_text}, indent=1, ensure_ascii=False)

    def _best_values(self, runner: Runner) -> dict[str, dict]:
        """Returns the best values so far by name, in the order of ``save_best``, each with the rule for "better"."""
        values = {}
        for name, rule in zip(self.key_indicators, self.rules, strict=True) if self.save_best else ():
            key = 'best_score' if len(self.key_indicators) == 1 else f'best_score_{name}'
            if key in runner.message_hub.runtime_info:
                values[name] = dict(value=float(runner.message_hub.get_info(key)), rule=rule)
        return values

    def lacks_best(self, runner: Runner, values: dict[str, float]) -> bool:
        """Whether one of these values, by name, is better than the best one that was saved: its checkpoint is missing.

        Values of ``save_best='auto'``, which has no name before the first validation, are not looked at.
        """
        saved = {name: best['value'] for name, best in self._best_values(runner).items()}
        names = [name for name in (self.key_indicators if self.save_best else ()) if name in values]
        return any(name not in saved or self.is_better_than[name](values[name], saved[name])
                   for name in names if isfinite(values[name]))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restores the message hub's buffers of a checkpoint to resume from."""
        if not runner._resume:
            return
        self.resumed, self.own_end = content_of(checkpoint), self._end_of_schedule(runner)
        message_hub = checkpoint['message_hub']
        if isinstance(message_hub, dict):
            message_hub['log_scalars'] = to_history_buffers(message_hub['log_scalars'])
        # MMEngine compares pickles, which may differ although the content is equal, and would then warn.
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        if checkpoint['meta'].get('dataset_meta') == metainfo:
            checkpoint['meta']['dataset_meta'] = metainfo

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        # Until now, the training could be continued from nowhere else.
        while self.stopped:
            self.file_backend.remove(self.stopped.pop())
        self._remove_outdated()

    def save_where_stopped(self, runner: Runner) -> None:
        """Saves a checkpoint after the present step, as ``iter_STEP.pth``, also inside an epoch.

        It is removed when the continued training has saved its next checkpoint.
        """
        step = runner.iter + 1
        self.is_stopping = True
        name = f'iter_{step}.pth'
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.save_checkpoint(self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
                               save_param_scheduler=self.save_param_scheduler,
                               meta=dict(epoch=runner.epoch, iter=step), by_epoch=False,
                               backend_args=self.backend_args, **self.args)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _best_paths(self) -> set[str]:
        paths = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
        return paths - {None}

    def _remove_outdated(self) -> None:
        if is_main_process() and isinstance(self.file_backend, WholeFileBackend):
            self.file_backend.remove_outdated({self.last_ckpt, *self._best_paths()})
