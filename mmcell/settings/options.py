"""KEY=VALUE settings of the command line, put into a config."""

from collections.abc import Sequence
from functools import reduce

from mmengine.config import Config

from mmcell.errors import MmcellError
from mmcell.settings.names import refuse_unknown_setting
from mmcell.settings.values import parse_value


class SettingError(MmcellError):
    """A setting of the command line cannot be read or put into the config; the message says why."""


def apply_options(config: Config, options: Sequence[str]) -> None:
    """Puts settings into a config, one after the other.

    Args:
        config: The config; changed.
        options: Texts ``KEY=VALUE``, for settings that exist in the config or that something in it reads, and
            ``+KEY=VALUE`` for settings of any other name. :func:`mmcell.settings.values.parse_value` reads the values.

    Raises:
        SettingError: A text is not KEY=VALUE, a bracket is not closed, or the value does not fit the place.
        UnknownSettingError: Nothing reads a setting of this name, and there is no + before it.
    """
    for option in options:
        key, equals, text = option.removeprefix('+').partition('=')
        if not equals or not all(key.strip().split('.')):
            raise SettingError(f'--cfg-options takes KEY=VALUE pairs without spaces around the =, got {option}')
        plain = config.to_dict()
        if not option.startswith('+'):
            refuse_unknown_setting(plain, key)
        before = _current_value(plain, key)
        try:
            value = parse_value(text, before)
            if isinstance(before, dict) and isinstance(value, str | int | float) and not option.startswith('+'):
                raise ValueError(f'{key} is a dict with the settings {", ".join(map(str, before))}; change one of them '
                                 f'with {key}.NAME=VALUE')
            config.merge_from_dict({key: value})
        except (ValueError, TypeError, KeyError, AssertionError) as error:
            raise SettingError(f'--cfg-options {option}: {error}') from error


def _current_value(plain: dict, key: str) -> object:
    def step(value: object, part: str) -> object:
        if isinstance(value, dict):
            return value.get(part)
        return value[int(part)] if isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(
            value) else None
    return reduce(step, key.split('.'), plain)
