"""The value in KEY=VALUE, as it was typed."""

import ast
from collections.abc import Sequence

_BRACKETS = {'[': ']', '(': ')', '{': '}'}


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

    For example, ``(1,2),[a,b],"c,d"`` gives ``(1,2)``, ``[a,b]`` and ``"c,d"``. A quote inside a word is a character
    like any other: ``Crohn's,b`` gives ``Crohn's`` and ``b``.

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
