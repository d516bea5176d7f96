"""The screen of a training or a test: few lines, while the log file keeps everything that MMEngine writes."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmcell.errors import MmcellError
from mmcell.framework.freed_memory import keep_freed_memory
from mmcell.framework.schedules import ScheduleError
from mmcell.framework.threads import use_one_thread_per_worker

FRAMEWORKS = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
# Framework modules whose messages of level INFO are shown, because mmcell's own lines do not contain their information.
TELLING_MODULES = ('early_stopping_hook',)
# Beginnings of warnings about MMEngine's own code that appear in every training and that no setting of the user avoids.
POINTLESS_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
# Beginnings of Python warnings in every run of several processes: the first screen gives the number of threads, and
# MMEngine itself uses the argument that it warns of.
POINTLESS_PYTHON_WARNINGS = ('Setting [A-Z]+_NUM_THREADS', '`broadcast_buffers` is deprecated')
# A warning may list every weight of a model. At most this many lines, and characters per line, are shown.
WARNING_LINES, WARNING_COLUMNS = 6, 400
# ``logger.info(message, extra=FILE_ONLY)`` keeps a message of mmcell off the screen.
FILE_ONLY = {'on_screen': False}
ONEDL_NOTICE = 'Could not import OneDL'


class NoBatchError(MmcellError):
    """The data of a training do not fill one batch."""


def _then_close_display(stage: Callable) -> Callable:
    """Makes a method of ``Runner`` leave a terminal as it was, also after an error or Ctrl-C."""
    @wraps(stage)
    def stage_then_close_display(self: Runner) -> object:
        try:
            return stage(self)
        finally:
            # Not a stage of MMEngine: call_hook calls it on the hooks that have it.
            self.call_hook('close_display')
    return stage_then_close_display


class ConsoleRunner(Runner):
    """``Runner`` with a short screen: mmcell's lines, warnings and errors. The log file is not changed.

    Two hooks write the lines, whatever the config says: ``FirstScreenHook`` and ``ProgressHook``. ``FirstStepHook``,
    which looks at the first batch, and ``ClassCountHook``, without which classes could be confused in silence, are
    added if the config does not have them. Under the stock ``Runner`` the same configs run with MMEngine's full screen.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'ConsoleRunner':
        """Builds a runner from a config, and makes the process keep freed memory."""
        keep_freed_memory()
        for message in POINTLESS_PYTHON_WARNINGS:
            warnings.filterwarnings('ignore', message)
        with without_onedl_notice():
            import_module('mmdet.datasets')
        return super().from_cfg(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        """Prepares devices and processes as ``Runner`` does; only the main process then shows Python's warnings."""
        super().setup_env(env_cfg)
        if self.rank != 0:
            warnings.simplefilter('ignore')

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Moves the model to its device and wraps it as ``Runner`` does, in the memory format of the config.

        On the devices that ``env_cfg.channels_last`` lists, weights of convolutions are in channels-last, and layers
        pass this format on to features. DistributedDataParallel must find the weights in it.
        """
        if get_device() in ((self.cfg.get('env_cfg') or {}).get('channels_last') or ()):
            model = model.to(memory_format=torch.channels_last)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Builds the logger as ``Runner`` does, and shortens what it shows on the screen."""
        logger = super().build_logger(*args, **kwargs)
        shorten_screen(logger)
        return logger

    def register_hooks(self, default_hooks: dict[str, Hook | dict] | None = None,
                       custom_hooks: list[Hook | dict] | None = None) -> None:
        """Registers the hooks of the config, and those that the class names."""
        super().register_hooks(default_hooks, custom_hooks)
        present = {type(hook).__name__ for hook in self.hooks}
        for name in ('FirstScreenHook', 'ProgressHook', *sorted({'ClassCountHook', 'FirstStepHook'} - present)):
            self.register_hook(dict(type=name))

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """Builds a data loader as ``Runner`` does, whose workers compute with one thread each."""
        return use_one_thread_per_worker(Runner.build_dataloader(*args, **kwargs))

    def build_param_scheduler(self, scheduler: dict | list) -> list | dict:
        """Builds the learning-rate schedule as ``Runner`` does.

        Raises:
            ScheduleError: A part of the schedule has no step inside the training, or an argument is out of its range.
        """
        try:
            return super().build_param_scheduler(scheduler)
        except MmcellError:
            raise
        except ValueError as error:
            raise ScheduleError(f'param_scheduler does not fit a training of {self.max_epochs} epochs and '
                                f'{self.max_iters} steps: {error}. Write begins, ends and milestones as shares of the '
                                'training (docs/guides/configs.md), or change them') from error

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Builds the loop of the training and its data loader as ``Runner`` does.

        Raises:
            NoBatchError: The data loader makes no batch, so that the training would save random weights.
        """
        built = super().build_train_loop(loop)
        loader = built.dataloader
        if len(loader) == 0:
            raise NoBatchError(
                f'the training has no step: {len(loader.dataset)} images do not fill one batch of {loader.batch_size}, '
                'and incomplete batches are dropped: set train_dataloader.drop_last=False, or a smaller '
                'train_dataloader.batch_size')
        return built

    train, val, test = map(_then_close_display, (Runner.train, Runner.val, Runner.test))


def shorten_screen(logger: MMLogger) -> None:
    """Makes the handlers of a logger that write to the screen short and plain; handlers of files stay as they are."""
    for handler in _screen_handlers(logger):
        handler.addFilter(ScreenFilter())
        handler.setFormatter(ScreenFormatter())
        handler.setStream(_CurrentStdout())


def show_line(logger: logging.Logger, text: str) -> None:
    """Shows a line only on the screen. The log file does not need it, because MMEngine writes a longer line there.

    As with other messages, only the main process shows it, and only if the logger's level is INFO or lower.
    """
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
    for handler in _screen_handlers(logger):
        if record.levelno >= handler.level:
            handler.handle(record)


def _screen_handlers(logger: logging.Logger) -> list[logging.StreamHandler]:
    return [handler for handler in logger.handlers
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)]


class ScreenFilter(logging.Filter):
    """Lets warnings and errors through, and messages of level INFO that come from outside the frameworks.

    MMEngine and MMDetection describe environment, config and hooks at level INFO, in hundreds of lines. Messages that
    go through ``mmengine.logging.print_log`` count as the framework's, whoever calls it.
    """

    def __init__(self) -> None:
        super().__init__()
        origins = (spec.origin for spec in map(find_spec, FRAMEWORKS) if spec is not None and spec.origin)
        self.framework_folders = tuple(f'{Path(origin).parent}/' for origin in origins)

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is shown."""
        if record.levelno > logging.INFO:
            return not record.getMessage().startswith(POINTLESS_WARNINGS)
        if record.pathname.startswith(self.framework_folders):
            return record.module in TELLING_MODULES
        return getattr(record, 'on_screen', True)


class ScreenFormatter(logging.Formatter):
    """Writes messages without time and name; warnings and errors begin with their level, and long warnings are cut."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the text that is shown for a record."""
        text = super().format(record)
        if record.levelno <= logging.INFO:
            return text
        return f'{record.levelname.lower()}: {_cut(text) if record.levelno == logging.WARNING else text}'


def _cut(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    shown = [line if len(line) <= WARNING_COLUMNS else f'{line[:WARNING_COLUMNS]} …' for line in lines[:WARNING_LINES]]
    if shown != lines:
        shown.append('(the log file has all of this warning)')
    return '\n'.join(shown)


class _CurrentStdout:
    """A stream that writes to the present ``sys.stdout``, because a live display of rich replaces ``sys.stdout``."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@contextmanager
def without_onedl_notice() -> Iterator[None]:
    """Hides the notice that MMDetection cannot import OneDL, if it is printed inside the block. mmcell needs no OneDL.

    Two modules of MMDetection print the notice when they are imported, with ``print_log`` at level DEBUG and no logger.
    """
    with redirect_stdout(_NoticeFilter(sys.stdout)):
        yield


class _NoticeFilter:
    """Passes on all text except the notice and the end of its line, which ``print`` writes separately."""

    def __init__(self, stream: object) -> None:
        self.stream = stream
        self.is_in_notice = False

    def write(self, text: str) -> int:
        if text.startswith(ONEDL_NOTICE) or (self.is_in_notice and text == '\n'):
            self.is_in_notice = text != '\n' and not text.endswith('\n')
            return len(text)
        self.is_in_notice = False
        return self.stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)
