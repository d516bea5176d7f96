"""The hook that shows how far a training, a validation or a test is."""

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

LINE_WIDTH = 120
# Where standard error is not a terminal: most lines per validation or test, and least time between two.
MAX_LINES, LINE_SECONDS = 10, 5.
REFRESH_SECONDS = .1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a line per log interval of the training, the progress of validations and tests, and their scores.

    The lines of the training are those of ``LoggerHook`` with the same values, cut to 120 characters. The hook writes
    nothing to the log file.
    """

    # After the hooks that measure the time and save the best checkpoint.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.display: ImageProgress | None = None
        self.is_training = False
        self.start = time.monotonic()
        self.best_before: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        """Notes the time."""
        self.is_training = True
        self.start = time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Shows a line at every log interval, and at the last step of each epoch and of the training."""
        interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        is_last = is_epoch_based(runner) and self.end_of_epoch(runner.train_dataloader, batch_idx)
        if is_last or runner.iter + 1 == runner.max_iters or self.every_n_inner_iters(batch_idx, interval):
            show_line(runner.logger, step_line(runner, batch_idx))

    def after_train(self, runner: Runner) -> None:
        """Says how many steps were made, in which time, and which checkpoint is the best."""
        steps = f'{runner.iter:,} of {runner.max_iters:,} steps done in {to_clock(time.monotonic() - self.start)}'
        best = ', '.join(Path(path).name for path in best_checkpoints(runner).values())
        show_line(runner.logger, f'{steps}; checkpoints in {runner.work_dir}' + (f', best: {best}' if best else ''))

    def before_val_epoch(self, runner: Runner) -> None:
        """Starts to count the images."""
        self.best_before = best_checkpoints(runner)
        self._open_display('validation', runner.val_dataloader)

    def before_test_epoch(self, runner: Runner) -> None:
        """Starts to count the images."""
        self._open_display('test', runner.test_dataloader)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                       outputs: list | None = None) -> None:
        """Counts the images of a batch."""
        self._count(len(outputs) * runner.world_size)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                        outputs: list | None = None) -> None:
        """Counts the images of a batch."""
        self._count(len(outputs) * runner.world_size)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Shows the scores, and whether they are the best so far."""
        self.close_display(runner)
        moment = ''
        if self.is_training:
            moment = f', epoch {runner.epoch}' if is_epoch_based(runner) else f', step {runner.iter:,}'
        verdict = self._compare_with_best(runner)
        show_line(runner.logger, f'validation{moment}:  {scores_text(metrics)}{verdict}')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Shows the scores."""
        self.close_display(runner)
        show_line(runner.logger, f'test:  {scores_text(metrics)}')

    def close_display(self, runner: Runner) -> None:
        """Removes the progress bar, if there is one; ``ConsoleRunner`` also calls it after errors."""
        if self.display is not None:
            self.display.close()
            self.display = None

    def _open_display(self, name: str, dataloader: DataLoader) -> None:
        if is_main_process():
            self.display = ImageProgress(name, len(dataloader.dataset))

    def _count(self, n_images: int) -> None:
        if self.display is not None:
            self.display.add(n_images)

    def _compare_with_best(self, runner: Runner) -> str:
        best = best_checkpoints(runner)
        if not best:
            return ''
        if best != self.best_before:
            return '  (best so far)'
        return f'  (best: {", ".join(Path(path).name for path in best.values())})'


def step_line(runner: Runner, batch_idx: int) -> str:
    """Epoch, step, time left, loss, and as many parts of the loss as fit into the line."""
    values, _ = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
    # The prefix is there with log_with_hierarchy=True.
    values = {name.removeprefix('train/'): value for name, value in values.items()}
    n_steps = f'{runner.max_iters:,}'
    texts = [f'step {runner.iter + 1:>{len(n_steps)},}/{n_steps}']
    if is_epoch_based(runner):
        texts.insert(0, f'epoch {runner.epoch + 1:>{len(str(runner.max_epochs))}}/{runner.max_epochs}')
    if 'eta' in runner.message_hub.runtime_info:
        texts.append(f'left {to_clock(runner.message_hub.get_info("eta"))}')
    losses = [name for name in values if 'loss' in name and name != 'loss']
    texts += [f'{name.removeprefix("loss_")} {values[name]:.4g}' for name in ('loss', *losses, 'grad_norm', 'lr')
              if name in values]
    return fit(texts, LINE_WIDTH)


