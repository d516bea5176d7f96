"""Writes advice as a config file: a child of the config that the advice is about."""

import keyword
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.inspection.advice import Advice, merge_settings
from mmcell.inspection.advice_places import find_data_set
from mmcell.settings.config_files import read_config_file

_WIDTH = 120
_LOADERS = {'train': 'train_dataloader', 'val': 'val_dataloader', 'test': 'test_dataloader'}
_FILES = 'Annotation files.'


class WrittenConfigError(MmcellError):
    """Advice cannot be written as a config file; the message says why."""


def write_config(path: str | Path, base: str | Path, advice: Sequence[Advice], ann_files: Mapping[str, str | Path],
                 overwrites: bool = False) -> None:
    """Writes a config file that inherits a config and has the settings of all advice.

    Args:
        path: The file, which ends in .py.
        base: The config file that the advice is about.
        advice: The advice, in the order in which it was given; advice without settings is left out.
        ann_files: The annotation files by part: 'train', 'val' or 'test'. Data loaders of other parts keep theirs.
        overwrites: Whether a file of this name is replaced.

    Raises:
        WrittenConfigError: The file exists already, or does not end in .py; a part is not one of the three, or its data
            loader has no single data set.
        MmcellError: The config cannot be read.
    """
    path, base = Path(path), Path(base)
    if path.suffix != '.py':
        raise WrittenConfigError(f'{path} must end in .py, as a config does')
    if path.exists() and not overwrites:
        raise WrittenConfigError(f'{path} exists already: name another file, or remove it first')
    reasons = {key: entry.sentence for entry in advice for key in entry.settings}
    settings = {key: (reasons[key], value) for key, value in merge_settings(advice).items()}
    settings |= {key: (_FILES, value) for key, value in _locate_files(base, ann_files).items()}
    model_first = dict(sorted(settings.items(), key=lambda item: not item[0].startswith('model.')))
    text = _header(path, base) + '\n'.join(_render_settings(model_first))
    with written_whole([path]) as (temporary,):
        temporary.write_text(text, encoding='utf-8')


def _locate_files(base: Path, ann_files: Mapping[str, str | Path]) -> dict[str, str]:
    """Returns the settings that name the annotation files."""
    config, settings = read_config_file(base), {}
    for part, file in ann_files.items():
        if part not in _LOADERS:
            raise WrittenConfigError(f'a part of the data must be one of {", ".join(_LOADERS)}, got {part!r}')
        found = find_data_set(config.to_dict(), _LOADERS[part])
        if found is None:
            raise WrittenConfigError(f'{base} has no {_LOADERS[part]} with a single data set for {file}')
        # A data root of the config would be put before a path that is not absolute.
        located = Path(file).absolute() if found[1].get('data_root') else Path(file)
        settings[f'{found[0]}.ann_file'] = located.as_posix()
    return settings


def _header(path: Path, base: Path) -> str:
    shown = Path(os.path.relpath(path)).as_posix() if path.absolute().is_relative_to(Path.cwd()) else path.as_posix()
    return (f'"""Does {_plain(base.name)} find more cells with settings that were chosen for the data?\n\n'
            f'    python tools/train.py {_plain(shown)}\n\n'
            'Written by data_prep/inspect_dataset.py. A reason stands above each change. Value here: not run yet.\n'
            f'"""\n\n_base_ = [{Path(os.path.relpath(base, path.parent)).as_posix()!r}]\n\n')


def _plain(text: str) -> str:
    """Returns a text that does not end or change the docstring that it stands in."""
    return text.replace('\\', '/').replace('"', "'")


def _render_settings(settings: Mapping[str, tuple[str, object]]) -> Iterator[str]:
    """Yields the lines of assignments of nested dicts, with a comment above each group of settings with one reason."""
    tree: dict = {}
    for key, entry in settings.items():
        node = tree
        *parents, last = key.split('.')
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = entry
    said: set[str] = set()
    for name, node in tree.items():
        comments, value = _render_node(node, '', said, len(name) + 3)
        yield from (*comments, f'{name} = {value}')
    yield ''


def _render_node(node: object, indent: str, said: set[str], n_before: int) -> tuple[list[str], str]:
    """Returns the comments above a name, and the text of its value, a leaf or a dict of nodes."""
    reasons = list(dict.fromkeys(_reasons(node)))
    comments: list[str] = []
    if len(reasons) == 1:
        if reasons[0] not in said:
            comments = _wrap(reasons[0], indent)
            said.add(reasons[0])
        return comments, _render(_values(node), indent, n_before)
    lines = []
    for name, child in node.items():
        above, text = _render_node(child, indent + '    ', said, len(name) + 1)
        lines += [*above, f'{indent}    {name}={text},']
    return comments, 'dict(\n' + '\n'.join(lines)[:-1] + ')'


def _reasons(node: object) -> Iterator[str]:
    if isinstance(node, tuple):
        yield node[0]
    else:
        for child in node.values():
            yield from _reasons(child)


def _values(node: object) -> object:
    return node[1] if isinstance(node, tuple) else {name: _values(child) for name, child in node.items()}


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(' '.join(text.split()), _WIDTH, initial_indent=f'{indent}# ', subsequent_indent=f'{indent}# ',
                         break_long_words=False, break_on_hyphens=False)


def _render(value: object, indent: str, n_before: int) -> str:
    """Returns a value as code: on one line if it fits behind ``n_before`` characters, else with one part per line."""
    flat = _flatten(value)
    if len(indent) + n_before + len(flat) + 1 <= _WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return flat
    inner = indent + '    '
    if isinstance(value, dict):
        names, opening, closing = [f'{name}=' if _is_word(name) else f'{name!r}: ' for name in value], 'dict(', ')'
        if not all(map(_is_word, value)):
            opening, closing = '{', '}'
        parts = [name + _render(part, inner, len(name)) for name, part in zip(names, value.values(), strict=True)]
        return f'{opening}\n{inner}' + f',\n{inner}'.join(parts) + closing
    opening, closing = '[]' if isinstance(value, list) else '()'
    return f'{opening}\n' + ''.join(f'{inner}{_render(part, inner, 0)},\n' for part in value) + indent + closing


def _flatten(value: object) -> str:
    if isinstance(value, dict):
        if all(map(_is_word, value)):
            return f'dict({", ".join(f"{name}={_flatten(part)}" for name, part in value.items())})'
        return f'{{{", ".join(f"{name!r}: {_flatten(part)}" for name, part in value.items())}}}'
    if isinstance(value, list):
        return f'[{", ".join(map(_flatten, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_flatten, value))}{"," * (len(value) == 1)})'
    return repr(value)


def _is_word(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
