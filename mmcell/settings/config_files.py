"""Reads config files; what is wrong in their code becomes a message."""

import ast
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmengine.config import Config


def read_config_file(path: str | Path) -> 'Config':
    """Reads a config file with everything that it inherits.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The code of the config, or of one that it inherits from, has a mistake.
    """
    refuse_unreadable_config(path)
    from mmengine.config import Config
    try:
        return Config.fromfile(path)
    except (FileNotFoundError, MmcellError):
        raise
    # A config is code: anything can go wrong in it.
    except Exception as error:
        _explain(path, error)


def refuse_unreadable_config(path: str | Path) -> None:
    """Stops if a config file, or one that it inherits from, does not exist or is not Python, without running it.

    Nothing is imported for it, so that a wrong path or a missing bracket is reported at once.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The text of the config, or of one that it inherits from, is not Python.
    """
    try:
        _parse(Path(path), set())
    except (SyntaxError, ValueError) as error:
        _explain(path, error)


def _parse(path: Path, parsed: set[Path]) -> None:
    if path in parsed:
        return
    parsed.add(path)
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    # MMEngine also reads configs in YAML and JSON.
    if path.suffix == '.py':
        for base in _bases(ast.parse(path.read_bytes(), str(path))):
            # Configs of installed packages, mmdet::…, are left to MMEngine.
            if '::' not in base:
                _parse(path.parent / base, parsed)


def _bases(module: ast.Module) -> Iterator[str]:
    """Yields the paths in the assignment to ``_base_``; none if they are computed."""
    for statement in module.body:
        if isinstance(statement, ast.Assign) and any(getattr(name, 'id', '') == '_base_' for name in statement.targets):
            with suppress(ValueError):
                bases = ast.literal_eval(statement.value)
                bases = [bases] if isinstance(bases, str) else bases
                # Anything else than paths is left to MMEngine, which refuses it.
                if isinstance(bases, list | tuple):
                    yield from (base for base in bases if isinstance(base, str))


def _explain(path: str | Path, error: Exception) -> NoReturn:
    place = f', line {error.lineno}: {error.text.strip()}' if isinstance(error, SyntaxError) and error.text else ''
    raise MmcellError(f'the config {path}, or one that it inherits from, cannot be read: '
                      f'{type(error).__name__}: {getattr(error, "msg", error)}{place}') from error