def fit(texts: list[str], width: int) -> str:
    """The first texts, with two spaces between them, as many as fit into the width."""
    line = texts[0]
    for text in texts[1:]:
        if len(line) + 2 + len(text) > width:
            break
        line += f'  {text}'
    return line


def scores_text(metrics: dict[str, float] | None) -> str:
    """Names and values, as MMEngine writes them into its log."""
    numbers = {name: value for name, value in (metrics or {}).items() if isinstance(value, int | float)}
    return fit([f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}'
                for name, value in numbers.items()] or ['no scores'], LINE_WIDTH)


def best_checkpoints(runner: Runner) -> dict[str, str]:
    """Paths of the best checkpoints so far, under the names that MMEngine's ``CheckpointHook`` gives them."""
    info = runner.message_hub.runtime_info
    return {name: path for name, path in info.items() if name.startswith('best_ckpt') and path}


def to_clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


class ImageProgress:
    """Shows on standard error how many images are done, and how much time is left.

    On a terminal it is a bar that is redrawn in place. Elsewhere, for example in a log file, it is a line from time to
    time. The bar has no thread of its own and begins after the first images: data loaders fork their workers before,
    and a forked copy of a process with threads may hang.

    Args:
        name: What the images are done for.
        n_images: Number of images.
        console: Where to show it; standard error by default.
    """

    def __init__(self, name: str, n_images: int, console: Console | None = None) -> None:
        self.name = name
        self.n_images = n_images
        self.n_done = 0
        self.console = console or Console(stderr=True)
        self.start = self.last_shown = time.monotonic()
        self.n_lines = 0
        self.bar: Progress | None = None

    def add(self, n_images: int) -> None:
        """Counts images that are done now."""
        # Several processes together may predict a few images twice.
        self.n_done = min(self.n_done + n_images, self.n_images)
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._draw_bar()
        else:
            self._print_line()

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    @property
    def text(self) -> str:
        """'image 3 of 40, 0:00:12 left'; after the last image the scores are still to be computed."""
        if self.n_done == self.n_images:
            return f'image {self.n_done:,} of {self.n_images:,}, now the scores'
        seconds = (time.monotonic() - self.start) / max(self.n_done, 1) * (self.n_images - self.n_done)
        return f'image {self.n_done:,} of {self.n_images:,}, {to_clock(seconds)} left'

    def _draw_bar(self) -> None:
        if self.bar is None:
            self.bar = make_bar(self.console)
            self.bar.add_task(self.name, total=self.n_images, text=self.text)
            self.bar.start()
            # rich hides the cursor, and a process that is killed could not show it again.
            self.console.show_cursor(True)
        elif self.n_done < self.n_images and time.monotonic() - self.last_shown < REFRESH_SECONDS:
            return
        self.last_shown = time.monotonic()
        self.bar.update(self.bar.task_ids[0], completed=self.n_done, text=self.text, refresh=True)

    def _print_line(self) -> None:
        is_due = self.n_done * MAX_LINES >= (self.n_lines + 1) * self.n_images
        if is_due and time.monotonic() - self.last_shown >= LINE_SECONDS:
            self.n_lines = self.n_done * MAX_LINES // self.n_images
            self.last_shown = time.monotonic()
            print(f'{self.name}: {self.text}', file=self.console.file, flush=True)


def make_bar(console: Console) -> Progress:
    """A bar that disappears when it is stopped, and above which other output goes on."""
    # Standard output is taken over only if it is on the same terminal, so that a file still gets what is for it.
    return Progress(TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[text]}'), console=console,
                    auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty())
