"""The hook that shows the progress of a training, a validation or a test on the screen."""

import sys
import time
from datetime import timedelta
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch.utils.data import DataLoader

from mmcell.framework.console import show_line
from mmcell.hooks.first_screen import is_epoch_based
from mmcell.hooks.steps import steps_done

# In characters. Values that do not fit into a line are left out.
LINE_WIDTH = 120
# If standard error is not a terminal, a validation or a test shows at most MAX_LINES lines, LINE_SECONDS or more apart.
MAX_LINES, LINE_SECONDS = 10, 5.
# The least time between two drawings of the progress bar.
REFRESH_SECONDS = .1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows one line per log interval of the training, the progress of validations and tests, and their scores.

    A line of the training has the values that MMEngine's ``LoggerHook`` writes to the log file at the same step, as
    many as fit into 120 characters. This hook writes nothing to the log file.
    """

    # After the hooks that measure the time and save the best checkpoint.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.display: ImageProgress | None = None
        self.is_training = False
        self.start = time.monotonic()
        self.surplus = 0
        self.best_before: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        """Stores that a training runs, the time at which it starts, and how ``runner.iter`` differs from its steps."""
        self.is_training = True
        self.start = time.monotonic()
        self.surplus = runner.iter - steps_done(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Shows a line at every log interval, and at the last step of each epoch and of the training."""
        interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        is_last = is_epoch_based(runner) and self.end_of_epoch(runner.train_dataloader, batch_idx)
        is_last |= runner.iter + 1 - self.surplus == runner.max_iters
        if is_last or self.every_n_inner_iters(batch_idx, interval):
            show_line(runner.logger, step_line(runner, batch_idx, self.surplus))

    def after_train(self, runner: Runner) -> None:
        """Shows how many steps are done, the time since the start or the resumption, and the best checkpoint."""
        done, duration = runner.iter - self.surplus, to_clock(time.monotonic() - self.start)
        steps = f'{done:,} of {runner.max_iters:,} steps done in {duration}'
        best = file_names(best_checkpoints(runner))
        show_line(runner.logger, f'{steps}; checkpoints in {runner.work_dir}' + (f', best: {best}' if best else ''))

    def before_val_epoch(self, runner: Runner) -> None:
        """Starts to show how many validation images are done."""
        self.best_before = best_checkpoints(runner)
        self._open_display('validation', runner.val_dataloader)

    def before_val_pass(self, runner: Runner, name: str) -> None:
        """Starts to show a further pass over the validation images. ``MultiEMAHook`` calls this for further weights."""
        self.close_display(runner)
        self._open_display(name, runner.val_dataloader)

    def before_test_epoch(self, runner: Runner) -> None:
        """Starts to show how many test images are done."""
        self._open_display('test', runner.test_dataloader)

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                    outputs: list | None = None, mode: str = 'val') -> None:
        """Adds the images of a batch of a validation or test, in all processes, to the images that are done."""
        if self.display is not None:
            self.display.add(len(outputs) * runner.world_size)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Shows the scores, and either that they are the best so far or which checkpoint is the best."""
        self.close_display(runner)
        moment = verdict = ''
        if self.is_training:
            moment = f', epoch {runner.epoch}' if is_epoch_based(runner) else f', step {runner.iter:,}'
        if best := best_checkpoints(runner):
            verdict = '  (best so far)' if best != self.best_before else f'  (best: {file_names(best)})'
        show_line(runner.logger, f'validation{moment}:  {scores_text(metrics)}{verdict}')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Shows the scores."""
        self.close_display(runner)
        show_line(runner.logger, f'test:  {scores_text(metrics)}')

    def close_display(self, runner: Runner) -> None:
        """Removes the progress bar, if there is one; ``ConsoleRunner`` also calls this method after errors."""
        if self.display is not None:
            self.display.close()
            self.display = None

    def _open_display(self, name: str, dataloader: DataLoader) -> None:
        if is_main_process():
            self.display = ImageProgress(name, len(dataloader.dataset))


def step_line(runner: Runner, batch_idx: int, surplus: int) -> str:
    """Returns the line for a step: epoch, step, time left and loss, then as many further values as fit.

    The further values are the parts of the loss, the norm of the gradient (if it is logged) and the learning rate.

    Args:
        runner: The runner of the training.
        batch_idx: The number of the step in its epoch, or in the training if it only counts steps; from 0.
        surplus: By how much ``runner.iter`` is greater than the number of steps that are done, in a training that was
            resumed with another number of steps per epoch.
    """
    values, _ = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
    # With ``log_processor.log_with_hierarchy=True`` the names begin with this prefix.
    values = {name.removeprefix('train/'): value for name, value in values.items()}
    n_steps = f'{runner.max_iters:,}'
    done = runner.iter + 1 - surplus
    texts = [f'step {done:>{len(n_steps)},}/{n_steps}']
    if is_epoch_based(runner):
        texts.insert(0, f'epoch {runner.epoch + 1:>{len(str(runner.max_epochs))}}/{runner.max_epochs}')
    # MMEngine multiplies the time per step by this number, which is wrong if there is a surplus, and can be 0.
    assumed_left = runner.max_iters - runner.iter - 1
    if 'eta' in runner.message_hub.runtime_info and (assumed_left or not surplus):
        eta_s = runner.message_hub.get_info('eta')
        texts.append(f'left {to_clock(eta_s / assumed_left * (runner.max_iters - done) if surplus else eta_s)}')
    losses = [name for name in values if 'loss' in name and name != 'loss']
    texts += [f'{name.removeprefix("loss_")} {values[name]:.4g}' for name in ('loss', *losses, 'grad_norm', 'lr')
              if name in values]
    return join_fitting(texts, LINE_WIDTH)


