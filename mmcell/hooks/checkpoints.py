"""Checkpoints that load without running code, appear whole, and say what they were made from."""

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
    """Local files that appear whole or not at all; those to be removed stay until what replaces them is there.

    Args:
        description: text that ``put`` writes beside a file, as NAME.json of NAME.pth; both appear, or neither.
    """

    def __init__(self, description: str | None = None) -> None:
        self.description = description
        self.outdated: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file.

        Raises:
            WeightsError: it cannot be written (the disk is full, say); an older file of that name stays.
        """
        contents = {Path(filepath): obj}
        if self.description is not None:
            contents = {describe_path(Path(filepath)): self.description.encode(), **contents}
        try:
            with written_whole(contents) as temporary:
                for path, content in zip(temporary, contents.values(), strict=True):
                    path.write_bytes(content)
        except OSError as error:
            raise WeightsError(f'the checkpoint {filepath} cannot be written ({error.strerror}); earlier ones are '
                               'untouched: go on with --resume when that is mended') from error

    def remove(self, filepath: str | Path) -> None:
        """Marks a file; :meth:`remove_outdated` removes it."""
        self.outdated.append(str(filepath))

    def remove_outdated(self, kept: set[str]) -> None:
        """Removes what was marked and is not kept, and its description."""
        for path in map(Path, set(self.outdated) - kept):
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
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        self.record: dict = {}
        self.config_text = ''

    def before_train(self, runner: Runner) -> None:
        """Describes software and data, once; leaves the best checkpoint of another folder to itself."""
        super().before_train(runner)
        self._forget_best_elsewhere(runner)
        if not is_main_process():
            return
        val_loop = runner.val_loop
        self.config_text = runner.cfg.pretty_text  # takes a second
        self.record = {
            'software': describe_software(),
            'data': {'train': describe_data(runner.train_dataloader.dataset),
                     'val': [] if val_loop is None else describe_data(val_loop.dataloader.dataset)}}
        if isinstance(self.file_backend, WholeFileBackend):
            remove_leftovers(self.out_dir, lambda name: name.endswith('.pth'))
        if runner.epoch >= runner.max_epochs or runner.iter >= runner.max_iters:
            runner.logger.warning(f'Nothing to train: {runner.iter} of {runner.max_iters} steps are done.')

    def _forget_best_elsewhere(self, runner: Runner) -> None:
        """A run resumed from another folder keeps the best of its own epochs; the stock hook deletes the other's."""
        if all(Path(path).resolve().parent == Path(self.out_dir).resolve() for path in self._best_paths()):
            return
        for key in [key for key in runner.message_hub.runtime_info if key.startswith(('best_ckpt', 'best_score'))]:
            runner.message_hub.pop_info(key)
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Makes the content plain, and adds the record."""
        checkpoint['meta']['mmcell'] = self.record
        checkpoint.update(to_plain(checkpoint))
        if self.backend_args is not None and self.backend_args.get('backend') == BACKEND:
            moment = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'time')}
            description = {**moment, **self.record, 'config': self.config_text}
            # The runner makes the backend from these arguments when it writes.
            self.backend_args['description'] = json.dumps(description, indent=1, ensure_ascii=False)

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
