"""A training that is asked to stop saves a checkpoint, from which it continues exactly where it stopped."""

import signal
import threading

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmcell.errors import MmcellError
from mmcell.hooks.checkpoints import CellCheckpointHook
from mmcell.hooks.steps import steps_in_epoch
from mmcell.visualization.training_curves import CurveError, read_trainings

# SIGUSR2 is what Slurm sends some time before the limit of a job, if its option signal is USR2@SECONDS.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class TrainingStoppedError(MmcellError):
    """The training was asked to stop by a signal. If it can, it has saved a checkpoint."""


@HOOKS.register_module()
class StopHook(Hook):
    """Ends a training after the present step when the process gets the signal SIGTERM or SIGUSR2.

    ``kill``, Slurm and other schedulers send such a signal before they end a process. If the config has a
    ``CellCheckpointHook``, a checkpoint is saved inside the epoch. ``--resume`` continues from it, and the checkpoint
    is removed as soon as the next regular one is there.
    """

    # After all hooks that change what a checkpoint holds.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.is_asked = False
        self.before: dict[int, object] = {}

    def before_train(self, runner: Runner) -> None:
        """Takes over the signals. Only the main thread of a process can do so."""
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def _ask(self, number: int, frame: object) -> None:
        self.is_asked = True
        # Schedulers send the signal to all processes of a job. torch would raise an error in the middle of the step
        # when the workers of the data loader, of which no sample is needed any more, have ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Saves a checkpoint and ends the training, if it was asked to stop.

        The last step of an epoch is not the place, because the regular checkpoint follows there.

        Raises:
            TrainingStoppedError: The training was asked to stop.
        """
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or not _is_any(self.is_asked):
            return
        saver = next((hook for hook in runner.hooks if isinstance(hook, CellCheckpointHook)), None)
        if saver is None:
            self._give_back()
            raise TrainingStoppedError(f'stopped after step {runner.iter + 1}')
        try:
            # Several senders may ask: a second signal must not end the process while it saves.
            saver.save_where_stopped(runner)
        finally:
            self._give_back()
        raise TrainingStoppedError(f'stopped after step {runner.iter + 1} and saved {saver.last_ckpt}: the same '
                                   'command with --resume continues exactly from there')

    def after_train(self, runner: Runner) -> None:
        """Gives the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def _is_any(is_true: bool) -> bool:
    """Returns whether a condition holds in any process of the training. All processes call this at the same step.

    The signal reaches the processes at different steps. If only one of them stopped, the others would wait for it for
    ever.
    """
    if get_world_size() > 1:
        flag = torch.tensor(int(is_true))
        all_reduce(flag, op='max')
        is_true = bool(flag)
    return is_true


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates first, if the training was ended between a checkpoint and the end of the validation that belongs to it.

    A checkpoint is saved at the end of an epoch, before the validation, and the best checkpoint after it. If the
    process is killed in between, or the disk is full, MMEngine goes on with the next epoch, so that the curves miss a
    value and the best checkpoint may be another one than without the interruption. The log of the work folder tells
    whether the validation was done, and whether its value is better than that of the best checkpoint.
    """

    # After the hooks that prepare folders and displays.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Validates a resumed training, if the validation after its last epoch, or step, is missing."""
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        done, last = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
        is_inside = by_epoch and steps_in_epoch(runner) > 0
        if not runner._resume or runner.val_loop is None or not done or is_inside or done < loop.val_begin:
            return
        if (done % loop.val_interval == 0 or done == last) and _is_missing(runner, done):
            runner.logger.info(f'validates first: the validation of {"epoch" if by_epoch else "step"} {done}, or the '
                               'best checkpoint that it led to, is missing')
            runner.val_loop.run()


def _is_missing(runner: Runner, done: int) -> bool:
    """Whether the validation after an epoch, or step, was not done, or has left no best checkpoint, as logs tell."""
    try:
        training = read_trainings(runner.work_dir)[-1]
    except CurveError:
        return True
    # Values stand at the last step that was logged before the validation.
    step = training.epoch_ends.get(done, done)
    values = {name: curve[max(logged)] for name, curve in training.scores.items()
              if (logged := [key for key in curve if key <= step])}
    return done not in training.validated or any(
        hook.lacks_best(runner, values) for hook in runner.hooks if isinstance(hook, CellCheckpointHook))
