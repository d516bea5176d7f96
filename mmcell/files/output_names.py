"""Names the outputs of images, so that files of the same name in several folders do not meet in one."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmcell.files.names import name_key


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """Returns a name for the outputs of each image; names also differ where :func:`name_key` is what counts.

    A name is the name of the file without its suffix; for files called ``image``, as in the raw layout, it is the name
    of their folder. If several files of one folder would get the same name, the suffix is appended: ``cell_png``,
    ``cell_tif``. If files of several folders would get the same name, as many folders as necessary are put before it:
    ``a_cell``, ``b_cell``.
    """
    # Example: /x/a/cell.tif and /x/b/cell.tif have the parts [x, a, cell] and [x, b, cell]. With depths [1, 1] both are
    # called cell; names that occur twice get one part more, and with depths [2, 2] they are a_cell and b_cell.
    parts = _add_suffixes([_name_parts(path) for path in paths], paths)
    depths = [1] * len(paths)
    while True:
        names = ['_'.join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        # Files whose parts are all equal count as one: more folders cannot make their names different.
        n_uses = Counter(name for name, _ in {(name_key(name), _keys(part))
                                              for name, part in zip(names, parts, strict=True)})
        new_depths = [min(depth + 1, len(part)) if n_uses[name_key(name)] > 1 else depth
                      for name, depth, part in zip(names, depths, parts, strict=True)]
        if new_depths == depths:
            return _number_equal_names(names)
        depths = new_depths


def _name_parts(path: Path) -> list[str]:
    """Splits a path into the parts of which a name may consist: folders, then the file without its suffix."""
    # A link has its own name and lies in its own folder, whatever its target is called.
    folders = [part for part in path.parent.resolve().parts if part != path.anchor and part.strip('/\\')]
    return folders if path.stem.lower() == 'image' and folders else [*folders, path.stem]


def _add_suffixes(parts: list[list[str]], paths: Sequence[Path]) -> list[list[str]]:
    """Appends the suffix of the file to the last part where several files have equal parts."""
    n_uses = Counter(map(_keys, parts))
    return [[*part[:-1], f'{part[-1]}_{path.suffix[1:]}'] if n_uses[_keys(part)] > 1 and path.suffix else part
            for part, path in zip(parts, paths, strict=True)]


def _keys(part: list[str]) -> tuple[str, ...]:
    return tuple(map(name_key, part))


def _number_equal_names(names: list[str]) -> list[str]:
    """Appends a number, from 2, to names that occurred before."""
    used, unique = set(), []
    for name in names:
        candidate, number = name, 2
        while name_key(candidate) in used:
            candidate, number = f'{name}_{number}', number + 1
        used.add(name_key(candidate))
        unique.append(candidate)
    return unique
