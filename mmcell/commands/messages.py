"""What a command says about an error that a user can correct."""

import errno
import os
import re
import traceback
from pathlib import Path

from mmcell.errors import MmcellError, escape

# Errors of the system that users can correct. Others, for example a closed file, are mistakes in the code.
_CORRECTABLE = {getattr(errno, name) for name in (
    'ENOENT', 'EACCES', 'EPERM', 'EROFS', 'EISDIR', 'ENOTDIR', 'EEXIST', 'ENOTEMPTY', 'ENAMETOOLONG', 'ELOOP', 'ENOSPC',
    'EDQUOT', 'EFBIG', 'EIO', 'EMFILE', 'ENFILE', 'EBUSY', 'ETXTBSY', 'ESTALE') if hasattr(errno, name)}
_TOO_MANY_FILES = (': raise the limit (ulimit -n). Workers of data loaders need some files for each sample, and a '
                   'smaller num_workers needs less')
_NO_MEMORY = ('. A worker that was killed lacked memory in most cases: a smaller num_workers of the data loader needs '
              'less')
# Longer lines are shortened. A path may have 4,096 characters, but hardly ever has 1,000.
_MAX_LINE_CHARACTERS = 3000
# The functions of MMEngine that build a part of a run without a registry, and the setting that each of them reads.
_BUILDERS = {'build_dataloader': 'a data loader', 'build_train_loop': 'train_cfg', 'build_val_loop': 'val_cfg',
             'build_test_loop': 'test_cfg', 'build_optim_wrapper': 'optim_wrapper', 'register_custom_hooks':
             'custom_hooks', 'register_default_hooks': 'default_hooks'}


def describe_error(error: Exception, log_file: str | None = None) -> str | None:
    """Returns the message about an error that users can correct; None for an error that should keep its traceback.

    Users can correct mmcell's own errors, missing files, missing permissions, a full disk, too many open files, workers
    of data loaders that were killed, and settings of the config from which nothing can be built.

    Of very long lines, which show a text from a file, the middle is left out.

    Args:
        error: The error that ended a command.
        log_file: The file that has the traceback of the error; None if there is none.
    """
    message = _describe(error, log_file)
    return None if message is None else '\n'.join(map(_shorten, message.split('\n')))


def _shorten(line: str) -> str:
    # The end often says what can be done.
    is_short = len(line) <= _MAX_LINE_CHARACTERS
    return line if is_short else f'{line[:2 * _MAX_LINE_CHARACTERS // 3]}…{line[-_MAX_LINE_CHARACTERS // 3:]}'


def _describe(error: Exception, log_file: str | None) -> str | None:
    if isinstance(error, MmcellError):
        return _original_message(error)
    if isinstance(error, OSError):
        return _describe_system_error(error)
    if isinstance(error, RuntimeError) and (text := _describe_torch_error(_original_message(error))):
        return text
    part = _part_being_built(error)
    return _describe_build_error(error, part, log_file) if part else None


def _describe_system_error(error: OSError) -> str | None:
    text = _original_message(error)
    if error.errno is None:
        # When torch raises an error of a worker again, only the text is left of it.
        if numbered := re.match(r'\[Errno (\d{1,3})\] ', text):
            return _describe_number(int(numbered[1]), escape(text[numbered.end():]))
        # Errors that Python code raises, mmcell's for example, have a message of their own instead of a number.
        is_of_code = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
        return escape(text) if is_of_code else None
    if error.errno == errno.ENOENT and error.filename is not None:
        return f'no such file or folder: {escape(error.filename)}'
    return _describe_number(error.errno, error.strerror if error.filename is None else
                            f'{escape(error.filename)}: {error.strerror}')


def _describe_number(number: int, message: str) -> str | None:
    """Returns the message about an error of the system with this number; None if users cannot correct it."""
    if number not in _CORRECTABLE:
        return None
    return f'{message}{_TOO_MANY_FILES}' if number in (errno.EMFILE, errno.ENFILE) else message


def _describe_torch_error(text: str) -> str | None:
    """Returns the message about a RuntimeError of torch that hides an error of the system; None for any other."""
    said = ' '.join(text.split()).rstrip('.')
    if said.startswith('DataLoader worker (pid'):
        return f'{said}{_NO_MEMORY if "killed by signal" in said else "; what it said about the reason stands above"}'
    if 'Too many open files' in said or 'received 0 items of ancdata' in said:
        return f'too many open files{_TOO_MANY_FILES}'
    # For example the memory through which workers send samples: '…: No space left on device (28)'.
    numbered = re.search(r': [^:]+ \((\d{1,3})\)$', said)
    if numbered and said.endswith(f': {os.strerror(int(numbered[1]))} ({numbered[1]})'):
        return _describe_number(int(numbered[1]), escape(said))
    return None


def _original_message(error: Exception) -> str:
    """Returns the message of an error, also if it was raised in a worker of a data loader.

    torch raises the error again in the main process, with the whole traceback of the worker as its message.
    """
    _, traceback_starts, text = str(error).partition('\nOriginal Traceback (most recent call last):\n')
    # The last line of a traceback that is not indented begins with the name of the class.
    lines = re.split(rf'^(?:[\w.]+\.)?{type(error).__name__}: ', text, flags=re.MULTILINE)
    return lines[-1].strip() if traceback_starts and len(lines) > 1 else str(error)


def _part_being_built(error: Exception) -> str:
    """Returns the innermost part of the config that MMEngine was building when an error was raised; '' if none.

    It is named by its class, with the plain settings, or by the setting.
    """
    part = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, names = frame.f_code.co_name, frame.f_locals
        if name == 'build_from_cfg':
            kind = names.get('obj_type', names['cfg'].get('type') if isinstance(names['cfg'], dict) else None)
            settings = ', '.join(f'{key}={value!r}' for key, value in names.get('args', {}).items()
                                 if value is None or isinstance(value, str | int | float))
            part = f'{getattr(kind, "__name__", kind)}({settings})'
        elif name in _BUILDERS and frame.f_globals['__name__'] == 'mmengine.runner.runner':
            part = part or _BUILDERS[name]
    return part


def _describe_build_error(error: Exception, part: str, log_file: str | None) -> str:
    """Returns a sentence about an error that was raised while a part of a run was built from the config."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = ' '.join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if 'got an unexpected keyword argument' in message and last.filename.endswith('build_functions.py'):
        return (f'{message}. Remove this setting from the config; on the command line, replace the whole dict: '
                "KEY=\"{'_delete_': True, 'type': …}\"")
    if ' is not in the ' in message and 'registry' in message:
        name = part.partition('(')[0]
        return (f'the config has type={name!r}, but there is no class of this name. Correct the name, or import the '
                "module of a class of your own with custom_imports = dict(imports=['MODULE'])")
    in_log = '' if log_file is None else f'; the traceback is in {escape(log_file)}'
    return (f'the config cannot be used: {part} cannot be built: {type(error).__name__}: {message} '
            f'({Path(last.filename).name}, line {last.lineno}{in_log})')
