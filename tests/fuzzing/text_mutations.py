"""Changes to texts: JSON as a tree, XML as tags and attributes, and tables, lists and configs as lines and words."""

import copy
import json
import re

from fuzzing.byte_mutations import BORDERS, mutate_bytes

# A line that a text of a file must never make in a message.
INJECTED = 'INJECTED LINE'
_TEXTS = ('', ' ', 'x', '0', '1', '-1', '1.0', 'nan', '1e999', '٣', 'é' * 40, 'a\0b', '\ud800', '../../a', '/', 'C:\\a',
          f'name\n{INJECTED}', '\x1b[2J', '\u202e', 'n' * 5000, '9' * 400, '{}', '%s', '<b>', 'train', 'image.tif')
_NUMBERS = (*BORDERS, *(-number for number in BORDERS), 1.5, -.0, 1e-300, 1e300, 3e9, float('nan'), float('inf'),
            10 ** 30, 10 ** 400)
_OTHERS = (None, True, False, [], {}, [[]], [{}], [None], {'': 0}, {'type': 'Polygon'}, [[1, 2, 3, 4, 5, 6]],
           [1, 2, 3, 4])
_ENCODINGS = ('utf-8-sig', 'utf-16', 'utf-32', 'latin-1')


def some_value(rng):
    """Returns a value of any type that JSON has."""
    return copy.deepcopy(rng.choice(rng.choice((_TEXTS, _NUMBERS, _OTHERS))))


def mutate_json(content, rng):
    """Returns a JSON text in which one to four values or keys are changed; what is no JSON is changed as bytes."""
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):
        return mutate_text(content, rng)
    try:
        for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
            change_tree(root, rng)
        text = json.dumps(root[0])
    except RecursionError:
        text = '[' * 5000
    if rng.random() < .15:
        text = rng.choice(_TEXT_CHANGES)(text, rng)
    return _encode(text, rng)


def mutate_json_lines(content, rng):
    """Returns lines of JSON of which one is changed, or lines that are left out, repeated or cut."""
    if rng.random() < .3:
        return mutate_text(content, rng)
    lines = content.split(b'\n')
    place = rng.randrange(len(lines))
    lines[place] = mutate_json(lines[place], rng)
    return b'\n'.join(lines)


def change_tree(root, rng):
    """Changes one place in nested lists and dicts."""
    places = [(root, 0)]
    for owner, key in places:
        inner = owner[key]
        if isinstance(inner, dict | list) and len(places) < 3000:
            places += [(inner, key) for key in (inner if isinstance(inner, dict) else range(len(inner)))]
    owner, key = rng.choice(places)
    kind = rng.random()
    if kind < .45:
        owner[key] = some_value(rng)
    elif kind < .6 and owner is not root:
        del owner[key]
    elif kind < .75:
        other, other_key = rng.choice(places)
        owner[key] = _copy(other[other_key])
    elif kind < .85 and isinstance(owner, list):
        owner[key:key] = [_copy(owner[key]) for _ in range(rng.choice((1, 1, 300)))]
    elif kind < .92:
        for _ in range(rng.choice((1, 2, 40, 101))):
            owner[key] = [owner[key]] if rng.random() < .5 else {'childObjects': owner[key]}
    elif isinstance(owner[key], dict):
        owner[key][rng.choice(_TEXTS)] = some_value(rng)
    else:
        owner[key] = some_value(rng)


def _copy(value):
    """Returns a copy, since a list must not hold itself; None for what is too deep for Python."""
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return None


def _repeat_key(text, rng):
    keys = list(re.finditer(r'\{"(\w+)": ', text))
    if not keys:
        return text
    found = rng.choice(keys)
    return f'{text[:found.start()]}{{"{found[1]}": {rng.choice(("1", "null", "[]"))}, {text[found.start() + 1:]}'


def _long_number(text, rng):
    numbers = list(re.finditer(r'\d+', text))
    if not numbers:
        return text
    found = rng.choice(numbers)
    number = rng.choice(('9' * 5000, '1e400', '-Infinity', '01', '1.', '0x10'))
    return text[:found.start()] + number + text[found.end():]


def _nest(text, rng):
    depth = rng.choice((101, 1000, 100_000))
    return '[' * depth + text + ']' * depth


_TEXT_CHANGES = (_repeat_key, _long_number, _nest)


def _encode(text, rng):
    if rng.random() < .05:
        return text.encode(rng.choice(_ENCODINGS), errors='replace')
    return text.encode(errors='surrogatepass')


def mutate_text(content, rng):
    """Returns a text in which words, numbers, separators or lines are changed."""
    text = content.decode('latin-1')
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = rng.choice((_change_word, _change_word, _change_number, _change_lines, _change_separator))(text, rng)
    if rng.random() < .1:
        return mutate_bytes(text.encode('latin-1', errors='replace'), rng)
    return text.encode('latin-1', errors='replace') if rng.random() < .95 else _encode(text, rng)


def _replace_one(pattern, text, replacement, rng):
    matches = list(re.finditer(pattern, text))
    if not matches:
        return text
    found = rng.choice(matches)
    return text[:found.start()] + replacement + text[found.end():]


def _change_word(text, rng):
    words = re.findall(r'\w+', text) or ['']
    return _replace_one(r'\w+', text, rng.choice((rng.choice(_TEXTS), rng.choice(words))), rng)


def _change_number(text, rng):
    return _replace_one(r'\d+(\.\d+)?', text, repr(rng.choice(_NUMBERS)), rng)


def _change_separator(text, rng):
    return _replace_one(r'[^\w ]', text, rng.choice((*'"\',;\t\n\r()[]{}=:#\\\0', '""', '')), rng)


def _change_lines(text, rng):
    lines = text.split('\n')
    place = rng.randrange(len(lines))
    lines[place:place + 1] = rng.choice(([], [lines[place]] * 2, [rng.choice(lines)], [lines[place] * 50], ['']))
    return '\n'.join(lines)


def mutate_xml(content, rng):
    """Returns XML in which attributes, tags, declarations or the depth are changed."""
    text = content.decode()
    for _ in range(rng.choice((1, 1, 2, 4))):
        text = rng.choice(_XML_CHANGES)(text, rng)
    return mutate_bytes(text.encode(errors='surrogatepass'), rng) if rng.random() < .1 else _encode(text, rng)


def _change_attribute(text, rng):
    value = rng.choice((rng.choice(_TEXTS), repr(rng.choice(_NUMBERS))))
    return _replace_one(r'"[^"]*"', text, f'"{value.replace("<", "&lt;")}"', rng)


def _change_tag(text, rng):
    tags = re.findall(r'<[^>]*>', text) or ['']
    return _replace_one(r'<[^>]*>', text, rng.choice(('', rng.choice(tags), rng.choice(tags) * 2)), rng)


def _declare(text, rng):
    return rng.choice((
        '<!DOCTYPE a [<!ENTITY b "c">]>', '<!DOCTYPE a SYSTEM "file:///etc/hostname">', '<?xml version="1.1"?>',
        '<?xml version="1.0" encoding="utf-7"?>', '<!DOCTYPE a [<!ENTITY % b SYSTEM "c"> %b;]>')) + text


def _deepen(text, rng):
    depth = rng.choice((10, 1000, 50_000))
    return _replace_one(r'><', text, '>' + '<Region>' * depth + '</Region>' * depth + '<', rng)


_XML_CHANGES = (_change_attribute,) * 6 + (_change_tag,) * 3 + (_declare, _deepen, _change_word)
