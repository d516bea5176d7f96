"""Checkpoints that load without running code, appear whole, and say what they were made from."""

import json
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmcell.checkpoint_content import to_history_buffers, to_plain
from mmcell.provenance import describe_data, describe_software
from mmcell.weights import WeightsError
from mmcell.whole_files import remove_leftovers, written_whole

BACKEND = 'mmcell_whole_files'


class WholeFileBackend(LocalBackend):
    """Local files that appear whole or not at all; those to be removed stay until what replaces them is there."""

    def __init__(self) -> None:
        self.outdated: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file.

        Raises:
            WeightsError: it cannot be written (the disk is full, say); an older file of that name stays.
        """
        try:
            with written_whole([filepath]) as (temporary,):
                temporary.write_bytes(obj)
        except OSError as error:
            raise WeightsError(f'the checkpoint {filepath} cannot be written ({error.strerror}); earlier ones are '
                               'untouched: go on with --resume when that is mended') from error

    def remove(self, filepath: str | Path) -> None:
        """Marks a file; :meth:`remove_outdated` removes it."""
        self.outdated.append(str(filepath))

    def remove_outdated(self) -> None:
        """Removes what was marked, and its description."""
        for path in map(Path, self.outdated):
            path.unlink(missing_ok=True)
            describe_path(path).unlink(missing_ok=True)
        self.outdated.clear()


register_backend(BACKEND, WholeFileBackend, force=True)


def describe_path(checkpoint: Path) -> Path:
    """The description beside a checkpoint: epoch_3.json of epoch_3.pth."""
    return checkpoint.with_suffix('.json')


@HOOKS.register_module()
class CellCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, with the same arguments, that keeps three promises.

    - A checkpoint holds tensors, numbers, strings and containers of them: it loads with ``weights_only=True``. The
      stock one pickles the message hub's buffers, which need ``getattr`` and NumPy's internals to load.
    - A run that is killed, or finds the disk full, leaves the last checkpoint whole: files are written under a
      temporary name, and the old one goes when the new one is there. The stock hook removes it first.
    - Beside ``NAME.pth`` lies ``NAME.json``: config, software with versions and commit, and the data with their hash
      and class names. The checkpoint has the same in ``meta['mmcell']``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        self.record: dict = {}
        self.moment: dict = {}

    def before_train(self, runner: Runner) -> None:
        """Describes software and data, once."""
        super().before_train(runner)
        if not is_main_process():
            return
        val_loop = runner.val_loop
        self.record = {
            'software': describe_software(),
            'data': {'train': describe_data(runner.train_dataloader.dataset),
                     'val': [] if val_loop is None else describe_data(val_loop.dataloader.dataset)}}
        if self._is_whole():
            remove_leftovers(self.out_dir, '.pth')
        if runner.epoch >= runner.max_epochs or runner.iter >= runner.max_iters:
            runner.logger.warning(f'Nothing to train: {runner.iter} of {runner.max_iters} steps are done.')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Makes the content plain, and adds the record."""
        checkpoint['meta']['mmcell'] = self.record
        checkpoint.update(to_plain(checkpoint))
        self.moment = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'time')}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Makes the message hub's buffers again; refuses to resume from weights alone.

        Raises:
            WeightsError: ``--resume`` was given a checkpoint without optimiser state.
        """
        if not runner._resume:
            return
        if 'optimizer' not in checkpoint or 'message_hub' not in checkpoint:
            raise WeightsError('the checkpoint to resume from has no optimiser state (best_*.pth have none): resume '
                               'from epoch_*.pth or iter_*.pth, or start anew from its weights with --cfg-options '
                               'load_from=FILE')
        message_hub = checkpoint['message_hub']
        if isinstance(message_hub, dict):
            message_hub['log_scalars'] = to_history_buffers(message_hub['log_scalars'])
        # mmengine compares pickles, which differ for equal content.
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        if checkpoint['meta'].get('dataset_meta') == metainfo:
            checkpoint['meta']['dataset_meta'] = metainfo

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._finish(runner, [self.last_ckpt])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        before = self._best_paths()
        super()._save_best_checkpoint(runner, metrics)
        self._finish(runner, self._best_paths() - before)

    def _best_paths(self) -> set[str]:
        paths = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
        return paths - {None}

    def _finish(self, runner: Runner, written: list[str] | set[str]) -> None:
        """Writes the descriptions of new checkpoints and removes the ones that they replace."""
        if not is_main_process() or not self._is_whole():
            return
        for path in written:
            description = {**self.moment, **self.record, 'config': runner.cfg.pretty_text}
            text = json.dumps(description, indent=1, ensure_ascii=False)
            self.file_backend.put(text.encode(), describe_path(Path(path)))
            self.file_backend.outdated = [other for other in self.file_backend.outdated if other != path]
        self.file_backend.remove_outdated()

    def _is_whole(self) -> bool:
        return isinstance(self.file_backend, WholeFileBackend)