def join_fitting(texts: list[str], width: int) -> str:
    """Returns the first texts, as many as fit into ``width`` characters, with two spaces between them.

    The first text is always complete. Example: the texts 'ab', 'cd', 'e' become 'ab  cd' for the width 8.
    """
    line = texts[0]
    for text in texts[1:]:
        if len(line) + 2 + len(text) > width:
            break
        line += f'  {text}'
    return line


def scores_text(metrics: dict[str, float] | None) -> str:
    """Returns the names and values of the scores, as MMEngine writes them to the log file, or 'no scores'.

    Entries that are not numbers are left out, and so are scores that do not fit into the line.
    """
    texts = [f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}'
             for name, value in (metrics or {}).items() if isinstance(value, int | float)]
    return join_fitting(texts or ['no scores'], LINE_WIDTH)


def best_checkpoints(runner: Runner) -> dict[str, str]:
    """Returns the paths of the best checkpoints so far; several scores have the names 'best_ckpt_<score>'."""
    info = runner.message_hub.runtime_info
    return {name: path for name, path in info.items() if name.startswith('best_ckpt') and path}


def file_names(paths: dict[str, str]) -> str:
    """Returns the names of the files without their folders, separated by commas."""
    return ', '.join(Path(path).name for path in paths.values())


def to_clock(seconds: float) -> str:
    """Returns a time as hours, minutes and seconds, for example '1:02:03' for 3723 seconds."""
    return str(timedelta(seconds=round(seconds)))


class ImageProgress:
    """Shows on standard error how many images are done, and how much time is left.

    On a terminal the progress is a bar that is redrawn in place. Elsewhere, for example if standard error goes to a
    file, it is a new line from time to time. The bar has no thread of its own and appears only after the first images:
    data loaders fork their workers before that, and a forked copy of a process with threads may hang.

    Args:
        name: The name of the stage, 'validation' or 'test', with which the bar or the line begins.
        n_images: The number of images of the validation or test.
        console: The console that shows the progress; None for standard error.
    """

    def __init__(self, name: str, n_images: int, console: Console | None = None) -> None:
        self.name = name
        self.n_images = n_images
        self.n_done = 0
        self.console = console or Console(stderr=True)
        self.start = self.last_shown = time.monotonic()
        self.n_parts_shown = 0
        self.bar: Progress | None = None

    def add(self, n_images: int) -> None:
        """Adds ``n_images`` to the images that are done, and shows the new number if it is time."""
        # Several processes may predict a few images twice, so that each of them gets the same number of images.
        self.n_done = min(self.n_done + n_images, self.n_images)
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._draw_bar()
        else:
            self._print_line()

    def close(self) -> None:
        """Removes the bar, if there is one."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    @property
    def text(self) -> str:
        """The progress, 'image 3 of 40, 0:00:12 left', or 'image 40 of 40, now the scores' after the last image."""
        if self.n_done == self.n_images:
            return f'image {self.n_done:,} of {self.n_images:,}, now the scores'
        seconds = (time.monotonic() - self.start) / max(self.n_done, 1) * (self.n_images - self.n_done)
        return f'image {self.n_done:,} of {self.n_images:,}, {to_clock(seconds)} left'

    def _draw_bar(self) -> None:
        if self.bar is None:
            # rich redirects standard output only if it is a terminal; a file gets the output as before.
            self.bar = Progress(TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[text]}'),
                                console=self.console, auto_refresh=False, transient=True,
                                redirect_stdout=sys.stdout.isatty())
            self.bar.add_task(self.name, total=self.n_images, text=self.text)
            self.bar.start()
            # rich hides the cursor. It is shown here, because a process that is killed could not show it at its end.
            self.console.show_cursor(True)
        elif self.n_done < self.n_images and time.monotonic() - self.last_shown < REFRESH_SECONDS:
            return
        self.last_shown = time.monotonic()
        self.bar.update(self.bar.task_ids[0], completed=self.n_done, text=self.text, refresh=True)

    def _print_line(self) -> None:
        # The images are divided into MAX_LINES equal parts, and a line is due when a further part is done.
        is_due = self.n_done * MAX_LINES >= (self.n_parts_shown + 1) * self.n_images
        if is_due and time.monotonic() - self.last_shown >= LINE_SECONDS:
            self.n_parts_shown = self.n_done * MAX_LINES // self.n_images
            self.last_shown = time.monotonic()
            print(f'{self.name}: {self.text}', file=self.console.file, flush=True)
