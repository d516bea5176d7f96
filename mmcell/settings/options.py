"""KEY=VALUE settings of the command line, put into a config."""

import ast
from collections.abc import Sequence
from functools import reduce

from mmengine.config import Config, ConfigDict
from mmengine.config.config import DELETE_KEY

from mmcell.errors import MmcellError
from mmcell.settings.names import refuse_unknown_setting

_BRACKETS = {'[': ']', '(': ')', '{': '}'}


class SettingError(MmcellError):
    """A setting of the command line cannot be read or put into the config; the message says why."""


def apply_options(config: Config, options: Sequence[str]) -> None:
    """Puts settings into a config, one after the other.

    Args:
        config: The config; changed.
        options: Texts ``KEY=VALUE``, for settings that exist in the config or that something in it reads, and
            ``+KEY=VALUE`` for settings of any other name. :func:`parse_value` reads the values.

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
            _put(config, key, value)
        except (ValueError, TypeError, KeyError, AssertionError) as error:
            raise SettingError(f'--cfg-options {option}: {error}') from error


def _put(config: Config, key: str, value: object) -> None:
    """Puts a value into a config, as ``merge_from_dict`` does, and replaces elements of lists in the same way.

    MMEngine merges into elements of lists without looking at ``_delete_``, and only if they are dicts.
    """
    first, *parents = key.split('.')
    last = parents.pop() if parents else first
    place = reduce(_step, parents, config.get(first))
    is_element = isinstance(place, list) and last.isdecimal() and int(last) < len(place)
    if is_element and not (isinstance(value, dict) and isinstance(place[int(last)], dict)):
        place[int(last)] = value
    elif is_element and value.get(DELETE_KEY):
        place[int(last)] = ConfigDict({name: part for name, part in value.items() if name != DELETE_KEY})
    else:
        config.merge_from_dict({key: value})


def _current_value(plain: dict, key: str) -> object:
    return reduce(_step, key.split('.'), plain)


def _step(value: object, part: str) -> object:
    """Returns the part of a dict or a list that a part of a name stands for; None if there is none."""
    if isinstance(value, dict):
        return value.get(part)
    is_place = isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(value)
    return value[int(part)] if is_place else None


def parse_value(text: str, current: object = None) -> object:
    """Returns the value that a text on the command line stands for.

    - What Python reads as a number, text in quotes, list, tuple, dict, True, False or None is that value. ``true`` and
      ``false`` count as well.
    - Words in brackets need no quotes: ``[a, b]`` is ``['a', 'b']``.
    - ``a,b`` is ``['a', 'b']``, as in MMDetection. If the setting is a text now, it stays the text ``a,b``.
    - Everything else is the text itself, with its spaces and quotes.

    Args:
        text: What stands behind the first ``=``.
        current: The value that the setting has now; None if it has no value.

    Raises:
        ValueError: Brackets or quotes are not closed.
    """
    text = text.strip()
    if len(parts := split_at_commas(text)) > 1:
        return text if isinstance(current, str) else [parse_value(part) for part in parts]
    if text[:1] in ('[', '(') and text.endswith(_BRACKETS[text[0]]):
        items = [parse_value(part) for part in split_at_commas(text[1:-1]) if part.strip()]
        return tuple(items) if text[0] == '(' else items
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return float(text)  # inf and nan
    except ValueError:
        return text


def split_at_commas(text: str) -> Sequence[str]:
    """Splits a text at its commas, but not inside brackets and quotes.

    ``(1,2),[a,b],"c,d"`` gives ``(1,2)``, ``[a,b]`` and ``"c,d"``; ``Crohn's,b`` gives ``Crohn's`` and ``b``.

    Raises:
        ValueError: A bracket is not closed, or closed without being opened.
    """
    parts, begin, open_brackets, quote = [], 0, [], ''
    for i, character in enumerate(text):
        is_at_begin_of_item = text[begin:i].strip() == '' or text[i - 1] in '[({,:= '
        if quote:
            quote = '' if character == quote else quote
        elif character in '\'"' and is_at_begin_of_item and character in text[i + 1:]:
            quote = character
        elif character in _BRACKETS:
            open_brackets.append(_BRACKETS[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character in _BRACKETS.values():
            raise ValueError(f'{character} closes nothing in {text}')
        elif character == ',' and not open_brackets:
            parts.append(text[begin:i])
            begin = i + 1
    if open_brackets:
        raise ValueError(f'{open_brackets[-1]} is missing in {text}')
    return [*parts, text[begin:]]
