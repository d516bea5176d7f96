"""How every command begins and ends: its parser, its exit status, and what it prints after an error."""

import argparse
import logging
import os
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from typing import IO

from mmcell.commands.messages import describe_error
from mmcell.errors import escape


class ExitStatus(IntEnum):
    """The exit statuses of all commands."""

    DONE = 0
    FAILED = 1
    WRONG_COMMAND_LINE = 2
    PARTLY = 3
    # Shells report this status for a program that Ctrl-C has ended: 128 plus 2, the number of the signal.
    INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser that does not hide that its help cannot be written, as argparse does."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        stream = file or sys.stderr
        if message and stream is not None:
            stream.write(message)


def make_parser(description: str, examples: str, done: str, failed: str = 'not',
                partly: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of a command, whose help ends with examples and with the exit statuses of the command.

    Args:
        description: What the command does, the docstring of its module.
        examples: The text after the arguments.
        done: What is the case if the exit status is 0, for example 'the file was written'.
        failed: What is the case if it is 1.
        partly: What is the case if it is 3; None if the command does not have this status.
    """
    statuses = [f'0 if {done}', *([] if partly is None else [f'3 if {partly}']), f'1 if {failed}',
                '2 if the command line is wrong', '130 after Ctrl-C']
    sentence = textwrap.fill(f'Exit status: {", ".join(statuses)}.', 120)
    return _Parser(description=description, epilog=f'{examples}\n{sentence}\n',
                   formatter_class=argparse.RawDescriptionHelpFormatter)


def run_command(parse_args: Callable[[], argparse.Namespace], carry_out: Callable[[argparse.Namespace], int | None],
                after_interrupt: str = '') -> int:
    """Runs a command, and returns its exit status.

    After an error that users can correct, one line is printed on standard error, and the notes of the error in lines of
    their own. All other errors are raised again, so that Python prints their traceback. The log file of a training or
    a test gets the traceback in both cases. A closed pipe, as of ``| head``, ends the command in silence.

    The modules that a command imports should be imported in ``carry_out``, so that the help and messages about a wrong
    command line appear at once, and Ctrl-C ends the imports, too, without a traceback.

    Args:
        parse_args: Function that reads the command line.
        carry_out: Function that does the work, and returns the exit status; None stands for 0.
        after_interrupt: The text that follows the word 'interrupted' when Ctrl-C ended the command.
    """
    # Characters that the encoding of standard output lacks become \\u4e2d, for example, instead of raising an error. A
    # stream that stands in for standard output, for example in a notebook, may not have the method.
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')
    with _noted_interrupts() as interrupts, _log_errors_in_one_line():
        try:
            try:
                status = carry_out(parse_args())
            except SystemExit as end:  # argparse ends the program after the help and after a message
                status = end
            # A pipe that is closed can be noticed only now, since texts are written when a buffer is full.
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, KeyboardInterrupt):
                print(f'interrupted{after_interrupt}', file=sys.stderr)
                return ExitStatus.INTERRUPTED
            if not _report(error):
                raise
            return ExitStatus.FAILED
        finally:
            _hide_late_interrupts()
    if isinstance(status, SystemExit):
        raise status
    return status or ExitStatus.DONE


@cache
def _hide_late_interrupts() -> None:
    """Prevents tracebacks of Ctrl-C while Python ends, when the work is over and functions of packages still run."""
    show = sys.unraisablehook
    sys.unraisablehook = lambda ignored: None if issubclass(ignored.exc_type, KeyboardInterrupt) else show(ignored)


def _report(error: Exception) -> bool:
    """Prints the message about an error, and returns True; returns False if the error should keep its traceback."""
    if isinstance(error, OSError):
        _drop_unwritable_output()
    if isinstance(error, BrokenPipeError):
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        # Pipes between processes are another matter than standard output.
        if not frame.f_globals['__name__'].startswith('multiprocessing'):
            return True
    message = describe_error(error, _write_to_log(error))
    if message is not None:
        print('\n'.join([f'error: {message}', *getattr(error, '__notes__', ())]), file=sys.stderr)
    return message is not None


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Yields a list that is not empty any more after Ctrl-C.

    Some packages swallow the exception of Ctrl-C while they are imported, and stop at another error later.
    """
    interrupts: list[int] = []

    def note_and_raise(number: int, frame: object) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    # A program in the background may have been told to ignore Ctrl-C. Only the main thread may change this.
    is_usual = (signal.getsignal(signal.SIGINT) is signal.default_int_handler
                and threading.current_thread() is threading.main_thread())
    if is_usual:
        signal.signal(signal.SIGINT, note_and_raise)
    try:
        yield interrupts
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _log_errors_in_one_line() -> Iterator[None]:
    """Replaces the tracebacks that logging prints for each record that a log file does not take, on a full disk.

    Each file is named once.
    """
    named, describe = set(), logging.FileHandler.handleError

    def name_once(handler: logging.FileHandler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            describe(handler, record)
        elif handler.baseFilename not in named:
            named.add(handler.baseFilename)
            print(f'warning: the log {escape(handler.baseFilename)} cannot be written: {error.strerror}',
                  file=sys.stderr)

    logging.FileHandler.handleError = name_once
    try:
        yield
    finally:
        logging.FileHandler.handleError = describe


def _drop_unwritable_output() -> None:
    """Drops the text in the buffer of standard output if it cannot be written, because of a closed pipe or a full disk.

    Python writes this text when it ends, and would print one more error.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_to_log(error: Exception) -> str | None:
    """Writes a traceback to the log file of the run, and returns the path of the file; None if there is no file."""
    # The loggers of MMEngine are not among those of the module logging, which lists loggers by name.
    if 'mmengine.logging' not in sys.modules:
        return None
    from mmengine.logging import MMLogger
    logger = MMLogger.get_current_instance()
    handlers = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    for handler in handlers:
        handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, '%s',
                                         (''.join(traceback.format_exception(error)),), None))
    return handlers[0].baseFilename if handlers else None
