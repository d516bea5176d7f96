"""Checkpoints that load without running code, are never incomplete, and record what they were made from."""

import json
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmcell.checkpoints.content import to_history_buffers, to_plain
from mmcell.checkpoints.provenance import describe_data, describe_software
from mmcell.files.whole_files import remove_leftovers, written_whole
from mmcell.framework.safe_loading import WeightsError

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


def record_path(checkpoint: Path) -> Path:
    """Returns the path of the record beside a checkpoint, for example epoch_3.json for epoch_3.pth."""
    return checkpoint.with_suffix('.json')


@HOOKS.register_module()
class CellCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with the same arguments and three additional properties.

    - A checkpoint contains only tensors, numbers, strings and containers of these: it loads with
      ``weights_only=True``. The stock hook also pickles the message hub's buffers, which need ``getattr`` and NumPy's
      internals to load.
    - A run that is killed or finds the disk full leaves the last checkpoint complete: a file is written under a
      temporary name, and the old checkpoint is removed only when the new checkpoint exists. The stock hook removes the
      old checkpoint first.
    - Beside ``NAME.pth`` lies its record ``NAME.json``: epoch, step, seed, time, config, software with versions and
      commit, and the data with their hash and class names. ``meta['mmcell']`` in the checkpoint has the software and
      the data, too.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        self.record: dict = {}
        self.config_text = ''

    def before_train(self, runner: Runner) -> None:
        """Describes software and data for the records of this run, and removes leftovers from the checkpoint folder.

        It also makes sure that no best checkpoint of another folder is deleted, and warns if no step is left to train.
        """
        super().before_train(runner)
        self._forget_best_elsewhere(runner)
        if not is_main_process():
            return
        val_loop = runner.val_loop
        # Formatting the config takes a second. It is therefore done once, not for every checkpoint.
        self.config_text = runner.cfg.pretty_text
        self.record = {
            'software': describe_software(),
            'data': {'train': describe_data(runner.train_dataloader.dataset),
                     'val': [] if val_loop is None else describe_data(val_loop.dataloader.dataset)}}
        if isinstance(self.file_backend, WholeFileBackend):
            remove_leftovers(self.out_dir, lambda name: name.endswith(('.pth', '.json')))
        if runner.epoch >= runner.max_epochs or runner.iter >= runner.max_iters:
            runner.logger.warning(f'Nothing to train: {runner.iter} of {runner.max_iters} steps are done. To train '
                                  'longer, set a greater train_cfg.max_epochs or train_cfg.max_iters.')

    def _forget_best_elsewhere(self, runner: Runner) -> None:
        """Forgets the best checkpoint so far if it lies in another folder than the checkpoints of this run.

        A run that is resumed from another folder then keeps the best of its own epochs. The stock hook would delete
        the best checkpoint in the other folder.
        """
        if all(Path(path).resolve().parent == Path(self.out_dir).resolve() for path in self._best_paths()):
            return
        for key in [key for key in runner.message_hub.runtime_info if key.startswith(('best_ckpt', 'best_score'))]:
            runner.message_hub.pop_info(key)
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the description of software and data, and converts the content to tensors, numbers and strings."""
        checkpoint['meta']['mmcell'] = self.record
        checkpoint.update(to_plain(checkpoint))
        if self.backend_args is not None and self.backend_args.get('backend') == BACKEND:
            progress = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'time')}
            record = {**progress, **self.record, 'config': self.config_text}
            # The runner makes the file backend from these arguments when it writes the checkpoint.
            self.backend_args['description'] = json.dumps(record, indent=1, ensure_ascii=False)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restores the message hub's buffers; refuses to resume from a checkpoint that only contains weights.

        Raises:
            WeightsError: The checkpoint to resume from has no optimiser state.
        """
        if not runner._resume:
            return
        if 'optimizer' not in checkpoint or 'message_hub' not in checkpoint:
            raise WeightsError('the checkpoint to resume from has no optimiser state (best_*.pth never has): resume '
                               'from epoch_*.pth or iter_*.pth, or start a new training from its weights with '
                               '--cfg-options load_from=FILE')
        message_hub = checkpoint['message_hub']
        if isinstance(message_hub, dict):
            message_hub['log_scalars'] = to_history_buffers(message_hub['log_scalars'])
        # MMEngine compares pickles, which may differ although the content is equal, and would then warn.
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        if checkpoint['meta'].get('dataset_meta') == metainfo:
            checkpoint['meta']['dataset_meta'] = metainfo

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _best_paths(self) -> set[str]:
        paths = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
        return paths - {None}

    def _remove_outdated(self) -> None:
        if is_main_process() and isinstance(self.file_backend, WholeFileBackend):
            self.file_backend.remove_outdated({self.last_ckpt, *self._best_paths()})
