"""Reads config files; what is wrong in their code becomes a message."""

from pathlib import Path

from mmengine.config import Config

from mmcell.errors import MmcellError


def read_config_file(path: str | Path) -> Config:
    """Reads a config file with everything that it inherits.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The code of the config, or of one that it inherits from, has a mistake.
    """
    try:
        return Config.fromfile(path)
    except (FileNotFoundError, MmcellError):
        raise
    # A config is code: anything can go wrong in it.
    except Exception as error:
        place = f', line {error.lineno}: {error.text.strip()}' if isinstance(error, SyntaxError) and error.text else ''
        raise MmcellError(f'the config {path}, or one that it inherits from, cannot be read: '
                          f'{type(error).__name__}: {getattr(error, "msg", error)}{place}') from error
